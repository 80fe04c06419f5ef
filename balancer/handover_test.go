//go:build linux

package balancer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// heir is a second Balancer of the rig, with the sockets given.
func (r *rig) heir(sockets []ExportedSocket, edit ...func(*Config)) *Balancer {
	r.Helper()
	cfg := r.b.settings().cfg
	cfg.Import = sockets
	cfg.Listeners = append([]Listener(nil), cfg.Listeners...)
	for _, f := range edit {
		f(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		r.Fatalf("the heir: %v", err)
	}
	return b
}

// goes runs b until the test ends.
func (r *rig) goes(b *Balancer) {
	ran := make(chan error, 1)
	go func() { ran <- b.Run(context.Background()) }()
	r.Cleanup(func() {
		r.hangUp()
		ctx, cancel := context.WithTimeout(context.Background(), patience/4)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			r.Errorf("Shutdown of the heir: %v", err)
		}
		if err := <-ran; err != nil {
			r.Errorf("Run of the heir: %v", err)
		}
	})
}

// sockets is what the rig's Balancer hands over.
func (r *rig) sockets() []ExportedSocket {
	r.Helper()
	sockets, err := r.b.ExportSockets()
	if err != nil {
		r.Fatal(err)
	}
	return sockets
}

// TestHandOver: connections that arrive all the while are all served, by one or the other, whatever the numbers of
// loops.
func TestHandOver(t *testing.T) {
	for _, loops := range [][2]int{{1, 1}, {2, 2}, {1, 3}, {3, 1}, {3, 2}, {2, 3}} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) {
			r := newRig(t)
			r.serve(func(c *net.TCPConn) { echo(c) })
			r.start(tlsOff, func(c *Config) { c.Loops = loops[0] }, listener("side", nil))
			addrs := r.b.Addrs()
			stop := make(chan struct{})
			var clients sync.WaitGroup
			var served atomic.Int64
			defer clients.Wait()
			end := sync.OnceFunc(func() { close(stop) })
			defer end()
			for i := range 4 {
				clients.Go(func() {
					for j := 0; ; j++ {
						select {
						case <-stop:
							return
						default:
						}
						c, err := net.Dial("tcp", addrs[(i+j)%len(addrs)].String())
						if err != nil {
							t.Errorf("conn %d of %d: %v", j, i, err)
							return
						}
						r.track(c)
						if _, err := c.Write([]byte("hello")); err != nil {
							t.Errorf("conn %d of %d: %v", j, i, err)
						}
						if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
							t.Errorf("conn %d of %d: %v", j, i, err)
						}
						c.Close()
						served.Add(1)
					}
				})
			}
			more := func(n int64) {
				want := served.Load() + n
				r.await("conns are served", func() bool { return t.Failed() || served.Load() >= want })
			}
			more(50)
			heir := r.heir(r.sockets(), func(c *Config) { c.Loops = loops[1] })
			more(50) // its sockets are open, and nobody runs it
			r.goes(heir)
			more(50)
			if err := r.b.Release(); err != nil {
				t.Errorf("Release: %v", err)
			}
			accepted := r.b.Stats().Accepted
			more(100)
			if got := r.b.Stats().Accepted; got != accepted {
				t.Errorf("%d conns after Release", got-accepted)
			}
			r.await("every loop of the heir gets some", func() bool {
				return t.Failed() || !slices.ContainsFunc(heir.loops, func(l *loop) bool { return l.count.accepted.Load() == 0 })
			})
			end()
			clients.Wait()
			r.await("all have ended", func() bool { return r.b.Stats().Open+heir.Stats().Open == 0 })
			if sum := r.b.Stats().Accepted + heir.Stats().Accepted; sum != uint64(served.Load()) {
				t.Errorf("%d conns served, %d accepted", served.Load(), sum)
			}
			if err := r.b.Release(); err == nil {
				t.Error("released twice")
			}
			if _, err := r.b.ExportSockets(); err == nil {
				t.Error("sockets to be had after Release")
			}
			if err := r.tryReload(); err == nil {
				t.Error("a reload after Release")
			}
		})
	}
}

// TestReleaseLeavesQueue: what waits in the queues when the old one lets go is the heir's; open conns of the old one go
// on until they end.
func TestReleaseLeavesQueue(t *testing.T) {
	const queued = 20
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff, func(c *Config) { c.MaxConns, c.Loops = 1, 2 })
	open := r.dial()
	b := r.arrival()
	var all []*net.TCPConn
	for range queued {
		all = append(all, r.dial())
	}
	heir := r.heir(r.sockets(), func(c *Config) { c.MaxConns = 0; c.Loops = 1 })
	if err := r.b.Release(); err != nil {
		t.Fatal(err)
	}
	took := r.b.Stats().Accepted // each loop looks before it takes: one each may be too many
	done := r.shutdown(context.Background())
	r.goes(heir)
	for range queued {
		go echo(r.arrival())
	}
	for _, c := range all {
		write(t, c, []byte("served"))
		read(t, c, 6)
	}
	if got := heir.Stats().Accepted + took; got != queued+1 || r.b.Stats().Accepted != took {
		t.Errorf("the heir took %d, the old one %d", heir.Stats().Accepted, r.b.Stats().Accepted)
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown has returned %v with a conn open", err)
	default:
	}
	r.talk(open, b, 1<<20, backend([]byte("still here")))
	r.hangUp()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A socket such as systemd hands out: blocking, alone, bound to all addresses of a family. Every loop gets conns of it.
func TestInheritForeign(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", ":0", "0.0.0.0:0"} {
		t.Run(addr, func(t *testing.T) {
			var plain net.ListenConfig
			plain.SetMultipathTCP(false)
			foreign, err := plain.Listen(t.Context(), "tcp4", addr)
			if err != nil {
				t.Fatal(err)
			}
			file, err := foreign.(*net.TCPListener).File()
			foreign.Close()
			if err != nil {
				t.Fatal(err)
			}
			fd, err := syscall.Dup(int(file.Fd())) // Fd makes it blocking
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t)
			r.serve(func(c *net.TCPConn) {
				write(t, c, []byte("x"))
				_, _ = io.Copy(io.Discard, c)
			})
			bound := netaddr.MustParse(foreign.Addr().String())
			r.prepare(pool.Options{}, tlsOff, func(c *Config) {
				c.Loops = 3
				c.Listeners[0].Addr = strings.Replace(addr, ":0", fmt.Sprint(":", bound.IP().Port()), 1)
				c.Import = []ExportedSocket{{FDs: []int{fd}}}
			})
			r.addr = fmt.Sprint("127.0.0.1:", bound.IP().Port())
			queued := r.dial()
			r.run()
			read(t, queued, 1)
			r.takesTurns(func() { read(t, r.dial(), 1) })
			sockets := r.sockets()
			if len(sockets) != 1 || len(sockets[0].FDs) != 1 || sockets[0].Addr.IP().Port() != bound.IP().Port() {
				t.Errorf("to be handed on: %+v, want the one socket", sockets)
			}
			if err := imported(sockets).close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// lines counts what a log is told.
type logLines struct {
	slog.Handler
	mu   sync.Mutex
	text []string
}

func (l *logLines) Handle(_ context.Context, rec slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.text = append(l.text, text)
	return nil
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

func (l *logLines) has(want string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.text, "\n"), want)
}

// Sockets that nobody wants are closed, with a line; what is no listening socket is an error, and everything is closed.
func TestInheritLeftovers(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start()
	wanted, other := bindFor(t, "127.0.0.1:0"), bindFor(t, "127.0.0.1:0")
	var log logLines
	heir := r.heir([]ExportedSocket{{FDs: []int{wanted.fd(t), other.fd(t)}}}, func(c *Config) {
		c.Listeners[0].Addr = wanted.bound.String()
		c.Log = slog.New(&log)
	})
	if addrs := heir.Addrs(); len(addrs) != 1 || addrs[0] != wanted.bound {
		t.Errorf("listens on %v, want %v", addrs, wanted.bound)
	}
	if !log.has("not wanted by any listener and is closed addr=" + other.bound.String()) {
		t.Errorf("the log has %q", log.text)
	}
	if c, err := net.Dial("tcp", other.bound.String()); err == nil {
		c.Close()
		t.Error("the socket that nobody wants is open")
	}
	heir.Close()

	var pair [2]int
	if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[1])
	plain, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(plain, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	silent, err := netio.LocalAddr(plain)
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.b.settings().cfg
	cfg.Listeners = []Listener{{Addr: silent.String(), Default: r.pool}}
	for what, fd := range map[string]int{"socket": pair[0], "no listening socket of TCP or unix": plain} {
		good := bindFor(t, "127.0.0.1:0")
		cfg.Import = []ExportedSocket{{FDs: []int{good.fd(t), fd}}}
		if b, err := New(cfg); err == nil || b != nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, %v, want an error with %q", b, err, what)
		}
		if c, err := net.Dial("tcp", good.bound.String()); err == nil {
			c.Close()
			t.Error("a socket of a Balancer that could not be made is open")
		}
	}
	last := bindFor(t, "127.0.0.1:0")
	cfg.Listeners = []Listener{{Addr: last.bound.String(), Default: r.pool}}
	cfg.Import = []ExportedSocket{{FDs: []int{last.fd(t)}}}
	if err := r.b.Reload(cfg); err != nil { // and a reload takes them too
		t.Error(err)
	}
}

// bindFor is an endpoint of one socket.
func bindFor(t *testing.T, addr string) *endpoint {
	t.Helper()
	p, err := bind(netaddr.MustParse(addr), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *endpoint) fd(t *testing.T) int {
	t.Helper()
	return p.sockets[0][0].fd
}

// Which inherited sockets serve an address: that very one first, then other spellings of all addresses, then any port
// where none is asked for.
func TestInheritanceTake(t *testing.T) {
	all := func(texts ...string) (in imported) {
		for i, text := range texts {
			in.add(ExportedSocket{Addr: netaddr.MustParse(text), FDs: []int{i}})
		}
		return in
	}
	for _, tt := range []struct {
		have []string
		ask  string
		want int // index of the socket; -1: none
	}{
		{[]string{"192.0.2.1:443", "192.0.2.2:443"}, "192.0.2.2:443", 1},
		{[]string{"192.0.2.1:443"}, "[::ffff:192.0.2.1]:443", 0},
		{[]string{"0.0.0.0:443", "[::]:443"}, "[::]:443", 1},
		{[]string{"0.0.0.0:443"}, "[::]:443", 0},
		{[]string{"[::]:443"}, "0.0.0.0:443", 0},
		{[]string{"0.0.0.0:443"}, "192.0.2.1:443", -1},
		{[]string{"192.0.2.1:443"}, "[::]:443", -1},
		{[]string{"192.0.2.1:443"}, "192.0.2.1:8443", -1},
		{[]string{"192.0.2.2:7", "192.0.2.1:7"}, "192.0.2.1:0", 1},
		{[]string{"192.0.2.2:7"}, "192.0.2.1:0", -1},
		{nil, "192.0.2.1:443", -1},
	} {
		in := all(tt.have...)
		s, ok := in.take(netaddr.MustParse(tt.ask))
		switch {
		case ok != (tt.want >= 0), ok && s.FDs[0] != tt.want:
			t.Errorf("%s of %v: %+v, %v", tt.ask, tt.have, s, ok)
		case ok && len(in) != len(tt.have)-1, !ok && len(in) != len(tt.have):
			t.Errorf("%s of %v: %v are left", tt.ask, tt.have, in)
		}
	}
	in := all("192.0.2.1:443", "192.0.2.1:443")
	if s, ok := in.take(netaddr.MustParse("192.0.2.1:443")); !ok || len(s.FDs) != 2 {
		t.Errorf("of two sockets on one address: %+v", s)
	}
}
