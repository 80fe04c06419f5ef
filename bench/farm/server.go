package farm

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	recipe recipe
	proc   atomic.Pointer[proc.Process] // the one that runs, or ran last
}

// recipe is how a server is started.
type recipe struct {
	files     map[string][]byte // written to the server's directory first
	program   string            // path
	args      []string
	forks     bool // its children do the work
	terminate bool // see proc.Command
}

// newServer starts a server on an address, "": a free one. cook says how, with the server's name, address and directory.
func newServer(ctx context.Context, what, name, addr string, cook func(*Server) (recipe, error)) (*Server, error) {
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
	for name, content := range s.recipe.files {
		if err := os.WriteFile(s.file(name), content, 0o600); err != nil {
			return fmt.Errorf("farm: write files of %s: %w", s.name, err)
		}
	}
	return nil
}

// Restart starts a killed server again: same port, empty session cache, new ticket keys.
func (s *Server) Restart(ctx context.Context) error {
	p, err := proc.Start(ctx, proc.Command{
		Path: s.recipe.program, Args: s.recipe.args, Ready: []string{s.addr}, Terminate: s.recipe.terminate,
	})
	if err != nil {
		return fmt.Errorf("farm: %s: %w", s.name, err)
	}
	if s.recipe.forks {
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

// file is the path of a file of the server.
func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.addr) // of FreeAddr
	return port
}

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
