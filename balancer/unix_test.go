//go:build linux

package balancer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/balancer/proxyheader"
)

// sockets is a directory whose paths are short enough for unix sockets.
func (r *rig) socketDir() string {
	r.Helper()
	dir, err := os.MkdirTemp("", "homing")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serveUnix adds a backend on a unix socket, and returns its address.
func (r *rig) serveUnix(path string, handle func(c *net.UnixConn)) string {
	r.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { ln.Close() })
	r.handled.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			r.track(c)
			r.handled.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	return netaddr.Prefix + path
}

// dialUnix connects to a unix socket that the balancer listens on.
func (r *rig) dialUnix(path string) *net.UnixConn {
	r.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	return c
}

// startUnix runs a balancer that listens on a unix socket, and returns its path.
func (r *rig) startUnix(opt pool.Options, backends []string, edit ...func(*Config)) string {
	r.Helper()
	path := filepath.Join(r.socketDir(), "homing.sock")
	r.prepareUnix(path, opt, backends, edit...)
	r.run()
	return path
}

func (r *rig) prepareUnix(path string, opt pool.Options, backends []string, edit ...func(*Config)) {
	r.Helper()
	var specs []pool.Spec
	for _, addr := range backends {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	p, err := pool.New("unix", specs, opt)
	if err != nil {
		r.Fatal(err)
	}
	r.pools = append(r.pools, p)
	r.prepare(pool.Options{Discover: true}, append([]func(*Config){func(c *Config) {
		c.Listeners[0].Addr, c.Listeners[0].Default = netaddr.Prefix+path, p
	}}, edit...)...)
}

// Sessions come home between unix sockets too, in both versions and by names of keys. Nobody is taken for one client,
// though nobody has an address.
func TestUnixResumption(t *testing.T) {
	for version, want := range map[uint16]affinity.Source{tls.VersionTLS12: affinity.SourceTicketKey, tls.VersionTLS13: affinity.SourceTicketKey} {
		r := newRig(t)
		dir := r.socketDir()
		var backends []string
		for i := range byte(3) {
			handle := tlsServer(i, true)
			backends = append(backends, r.serveUnix(filepath.Join(dir, string('a'+i)), func(raw *net.UnixConn) { handle(raw) }))
		}
		path := r.startUnix(pool.Options{}, backends)
		visit := func(b *browser) (byte, bool) {
			c := tls.Client(r.dialUnix(path), b.cfg)
			var index [1]byte
			if _, err := io.ReadFull(c, index[:]); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			return index[0], c.ConnectionState().DidResume
		}
		home := map[*browser]byte{}
		for range 6 {
			b := r.browser(version)
			home[b], _ = visit(b)
		}
		n := len(home)
		const taught = 6 // rounds: each of three names in TLS 1.3 is refused twice at most
		for round := range taught + 2 {
			for b, was := range home {
				at, resumed := visit(b)
				if n++; (at != was || !resumed) && (version == tls.VersionTLS12 || round >= taught) {
					t.Errorf("version %x: round %d: was at %d, now at %d, resumed %v", version, round, was, at, resumed)
				}
				home[b] = at
			}
		}
		rec := r.last(n)
		if rec.Source != want || rec.Client.IsValid() || !slices.Contains(backends, rec.Backend.String()) || rec.Verdict != VerdictAccepted {
			t.Errorf("version %x: the last conn: %+v", version, rec)
		}
		r.stop()
	}
}

// Bytes go both ways between every pair of kinds of sockets, in bulk, and each side's end follows them.
func TestUnixBulk(t *testing.T) {
	const size = 5 << 20
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, row := range []struct{ name, listener, backend string }{
		{"unix to unix", "unix", "unix"}, {"TCP to unix", "tcp", "unix"}, {"unix to TCP", "unix", "tcp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			dir, swapped := r.socketDir(), make(chan struct{})
			type streamConn interface {
				net.Conn
				CloseWrite() error
			}
			swap := func(c streamConn) {
				defer close(swapped)
				got := read(t, c, size)
				write(t, c, got)
				sendFIN(c)
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("behind the bytes comes %v, want the client's end", err)
				}
			}
			backend := r.serveUnix(filepath.Join(dir, "b"), func(c *net.UnixConn) { swap(c) })
			if row.backend == "tcp" {
				backend = r.serve(func(c *net.TCPConn) { swap(c) }).addr
				r.servers[0].backend = new(pool.Backend) // of no pool of the rig's
			}
			path := filepath.Join(dir, "l")
			r.prepareUnix(path, pool.Options{}, []string{backend}, tlsOff, func(c *Config) {
				if row.listener == "tcp" {
					c.Listeners[0].Addr = "127.0.0.1:0"
				}
			})
			r.run()
			var c streamConn
			if row.listener == "tcp" {
				c = r.dial()
			} else {
				c = r.dialUnix(path)
			}
			sent := make(chan error, 1)
			go func() { _, err := c.Write(data); sent <- err }()
			if got := read(t, c, size); !bytes.Equal(got, data) {
				t.Error("other bytes come back")
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			sendFIN(c)
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("behind the bytes comes %v, want the backend's end", err)
			}
			<-swapped
			r.ends(1, "--")
			if r.b.Stats().Spliced == 0 {
				t.Error("nothing was spliced")
			}
		})
	}
}

// A backend without its socket is passed over, as one that refuses, and marked down.
func TestUnixBackendMissing(t *testing.T) {
	r := newRig(t)
	dir := r.socketDir()
	good := r.serveUnix(filepath.Join(dir, "good"), func(c *net.UnixConn) { echo(c) })
	missing := netaddr.Prefix + filepath.Join(dir, "missing")
	path := r.startUnix(pool.Options{Fall: 2, NoChecks: true}, []string{missing, good}, tlsOff)
	for n := range 6 {
		c := r.dialUnix(path)
		write(t, c, []byte("x"))
		read(t, c, 1)
		c.Close()
		if rec := r.last(n + 1); rec.Backend.String() != good || rec.Termination.Cause != CauseNormal {
			t.Errorf("conn %d: %+v", n, rec)
		}
	}
	for _, b := range r.pools[0].Snapshot().All() {
		if b.Up() != (b.Addr.String() == good) {
			t.Errorf("%s is up: %v", b.Addr, b.Up())
		}
	}
}

// A PROXY header that comes by a unix socket is believed where the listener says so: its client is in the record, is
// told on, and is judged by the lists. Who has no address is told on as nobody.
func TestUnixProxyHeader(t *testing.T) {
	who := proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("192.0.2.1:443")}
	first := hello{names: []string{"a.test"}, tls13: true}.bytes()
	told := who
	told.Name = []byte("a.test")
	nobody := proxyheader.Header{Name: []byte("a.test")}
	unixToo, net192 := netip.Prefix{}, netip.MustParsePrefix("192.0.2.0/24")
	for _, row := range []struct {
		name   string
		ln     Listener
		header *proxyheader.Header // nil: none
		want   *proxyheader.Header // nil: refused
		why    Refusal
	}{
		{"no header is expected", Listener{}, nil, &nobody, 0},
		{"a header that nobody may send", Listener{AcceptProxy: []netip.Prefix{net192}}, &who, nil, RefusedHeader},
		{"a header", Listener{AcceptProxy: []netip.Prefix{unixToo}}, &who, &told, 0},
		{"its client is allowed", Listener{AcceptProxy: []netip.Prefix{unixToo}, Allow: []netip.Prefix{net192}}, &who, &told, 0},
		{"its client is denied", Listener{AcceptProxy: []netip.Prefix{unixToo}, Deny: []netip.Prefix{net192}}, &who, nil, RefusedDenied},
		{"of itself", Listener{AcceptProxy: []netip.Prefix{unixToo}}, &proxyheader.Header{}, &nobody, 0},
		{"of itself, where networks are allowed", Listener{AcceptProxy: []netip.Prefix{unixToo}, Allow: []netip.Prefix{net192}}, &proxyheader.Header{}, nil, RefusedDenied},
		{"no address is allowed", Listener{Allow: []netip.Prefix{net192, unixToo}}, nil, &nobody, 0},
		{"no address is not allowed", Listener{Allow: []netip.Prefix{net192}}, nil, nil, RefusedDenied},
		{"no address is denied", Listener{Deny: []netip.Prefix{unixToo}}, nil, nil, RefusedDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			got := make(chan []byte, 1)
			backend := r.serveUnix(filepath.Join(r.socketDir(), "b"), func(c *net.UnixConn) {
				b, _ := io.ReadAll(c)
				got <- b
			})
			path := r.startUnix(pool.Options{ProxyHeader: pool.ProxyV2}, []string{backend}, func(c *Config) {
				c.Listeners[0].AcceptProxy, c.Listeners[0].Allow, c.Listeners[0].Deny = row.ln.AcceptProxy, row.ln.Allow, row.ln.Deny
			})
			c := r.dialUnix(path)
			if row.header != nil {
				_, _ = c.Write(header(t, proxyheader.V2, *row.header)) // it may be refused already
			}
			_, _ = c.Write(first)
			sendFIN(c)
			if row.want == nil {
				if rec := r.last(1); rec.Refused != row.why {
					t.Errorf("refused for %v, want %v", rec.Refused, row.why)
				}
				return
			}
			want := append(header(t, proxyheader.V2, *row.want), first...)
			select {
			case b := <-got:
				if !bytes.Equal(b, want) {
					t.Errorf("the backend got\n%q, want\n%q", b, want)
				}
			case <-time.After(patience):
				t.Fatalf("the backend got nothing: %+v", r.b.Stats())
			}
			if rec := r.last(1); rec.Client != row.want.Client || rec.Refused != RefusedNone {
				t.Errorf("the record has the client %v, refused %v", rec.Client, rec.Refused)
			}
		})
	}
}

// Those without an address are many: no limit for one client bounds them, and none of them draws the others to its
// backend.
func TestUnixClientsAreMany(t *testing.T) {
	r := newRig(t)
	dir := r.socketDir()
	var backends []string
	for _, name := range []string{"a", "b", "c"} {
		backends = append(backends, r.serveUnix(filepath.Join(dir, name), func(c *net.UnixConn) { echo(c) }))
	}
	path := r.startUnix(pool.Options{Policy: pool.ClientHash}, backends, func(c *Config) {
		c.Clients = ClientLimits{MaxConns: 1, Rate: 0.1, Burst: 1}
	})
	first := hello{names: []string{"a.test"}, tls13: true}.bytes()
	var open []net.Conn
	for range 3 {
		c := r.dialUnix(path)
		write(t, c, first)
		read(t, c, 1)
		open = append(open, c)
	}
	for _, c := range open {
		c.Close()
	}
	met := map[netaddr.Addr]bool{}
	for _, rec := range r.ended(3) {
		met[rec.Backend] = true
	}
	if len(met) != 3 {
		t.Errorf("three clients without an address met at %v", met)
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// The file of a listening socket has its mode, is there while it is listened on, and not longer; a file that somebody
// has left behind is in nobody's way, one that is in use is.
func TestUnixFile(t *testing.T) {
	r := newRig(t)
	dir := r.socketDir()
	path, other := filepath.Join(dir, "homing.sock"), filepath.Join(dir, "other.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	backend := r.serveUnix(filepath.Join(dir, "b"), func(c *net.UnixConn) { echo(c) })
	r.prepareUnix(path, pool.Options{}, []string{backend}, tlsOff, func(c *Config) { c.Loops = 3 })
	r.run()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != DefaultMode {
		t.Errorf("the file: %v, %v, want mode 660", info, err)
	}
	if b, err := New(r.b.set.cfg); err == nil || !errors.As(err, new(*ListenError)) {
		t.Errorf("a second one: %v", err)
		b.Close()
	}
	if !exists(path) {
		t.Fatal("the file is gone by a second one that was not made")
	}
	talk := func(path string) {
		c := r.dialUnix(path)
		write(t, c, []byte("x"))
		read(t, c, 1)
	}
	talk(path)
	r.takesTurns(func() { talk(path) })
	// A reload adds a listener, changes the mode of one, then removes it.
	cfg := r.b.settings().cfg
	cfg.Listeners = slices.Clone(cfg.Listeners)
	cfg.Listeners[0].Mode = 0o600
	cfg.Listeners = append(cfg.Listeners, Listener{Addr: netaddr.Prefix + other, Default: r.pools[0], TLS: TLSOff, Mode: 0o666})
	if err := r.b.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{path: 0o600, other: 0o666} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", path, info, err, want)
		}
		talk(path)
	}
	cfg.Listeners = cfg.Listeners[1:]
	if err := r.b.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if exists(path) || !exists(other) {
		t.Errorf("after a reload without it %s is there: %v; %s: %v", path, exists(path), other, exists(other))
	}
	talk(other)
	r.hangUp()
	if err := r.b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(other) {
		t.Error("the file is there after the end")
	}
}

// A socket is handed over with what waits in its queue, and with its file, which the heir removes; but not if it is
// systemd's.
func TestUnixHandover(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		r := newRig(t)
		dir := r.socketDir()
		path := filepath.Join(dir, "homing.sock")
		backend := r.serveUnix(filepath.Join(dir, "b"), func(c *net.UnixConn) { echo(c) })
		r.prepareUnix(path, pool.Options{}, []string{backend}, tlsOff, func(c *Config) {
			c.Loops = 2
			if !foreign {
				return
			}
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			ln.SetUnlinkOnClose(false)
			c.Import = []ExportedSocket{{FDs: []int{dupOf(t, ln)}, Foreign: true}}
			ln.Close()
		})
		r.run()
		open := r.dialUnix(path)
		write(t, open, []byte("x"))
		read(t, open, 1)
		given := r.sockets()
		if len(given) != 1 || len(given[0].FDs) != 1 || given[0].Foreign != foreign || given[0].Addr != netaddr.Unix(path) {
			t.Fatalf("handed over: %+v", given)
		}
		cfg := r.b.settings().cfg
		cfg.Import = given
		heir, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		heir.Close() // it has failed
		if !exists(path) {
			t.Fatal("an heir that failed has taken the file with it")
		}
		bad := cfg
		bad.Import = r.sockets()
		bad.Listeners = append(slices.Clone(cfg.Listeners), Listener{Addr: "192.0.2.1:443", Default: r.pools[0]})
		if heir, err := New(bad); err == nil {
			heir.Close()
			t.Fatal("an address of nobody is listened on")
		}
		if !exists(path) {
			t.Fatal("an heir that could not be made has taken the file with it")
		}
		cfg.Import = r.sockets()
		if heir, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		if err := r.b.Release(); err != nil {
			t.Fatal(err)
		}
		queued := r.dialUnix(path) // nobody takes from the queue at present
		write(t, queued, []byte("y"))
		ran := make(chan error, 1)
		go func() { ran <- heir.Run(t.Context()) }()
		if got := read(t, queued, 1); got[0] != 'y' {
			t.Errorf("got %q", got)
		}
		write(t, open, []byte("z"))
		read(t, open, 1)
		r.hangUp()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := r.b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if !exists(path) {
			t.Error("the file is gone with the elder")
		}
		if err := heir.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if exists(path) != foreign {
			t.Errorf("after the heir's end the file is there: %v, systemd's: %v", exists(path), foreign)
		}
	}
}

func dupOf(t *testing.T, ln *net.UnixListener) int {
	t.Helper()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := syscall.Dup(int(file.Fd())) // Fd makes it blocking, as systemd's are
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
