//go:build linux

package balancer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"homing/balancer/pool"
)

// TestTwoLoops: the kernel spreads connections over the loops, which share what they know.
func TestTwoLoops(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(false)
	}
	r.start(func(c *Config) { c.Loops = 2 })
	if len(r.b.loops) != 2 || len(r.b.Addrs()) != 1 {
		t.Fatalf("%d loops on %v", len(r.b.loops), r.b.Addrs())
	}
	visits := 0
	for i := range 12 {
		c := r.browser(tls.VersionTLS12)
		home, _ := c.visit(source(i))
		for j := range 3 {
			if server, resumed := c.visit(source(100 + 3*i + j)); !resumed || server != home {
				t.Errorf("client %d: resumed %v at %d, home is %d", i, resumed, server, home)
			}
		}
		visits += 4
	}
	r.ended(visits)
	for i, l := range r.b.loops {
		if n := l.count.accepted.Load(); n == 0 {
			t.Errorf("loop %d got none of %d conns", i, visits)
		}
	}
}

// TestListenError: an address that cannot be had is named, with its cause; and the rig sees that nothing stays bound of
// the listener before it.
func TestListenError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		addr  string
		cause error // nil: any
	}{
		{taken.Addr().String(), syscall.EADDRINUSE},
		{"192.0.2.1:4433", syscall.EADDRNOTAVAIL},
		{"127.0.0.1", nil},
		{"127.0.0.1:70000", nil},
		{"localhost:443", nil},
		{"nonsense", nil},
	} {
		for _, loops := range []int{1, 2} {
			r := newRig(t)
			p, err := pool.New("test", []pool.Spec{{Addr: "127.0.0.1:1"}}, pool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			r.serveByHand()
			r.prepare(pool.Options{}) // for a store; it never runs
			cfg := r.b.settings().cfg
			cfg.Loops = loops
			cfg.Listeners = []Listener{{Addr: "127.0.0.1:0", Default: p}, {Addr: test.addr, Default: p}}
			_, err = New(cfg)
			var listen *ListenError
			if !errors.As(err, &listen) || listen.Addr != test.addr || test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%s, %d loops: %v, want a *ListenError with %v", test.addr, loops, err, test.cause)
			}
			r.run()
			r.stop()
		}
	}
}

// A second balancer is not let in beside a first one that shares its address between loops.
func TestListenBesideAnother(t *testing.T) {
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.start(func(c *Config) { c.Loops = 2 })
		cfg := r.b.settings().cfg
		cfg.Loops = loops
		cfg.Listeners = []Listener{{Addr: r.addr, Default: r.pool}}
		if b, err := New(cfg); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%d loops: %v, %v, want EADDRINUSE", loops, b, err)
		}
		r.stop()
	}
}

// An empty host takes both families; the log names clients by their own.
func TestDualStack(t *testing.T) {
	r := newRig(t)
	r.serve(func(c *net.TCPConn) {
		write(t, c, []byte("x"))
		_, _ = io.Copy(io.Discard, c)
	})
	r.prepare(pool.Options{}, tlsOff, func(c *Config) { c.Listeners[0].Addr = ":0" })
	r.run()
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, host := range []string{"127.0.0.1", "::1"} {
		r.addr = net.JoinHostPort(host, port)
		if probe, err := net.Dial("tcp", r.addr); err != nil {
			t.Logf("no %s here: %v", host, err)
			continue
		} else {
			probe.Close()
		}
		c := r.dial()
		read(t, c, 1)
		c.Close()
		n += 2
		for _, rec := range r.ended(n)[n-2:] {
			if got := rec.Client.Addr().String(); got != host {
				t.Errorf("client %s, want %s", got, host)
			}
		}
	}
	if n == 0 {
		t.Error("neither family")
	}
}

// What cannot be meant is refused before anything is bound.
func TestConfigRefused(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start()
	for name, edit := range map[string]func(*Config){
		"no listener": func(c *Config) { c.Listeners = nil },
		"no pool":     func(c *Config) { c.Listeners = []Listener{{Addr: "127.0.0.1:0"}} },
		"no store":    func(c *Config) { c.Store = nil },
		"hello limit": func(c *Config) { c.HelloLimit = 64<<10 + 1 },
	} {
		cfg := r.b.settings().cfg
		edit(&cfg)
		if b, err := New(cfg); err == nil || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
