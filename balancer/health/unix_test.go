package health

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

func listenUnix(t *testing.T) (*net.UnixListener, netaddr.Addr) {
	t.Helper()
	dir, err := os.MkdirTemp("", "health")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l, netaddr.Unix(path)
}

// Checks and probes of a unix socket are those of a port; another port is not asked, nor an agent.
func TestUnix(t *testing.T) {
	l, addr := listenUnix(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
	for kind := range NumKinds {
		k := Check{Kind: kind, Port: 1}
		if err := k.validate(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := k.run(ctx, addr, pool.ProxyOff); err != nil {
			t.Errorf("check by %s: %v", kind, err)
		}
		cancel()
	}
	ans, err := handshake(t.Context(), addr, offer{most: tls.VersionTLS13})
	if err != nil || len(ans.sessions) == 0 {
		t.Errorf("handshake: %d sessions, %v", len(ans.sessions), err)
	}
	b := &pool.Backend{Addr: addr}
	(&agentWatch{agent: &Agent{Port: 1}}).ask(t.Context(), time.Second, nil, b) // it would meet no pool

	_ = l.Close()
	if err := (&Check{}).run(t.Context(), addr, pool.ProxyOff); err == nil || cause(err) != "no such file or directory" || shortage(err) {
		t.Errorf("without a file: %v", err)
	}
}

// A check of a server whose queue is full waits for room, as long as it may.
func TestUnixQueueFull(t *testing.T) {
	l, addr := listenUnix(t)
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var short error
	if err := raw.Control(func(fd uintptr) { short = syscall.Listen(int(fd), 1) }); err != nil || short != nil {
		t.Fatal(err, short)
	}
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for { // until the queue has no room
		c, err := net.Dial("unix", addr.Path())
		if err != nil {
			break
		}
		held = append(held, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := (&Check{}).run(ctx, addr, pool.ProxyOff); err == nil || ctx.Err() == nil {
		t.Fatalf("a full queue: %v, before the time was over: %v", err, ctx.Err() == nil)
	}
	done := make(chan error, 1)
	go func() { done <- (&Check{}).run(t.Context(), addr, pool.ProxyOff) }()
	for range held {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close() // the check has its place
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the check still waits")
	}
}
