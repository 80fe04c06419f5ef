package demo

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"homing/bench/tlsserver"
)

// connTimeout bounds one conn of an embedded server; clients of the demo need milliseconds.
const connTimeout = 10 * time.Second

// server is a TLS server in the process, with a ticket key of its own. It answers each request with
// its name and closes.
type server struct {
	name     string
	listener net.Listener
	config   *tls.Config
	cpu      atomic.Int64 // nanoseconds spent on conns so far
	wg       sync.WaitGroup
}

func startServer(ctx context.Context, name string, cert tls.Certificate) (*server, error) {
	key, err := tlsserver.NewTicketKey()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo: listen: %w", err)
	}
	s := &server{name: name, listener: l, config: &tls.Config{Certificates: []tls.Certificate{cert}}}
	key.Configure(s.config)
	s.wg.Go(s.accept)
	return s, nil
}

func (s *server) addr() string { return s.listener.Addr().String() }

// serverCPU returns the CPU time spent on conns that have ended.
func (s *server) serverCPU() (time.Duration, error) { return time.Duration(s.cpu.Load()), nil }

// stop closes the listener and waits for the conns.
func (s *server) stop() error {
	err := s.listener.Close()
	s.wg.Wait()
	return err
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.wg.Go(func() { s.serve(conn) })
	}
}

// serve runs one conn on a thread of its own, so that the thread's CPU clock, read before and after,
// tells what the conn cost: handshake, request and answer, system calls included. Clients and balancer
// live in the same process, on other threads, and are not counted.
func (s *server) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }() // the client has read its answer, or is gone
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	s.answer(raw)
	s.cpu.Add(int64(threadCPU() - before))
}

func (s *server) answer(raw net.Conn) {
	if raw.SetDeadline(time.Now().Add(connTimeout)) != nil {
		return
	}
	conn := tls.Server(raw, s.config)
	// Errors end the conn, and its client reports them.
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	if _, err := fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s \n", s.name); err != nil {
		return
	}
	_ = conn.Close() // sends close_notify; nothing follows that could fail
}

// threadCPU returns the CPU time of the calling thread. Not getrusage(RUSAGE_THREAD): that one lags
// by up to a scheduler tick, longer than a handshake takes.
func threadCPU() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0 // cannot be: the clock is Linux 2.6's
	}
	return time.Duration(ts.Nano())
}
