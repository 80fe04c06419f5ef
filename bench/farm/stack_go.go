package farm

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// GoServer is a server of crypto/tls in this process: since Go 1.21 its tickets carry no name of their key. It answers
// any request with one line that begins with its name.
type GoServer struct {
	name     string
	answer   string
	listener net.Listener
	conns    sync.WaitGroup
	hellos   atomic.Int64
}

// goConnTimeout bounds one conn of a GoServer.
const goConnTimeout = 10 * time.Second

// StartGo starts a GoServer on a free port.
func StartGo(ctx context.Context, name string, cert *Certificate) (*GoServer, error) {
	pair, err := cert.TLS()
	if err != nil {
		return nil, err
	}
	addr, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	s := &GoServer{name: name, answer: "HTTP/1.0 200 OK\r\n\r\n" + name + " go\n"}
	if s.listener, err = lc.Listen(ctx, "tcp", addr); err != nil {
		return nil, fmt.Errorf("farm: start %s: %w", name, err)
	}
	// The config makes the ticket keys, so each server needs its own.
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.hellos.Add(1)
		return nil, nil //nolint:nilnil // which says: the config that asked
	}
	s.conns.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return // Stop has closed it
			}
			s.conns.Go(func() { s.serve(tls.Server(conn, cfg)) })
		}
	})
	return s, nil
}

func (s *GoServer) serve(conn *tls.Conn) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(goConnTimeout)) != nil {
		return
	}
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			_, _ = conn.Write([]byte(s.answer)) // the client sees what is missing
			return
		}
	}
}

// Name returns the name given to StartGo.
func (s *GoServer) Name() string { return s.name }

// Addr returns the host:port the server listens on.
func (s *GoServer) Addr() string { return s.listener.Addr().String() }

// Hellos returns the number of ClientHellos the server has answered.
func (s *GoServer) Hellos() int { return int(s.hellos.Load()) }

// Stop closes the listener and waits until the last conn has ended.
func (s *GoServer) Stop() error {
	err := s.listener.Close()
	s.conns.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("farm: stop %s: %w", s.name, err)
	}
	return nil
}
