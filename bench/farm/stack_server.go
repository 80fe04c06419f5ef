package farm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"

	"homing/bench/proc"
)

// Stack is a TLS server that people run in front of, or in place of, nginx. Each keeps its sessions and ticket keys in
// its own way.
type Stack uint8

// The stacks, by what does their TLS.
const (
	Apache          Stack = iota // OpenSSL: tickets, and session IDs in a shared cache
	HAProxyTLS                   // OpenSSL: tickets, and session IDs
	LighttpdOpenSSL              // OpenSSL: tickets only
	LighttpdNSS                  // NSS, which ends conns that offer it foreign TLS 1.2 tickets
	GnuTLS                       // gnutls-serv: tickets and session IDs; its answers carry no name
	Java                         // JSSE: tickets whose key is named by four bytes, and session IDs
	NumStacks
)

func (s Stack) String() string {
	return [...]string{"apache", "haproxy", "lighttpd-openssl", "lighttpd-nss", "gnutls-serv", "java"}[s]
}

// Server is one running server of a Stack, with a session cache and ticket keys of its own. It answers any request with
// one line that begins with its name, unless its stack cannot.
type Server struct {
	name  string
	stack Stack
	addr  string
	dir   string
	proc  *Process
}

// recipe is how a stack is started: files are written to the server's directory first.
type recipe struct {
	files   map[string]string
	program string // path
	args    []string
}

// StartServer starts a server on a free port. When a program it needs is not installed the error is a *MissingError.
func StartServer(ctx context.Context, stack Stack, name string, cert *Certificate) (*Server, error) {
	addr, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "homing-"+stack.String()+"-")
	if err != nil {
		return nil, fmt.Errorf("farm: make directory for %s: %w", stack, err)
	}
	s := &Server{name: name, stack: stack, addr: addr, dir: dir}
	if err := s.start(ctx, cert); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, cert *Certificate) error {
	cook := [...]func(*Server) (recipe, error){
		Apache: apache, HAProxyTLS: haproxyTLS, GnuTLS: gnutlsServ, Java: java,
		LighttpdOpenSSL: func(s *Server) (recipe, error) { return lighttpd(s, "mod_openssl") },
		LighttpdNSS:     func(s *Server) (recipe, error) { return lighttpd(s, "mod_nss") },
	}[s.stack]
	r, err := cook(s)
	if err != nil {
		return err
	}
	files := map[string]string{
		"chain.pem": string(cert.Chain), "key.pem": string(cert.Key), "both.pem": string(cert.Chain) + string(cert.Key),
	}
	maps.Copy(files, r.files)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("farm: write files of %s: %w", s.stack, err)
		}
	}
	// Apache takes an interrupt for itself alone and leaves its workers behind.
	s.proc, err = start(ctx, proc.Command{Path: r.program, Args: r.args, Ready: []string{s.addr}, Terminate: true})
	return err
}

// file is the path of a file of the server.
func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.addr) // of FreeAddr
	return port
}

// Name returns the name given to StartServer.
func (s *Server) Name() string { return s.name }

// Addr returns the host:port the server listens on.
func (s *Server) Addr() string { return s.addr }

// Output returns the last 64 KiB that the server wrote.
func (s *Server) Output() string { return s.proc.Output() }

// Stop ends the server and removes its directory.
func (s *Server) Stop() error {
	s.proc.Stop()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("farm: remove directory of %s: %w", s.stack, err)
	}
	return nil
}

// StartServers starts one server for each name, all at once. On error none is left running.
func StartServers(ctx context.Context, stack Stack, cert *Certificate, names ...string) ([]*Server, error) {
	servers, errs := make([]*Server, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { servers[i], errs[i] = StartServer(ctx, stack, name, cert) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.Stop())
			}
		}
		return nil, err
	}
	return servers, nil
}
