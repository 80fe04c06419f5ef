//go:build linux

package balancer

import (
	"net"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
)

// TestMaxPreHello: of the conns without a whole hello the oldest go when there are too many, on whatever loop they are,
// and nobody else.
func TestMaxPreHello(t *testing.T) {
	const limit, clients = 4, 10
	for _, loops := range []int{1, 3} {
		r := newRig(t)
		r.serveByHand()
		r.start(func(c *Config) { c.MaxPreHello, c.Loops = limit, loops })
		r.says("a")
		established := r.served(named1("a"))
		var all []*net.TCPConn
		for i := range clients {
			all = append(all, r.dial())
			r.await("accepted", func() bool { return r.b.Stats().Accepted == uint64(i+2) })
			if i%2 == 0 {
				write(t, all[i], named1("b")[:20])
			}
			r.await("no more than may", func() bool { return r.b.Stats().PreHello <= limit })
			r.settle()
			_ = all[i].SetReadDeadline(time.Now().Add(time.Millisecond)) // an open socket takes any
			if _, err := all[i].Read(make([]byte, 1)); !isTimeout(err) {
				t.Errorf("%d loops: the newest conn: %v", loops, err)
			}
			_ = all[i].SetReadDeadline(time.Now().Add(patience)) // as above
		}
		if loops == 1 { // on several the oldest of one of them need not be the oldest of all
			for i, c := range all[:clients-limit] {
				if _, err := c.Read(make([]byte, 1)); !isReset(err) {
					t.Errorf("conn %d: %v, want RST", i, err)
				}
				r.ends(i+1, "PH")
			}
			for i, c := range all[clients-limit:] {
				rest := named1("b")
				if i%2 == 0 {
					rest = rest[20:]
				}
				write(t, c, rest)
				r.served(named1("b"))
			}
			r.says("c")
			r.served(named1("c"))
		}
		r.await("the rest is counted", func() bool { return r.b.Stats().Refused[RefusedPreHello] == clients-limit })
		s := r.b.Stats()
		if s.Refused[RefusedPreHello] != clients-limit || s.Hellos[HelloShed] != clients-limit || s.Shed != 0 {
			t.Errorf("%d loops: %d refused, %d hellos shed", loops, s.Refused[RefusedPreHello], s.Hellos[HelloShed])
		}
		write(t, established, []byte("still there"))
		r.stop()
	}
}

// TestMaxPreHelloDefault: half of the conns, where these have a limit.
func TestMaxPreHelloDefault(t *testing.T) {
	for _, test := range []struct{ conns, given, want int }{{0, 0, -1}, {9, 0, 5}, {9, 2, 2}, {9, -1, -1}, {0, 3, 3}} {
		cfg := Config{Listeners: make([]Listener, 1), Store: &affinity.Store{}, MaxConns: test.conns, MaxPreHello: test.given}
		if err := cfg.setDefaults(); err != nil || cfg.MaxPreHello != test.want {
			t.Errorf("%d of %d conns: %d, want %d (%v)", test.given, test.conns, cfg.MaxPreHello, test.want, err)
		}
	}
}

// TestMemoryOrder: while there are conns without a hello to give way, fresh handshakes that come together are not
// refused.
func TestMemoryOrder(t *testing.T) {
	cfg := Config{MemoryLimit: leastMemory}
	if err := cfg.setMemory(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.MemoryLimit, c.MaxConns, c.Loops = leastMemory, 1<<20, 2 })
	var silent []*net.TCPConn
	for r.b.Stats().Refused[RefusedPreHello] == 0 {
		silent = append(silent, r.dial())
		r.await("it is taken", func() bool { return r.b.Stats().Accepted == uint64(len(silent)) })
	}
	for range 5 {
		r.await("those that are too many give way", func() bool { return r.b.Stats().ConnBytes <= uint64(cfg.connsTight()) })
		var together []*net.TCPConn
		for range 8 {
			together = append(together, r.dial())
		}
		for _, c := range together {
			write(t, c, named1("a"))
		}
		for _, c := range together {
			r.served(named1("a")).Close()
			c.Close()
		}
	}
	runtime.KeepAlive(silent) // or the collector would close them
	if got := r.b.Stats().Refused[RefusedMemory]; got != 0 {
		t.Errorf("%d fresh handshakes refused for want of memory", got)
	}
}

// TestMemoryLimit: as memory runs short conns without a hello give way, then fresh handshakes are refused, then nobody
// is taken; resumptions are served, what is established stays, and when the pressure goes all is as before.
func TestMemoryLimit(t *testing.T) {
	const limit = leastMemory
	cfg := Config{MemoryLimit: limit}
	if err := cfg.setMemory(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	for range 2 {
		r.serveByHand()
	}
	r.start(func(c *Config) { c.MemoryLimit = limit; c.MaxConns = 1 << 20 })
	home := r.teachID(fixed('i'))
	var established []*net.TCPConn
	var backends []arrival
	for r.b.Stats().ConnBytes+connBytes+handshakeBytes <= uint64(cfg.connsTight()) {
		c := r.dial()
		write(t, c, []byte("no TLS"))
		established, backends = append(established, c), append(backends, r.served([]byte("no TLS")))
		r.await("the handshake is over", func() bool { return r.b.Stats().Handshakes == 0 })
	}
	s := r.b.Stats()
	if s.Refused[RefusedMemory]+s.Refused[RefusedPreHello] != 0 {
		t.Fatalf("refused below the limit: %v", s.Refused)
	}

	n := len(r.ended(0))
	if _, err := r.says("a").Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("a fresh client: %v, want RST", err)
	}
	if rec := r.ends(n+1, "PH"); rec.Refused != RefusedMemory {
		t.Errorf("refused as %v", rec.Refused)
	}
	resumes := func() {
		t.Helper()
		c := r.dial()
		offer := hello{id: fixed('i')}.bytes()
		write(t, c, offer)
		b := r.served(offer)
		if b.server != home {
			t.Error("not home")
		}
		r.talk(c, b, 1<<20, backend(answer{}.bytes(), ccs()))
		c.Close()
		b.Close()
	}
	resumes()

	few := int(cfg.connMemory() / youngShare / (connBytes + handshakeBytes))
	for range few + 10 {
		r.dial()
	}
	r.await("the oldest go", func() bool { return r.b.Stats().Refused[RefusedPreHello] == 10 })
	resumes() // makes an eleventh go
	if s = r.b.Stats(); s.PreHello != uint64(few) && s.PreHello != uint64(few)-1 {
		t.Errorf("%d without a hello, want %d", s.PreHello, few)
	}

	var last *net.TCPConn
	for r.b.Stats().ConnBytes < uint64(cfg.connMemory()) {
		last = r.dial()
		write(t, last, hello{id: fixed('i')}.bytes()) // and its handshake goes on
		r.served(hello{id: fixed('i')}.bytes())
	}
	taken := r.b.Stats().Accepted
	waits := r.dial()
	write(t, waits, hello{id: fixed('i')}.bytes())
	r.restsFor(3 * acceptPause)
	if s := r.b.Stats(); s.Accepted != taken || s.ConnBytes > uint64(cfg.connMemory())+connBytes+handshakeBytes {
		t.Errorf("%d taken beyond the limit, %d bytes for conns", s.Accepted-taken, s.ConnBytes)
	}
	sendRST(last)
	r.served(hello{id: fixed('i')}.bytes())

	for i, c := range established {
		write(t, c, []byte("still there"))
		read(t, backends[i], len("still there"))
		if i >= len(established)/2 {
			c.Close()
			backends[i].Close()
		}
	}
	r.await("the pressure is gone", func() bool { return r.b.Stats().ConnBytes < uint64(cfg.connsTight()) })
	r.says("a")
	r.served(named1("a"))
	if got := r.b.Stats().Refused[RefusedMemory]; got != 1 {
		t.Errorf("%d refused for want of memory", got)
	}
}

// TestMemoryRefused: limits that leave no room are refused, in one line with a remedy.
func TestMemoryRefused(t *testing.T) {
	for _, test := range []struct {
		limit, buffers int64
		want           string
	}{
		{leastMemory - 1, 0, "give at least 1048576"},
		{64 << 20, 32 << 20, "lower it to 16777216"},
		{64 << 20, 16 << 20, ""},
		{leastMemory, 0, ""},
	} {
		cfg := Config{MemoryLimit: test.limit, BufferMemory: test.buffers}
		switch err := cfg.setMemory(); {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%d and %d: %v", test.limit, test.buffers, err)
		}
	}
}

// TestConnBytes: conns take no more of the heap than they are counted for.
func TestConnBytes(t *testing.T) {
	const conns = 3000
	r := newRig(t)
	s := r.queueServer()
	ln := bareListener(t, s)
	r.start(func(c *Config) { c.ConnLog = nil })
	to := &syscall.SockaddrInet4{Port: int(r.b.Addrs()[0].IP().Port()), Addr: [4]byte{127, 0, 0, 1}}
	before := heap()
	var all []bareConn
	for range conns {
		all = append(all, bareDial(t, to))
	}
	r.await("all are there", func() bool { return r.b.Stats().PreHello == conns })
	account := int64(r.b.Stats().ConnBytes)
	if grown := heap() - before; grown > account || grown < account/4 {
		t.Errorf("%d bytes a conn without a hello, counted as %d", grown/conns, account/conns)
	}
	for _, c := range all {
		c.write(t, []byte("no TLS"))
		all = append(all, bareAccept(t, ln))
	}
	r.await("all are relayed", func() bool { return r.b.Stats().Handshakes == 0 })
	account = int64(r.b.Stats().ConnBytes)
	if grown := heap() - before - maxIdleHandshakes*handshakeBytes; grown > account || grown < account/4 {
		t.Errorf("%d bytes a conn, counted as %d", grown/conns, account/conns)
	}
	for _, c := range all {
		c.close()
	}
	s.ln.Close()
	if size := reflect.TypeFor[handshake]().Size(); size > handshakeBytes {
		t.Errorf("a handshake has %d bytes", size)
	}
}

// heap is the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
