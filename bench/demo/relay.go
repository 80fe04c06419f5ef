package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// connTimeout bounds one conn of the relay; clients of the demo need milliseconds.
const connTimeout = 10 * time.Second

// relay is the balancer that homing is compared with: TCP, round robin, knowing nothing of TLS.
type relay struct {
	listener net.Listener
	backends []string
	wg       sync.WaitGroup
}

func startRelay(ctx context.Context, backends []string) (*relay, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo: listen: %w", err)
	}
	r := &relay{listener: l, backends: backends}
	r.wg.Go(func() { r.accept(ctx) })
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// stop closes the listener and waits for the conns.
func (r *relay) stop() error {
	err := r.listener.Close()
	r.wg.Wait()
	return err
}

func (r *relay) accept(ctx context.Context) {
	for next := 0; ; next = (next + 1) % len(r.backends) {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		backend := r.backends[next]
		r.wg.Go(func() { forward(ctx, client, backend) })
	}
}

// forward copies both ways until both sides have ended. Errors end the conn, and the client sees them.
func forward(ctx context.Context, client net.Conn, addr string) {
	defer func() { _ = client.Close() }()
	var d net.Dialer
	backend, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = backend.Close() }()
	deadline := time.Now().Add(connTimeout)
	if errors.Join(client.SetDeadline(deadline), backend.SetDeadline(deadline)) != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() { pipe(backend, client) })
	pipe(client, backend)
	up.Wait()
}

// pipe copies one direction and passes its end on.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
