package farm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"homing/bench/proc"
)

// Server is one server in a process of its own, with a session cache and ticket keys of its own. Its methods may be called
// from any goroutine, but for Kill, Restart and Stop, of which one at a time.
type Server struct {
	name   string
	addr   string
	dir    string
	recipe Recipe
	proc   atomic.Pointer[proc.Process] // the one that runs, or ran last
}

// Recipe is how a server is started.
type Recipe struct {
	Files     map[string][]byte // written to the server's directory first
	Program   string            // path
	Args      []string
	Forks     bool // its children do the work
	Terminate bool // see proc.Command
}

// Launch starts a server on an address, "": a free one. cook says how, with the server's name, address and directory.
func Launch(ctx context.Context, what, name, addr string, cook func(*Server) (Recipe, error)) (*Server, error) {
	if addr == "" {
		var err error
		if addr, err = FreeAddr(ctx); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "homing-"+what+"-")
	if err != nil {
		return nil, fmt.Errorf("farm: make directory for %s: %w", what, err)
	}
	s := &Server{name: name, addr: addr, dir: dir}
	if s.recipe, err = cook(s); err == nil {
		err = s.write()
	}
	if err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) write() error {
	for name, content := range s.recipe.Files {
		if err := os.WriteFile(s.File(name), content, 0o600); err != nil {
			return fmt.Errorf("farm: write files of %s: %w", s.name, err)
		}
	}
	return nil
}

// Restart starts a killed server again: same port, empty session cache, new ticket keys.
func (s *Server) Restart(ctx context.Context) error {
	p, err := proc.Start(ctx, proc.Command{
		Path: s.recipe.Program, Args: s.recipe.Args, Dir: s.dir, Ready: []string{s.addr}, Terminate: s.recipe.Terminate,
	})
	if err != nil {
		return err
	}
	if s.recipe.Forks {
		if err := awaitWorker(ctx, p); err != nil {
			p.Kill()
			return fmt.Errorf("farm: %s: %w", s.name, err)
		}
	}
	s.proc.Store(p)
	return nil
}

// workerTimeout bounds the wait for a worker process, which is forked within milliseconds.
const workerTimeout = 10 * time.Second

// awaitWorker waits until a server has forked the process that does the work. The master listens before that: whoever
// took the process IDs then would watch one that does nothing.
func awaitWorker(ctx context.Context, p *proc.Process) error {
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	err := proc.Until(ctx, func() (bool, error) {
		if !p.Running() {
			return false, fmt.Errorf("it ended: %s", p.LastLine())
		}
		return len(p.Tree()) > 1, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no worker process after %v: %s", workerTimeout, p.LastLine())
	}
	return err
}

// File returns the path of a file of the server.
func (s *Server) File(name string) string { return filepath.Join(s.dir, name) }

// Dir returns the directory of the server.
func (s *Server) Dir() string { return s.dir }

// LastLine returns the last line that the server wrote, or a word that there is none.
func (s *Server) LastLine() string { return s.proc.Load().LastLine() }

// Name returns the name that the server was given.
func (s *Server) Name() string { return s.name }

// Addr returns the host:port the server listens on.
func (s *Server) Addr() string { return s.addr }

// PIDs returns the process IDs of the server and its children, its own first; none while it is down.
func (s *Server) PIDs() []int {
	p := s.proc.Load()
	if !p.Running() {
		return nil
	}
	return p.Tree()
}

// Output returns the last 64 KiB that the server wrote.
func (s *Server) Output() string { return s.proc.Load().Output() }

// Kill ends the server as a crash would. Restart brings it back on the same port.
func (s *Server) Kill() { s.proc.Load().Kill() }

// Stop ends the server and removes its directory.
func (s *Server) Stop() error {
	s.proc.Load().Stop()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("farm: remove directory of %s: %w", s.name, err)
	}
	return nil
}
