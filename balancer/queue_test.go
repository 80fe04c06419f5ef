//go:build linux

package balancer

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// queueRig is a rig of which every backend has room for limit conns.
func queueRig(t testing.TB, backends, limit int, opt pool.Options, edit ...func(*Config)) *rig {
	r := newRig(t)
	for range backends {
		r.serveByHand().spec.MaxConns = limit
	}
	return r.startPool(opt, edit...)
}

// says dials and sends a hello of its own, by its name.
func (r *rig) says(name string) *net.TCPConn {
	r.Helper()
	c := r.dial()
	write(r, c, named1(name))
	return c
}

// named1 is a hello for a server name.
func named1(name string) []byte { return hello{names: []string{name}}.bytes() }

// waits waits until n conns are in the queue.
func (r *rig) waits(n int) {
	r.Helper()
	r.await("conns in the queue", func() bool { return r.b.Stats().Waiting == uint64(n) })
}

// served takes the next conn of a backend, which has to begin with sent.
func (r *rig) served(sent []byte) arrival {
	r.Helper()
	b := r.arrival()
	if got := read(r, b, len(sent)); !bytes.Equal(got, sent) {
		r.Fatalf("got %x, want %x", got, sent)
	}
	return b
}

// TestQueue: conns beyond what the backends may have wait, and are served in their order, as soon as one ends.
func TestQueue(t *testing.T) {
	const clients = 6
	for _, loops := range []int{1, 2} {
		r := queueRig(t, 2, 1, pool.Options{QueueTimeout: patience}, func(c *Config) { c.Loops, c.ConnectTimeout = loops, 50*time.Millisecond })
		var open []arrival
		for i := range clients {
			r.says(string(rune('a' + i)))
			if i < 2 {
				open = append(open, r.served(named1(string(rune('a'+i)))))
			} else {
				r.waits(i - 1)
			}
		}
		<-time.After(60 * time.Millisecond) // the time for all tries does not run meanwhile
		for i := 2; i < clients; i++ {
			sendRST(open[i-2])
			open = append(open, r.served(named1(string(rune('a'+i)))))
			if n := r.servers[0].backend.Open() + r.servers[1].backend.Open(); n > 2 {
				t.Errorf("%d conns at the backends, which may have two", n)
			}
			if rec := r.last(i - 1); rec.QueueTime > 0 != (i-2 >= 2) {
				t.Errorf("conn %d has waited %v", i-2, rec.QueueTime)
			}
		}
		sendRST(open[clients-2])
		sendRST(open[clients-1])
		for _, rec := range r.ended(clients) {
			if rec.ConnectTime > rec.Total-rec.QueueTime || rec.QueueTime > rec.Total {
				t.Errorf("of %v a conn has waited %v and connected %v", rec.Total, rec.QueueTime, rec.ConnectTime)
			}
		}
		s := r.b.Stats()
		if s.Queued != clients-2 || s.Waiting != 0 || s.QueueTime < 60*time.Millisecond || s.QueueTimeouts+s.QueueFull+s.Unroutable+s.Replays != 0 || s.Connects != clients {
			t.Errorf("%d queued, %d waiting, %v", s.Queued, s.Waiting, s.QueueTime)
		}
		r.stop()
	}
}

// TestQueueTimeout: nobody waits longer than may be.
func TestQueueTimeout(t *testing.T) {
	r := queueRig(t, 1, 1, pool.Options{QueueTimeout: 30 * time.Millisecond})
	r.says("a")
	b := r.served(named1("a"))
	c := r.says("b")
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("%v, want RST", err)
	}
	if rec := r.ends(1, "sQ"); rec.QueueTime < 30*time.Millisecond || rec.Tries != 0 {
		t.Errorf("it has waited %v and tried %d backends", rec.QueueTime, rec.Tries)
	}
	if s := r.b.Stats(); s.QueueTimeouts != 1 || s.Waiting != 0 {
		t.Errorf("%d timeouts, %d waiting", s.QueueTimeouts, s.Waiting)
	}
	sendRST(b)
	r.ended(2)
	r.says("c")
	r.served(named1("c"))
}

// TestQueueFull: beyond the bound a conn is refused at once; without a queue all are.
func TestQueueFull(t *testing.T) {
	for _, waiting := range []int{2, 0} {
		opt := pool.Options{Queue: waiting}
		if waiting == 0 {
			opt.Queue = -1
		}
		r := queueRig(t, 1, 1, opt, func(c *Config) { c.Loops = 2 })
		r.says("a")
		b := r.served(named1("a"))
		for i := range waiting {
			r.says("b")
			r.waits(i + 1)
		}
		if _, err := r.says("c").Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("%v, want RST", err)
		}
		r.ends(1, "RQ")
		if s := r.b.Stats(); s.QueueFull != 1 || s.Waiting != uint64(waiting) || s.Unroutable != 0 {
			t.Errorf("%d refused, %d waiting", s.QueueFull, s.Waiting)
		}
		sendRST(b)
		for range waiting {
			sendRST(r.served(named1("b")))
		}
		r.ended(2 + waiting)
		r.says("d")
		r.served(named1("d"))
		r.stop()
	}
}

// TestQueueClientLeaves: a client that leaves waits no more, and those behind it are served all the same.
func TestQueueClientLeaves(t *testing.T) {
	for name, leave := range map[string]func(c *net.TCPConn){
		"in order":  func(c *net.TCPConn) { c.Close() },
		"half":      func(c *net.TCPConn) { sendFIN(c) },
		"by reset":  func(c *net.TCPConn) { sendRST(c) },
		"with more": func(c *net.TCPConn) { write(t, c, appData(100)); sendFIN(c) },
	} {
		t.Run(name, func(t *testing.T) {
			r := queueRig(t, 1, 1, pool.Options{QueueTimeout: patience})
			r.says("a")
			b := r.served(named1("a"))
			first, second := r.says("b"), r.says("c")
			r.waits(2)
			leave(first)
			r.waits(1)
			r.ends(1, "CQ")
			sendRST(b)
			r.talk(second, r.served(named1("c")), 1<<20, backend(answer{}.bytes(), certificate(10), ccs()))
		})
	}
}

// TestQueueMore: what a client sends while it waits comes behind its hello; one that is not TLS may end what it says.
func TestQueueMore(t *testing.T) {
	r := queueRig(t, 1, 1, pool.Options{QueueTimeout: patience})
	r.says("a")
	b := r.served(named1("a"))
	early := r.dial()
	sent := join(hello{names: []string{"b"}, psks: [][]byte{named("nobody knows", 1)}, early: true}.bytes(), appData(100))
	write(t, early, sent)
	r.waits(1)
	write(t, early, appData(3000))
	plain := r.dial()
	write(t, plain, []byte("plain"))
	r.waits(2)
	write(t, plain, []byte(" words"))
	sendFIN(plain)
	flood := r.dial()
	write(t, flood, []byte("flood"))
	r.waits(3)
	go func() { _, _ = flood.Write(make([]byte, 16<<20)) }() // until the test ends
	r.await("some of it is kept", func() bool { return r.b.Stats().BytesIn > 30000 })
	r.settle()
	if n := r.b.Stats().BufferBytes; n > 128<<10 {
		t.Errorf("%d bytes of buffers for those who wait", n)
	}
	sendRST(b)
	b = r.served(join(sent, appData(3000)))
	early.Close()
	sendRST(b)
	b = r.served([]byte("plain words"))
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v, want the end", err)
	}
	write(t, b, []byte("and back"))
	read(t, plain, len("and back"))
	sendRST(b)
	r.served([]byte("flood"))
}

// TestQueueWoken: those who wait hear of every way in which there can be room, or none any more.
func TestQueueWoken(t *testing.T) {
	raise := func(r *rig, limit int) {
		r.reload(func(c *Config) {
			p := c.Listeners[0].Default
			var specs []pool.Spec
			for _, b := range p.Snapshot().All() {
				specs = append(specs, pool.Spec{Addr: b.Addr.String(), MaxConns: limit})
			}
			if err := p.Set(specs); err != nil {
				t.Error(err)
			}
		})
	}
	for name, wake := range map[string]func(r *rig){
		"a higher bound":      func(r *rig) { raise(r, 2) },
		"a backend is up":     func(r *rig) { r.pool.SetUp(r.servers[1].backend, true, "test") },
		"it is drained":       func(r *rig) { r.pool.SetDraining(r.servers[0].backend, pool.DrainHard) },
		"it is marked down":   func(r *rig) { r.pool.SetUp(r.servers[0].backend, false, "test") },
		"the balancer drains": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := queueRig(t, 2, 1, pool.Options{QueueTimeout: patience})
			r.pool.SetUp(r.servers[1].backend, false, "test")
			r.says("a")
			b := r.served(named1("a"))
			waiting := r.says("b")
			r.waits(1)
			switch name {
			case "it is drained", "it is marked down": // the one that was marked down last is tried
				wake(r)
				r.served(named1("b"))
				if s := r.b.Stats(); s.Unroutable != 0 || s.Waiting != 0 {
					t.Errorf("%d unroutable", s.Unroutable)
				}
			case "the balancer drains":
				done := r.shutdown(context.Background())
				r.refuses()
				sendRST(b)
				r.talk(waiting, r.served(named1("b")), 1<<20, backend([]byte("served")))
				sendRST(waiting)
				if err := <-done; err != nil {
					t.Error(err)
				}
			default:
				wake(r)
				r.served(named1("b"))
			}
		})
	}
}

// TestQueueNobodyLeft: when the backends go for good, those who wait are told at once.
func TestQueueNobodyLeft(t *testing.T) {
	r := queueRig(t, 1, 1, pool.Options{QueueTimeout: patience})
	r.says("a")
	r.served(named1("a"))
	waiting := r.says("b")
	r.waits(1)
	r.pool.SetDraining(r.servers[0].backend, pool.DrainHard)
	if _, err := waiting.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("%v, want RST", err)
	}
	r.ends(1, "SC")
	if s := r.b.Stats(); s.Unroutable != 1 {
		t.Errorf("%d unroutable", s.Unroutable)
	}
}

// TestQueueKilled: those who wait are reset with all others, and give their places to nobody.
func TestQueueKilled(t *testing.T) {
	for _, loops := range []int{1, 3} {
		r := queueRig(t, 1, 2, pool.Options{QueueTimeout: patience}, func(c *Config) { c.Loops = loops })
		for i := range 20 {
			r.says("a")
			r.await("it is there", func() bool { s := r.b.Stats(); return s.Waiting+uint64(r.servers[0].backend.Open()) == uint64(i+1) })
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := <-r.shutdown(ctx); err != context.Canceled {
			t.Error(err)
		}
		r.ended(20)
		s := r.b.Stats()
		if n := r.servers[0].backend.Open(); n != 0 || r.pool.Waiting() != 0 || s.Waiting != 0 {
			t.Errorf("%d open, %d waiting", n, r.pool.Waiting())
		}
		if n := s.Terminations[CauseKilled][PhaseQueue]; n < 18-uint64(2*loops) || n > 18 {
			t.Errorf("%d killed in the queue", n)
		}
	}
}

// TestQueueAfterRefusal: when the backend that has room refuses, the conn waits for one of those that have none.
func TestQueueAfterRefusal(t *testing.T) {
	r := newRig(t)
	r.serveByHand().spec.MaxConns = 1
	r.unserved()
	r.startPool(pool.Options{QueueTimeout: patience, Fall: 100}, func(c *Config) { c.ConnectTimeout = patience })
	r.says("a")
	b := r.served(named1("a"))
	for i, name := range []string{"b", "c"} { // the second stands behind one who waits, and what it could have would refuse it
		r.says(name)
		r.waits(i + 1)
	}
	sendRST(b)
	sendRST(r.served(named1("b")))
	r.served(named1("c"))
	if s := r.b.Stats(); s.Unroutable != 0 || s.Queued != 2 {
		t.Errorf("%d unroutable, %d queued", s.Unroutable, s.Queued)
	}
}

// TestQueueLateWord: word for a conn that has left is not for the one that has its place in the table now.
func TestQueueLateWord(t *testing.T) {
	r := queueRig(t, 1, 1, pool.Options{QueueTimeout: patience})
	r.says("a")
	b := r.served(named1("a"))
	for i, name := range []string{"b", "c"} {
		r.says(name)
		r.waits(i + 1)
	}
	r.b.loops[0].post(command{kind: commandTurn, turn: 77<<32 | 1}) // the second conn that was taken
	r.settle()
	sendRST(b)
	sendRST(r.served(named1("b")))
	r.served(named1("c"))
}

// TestQueueHome: of two backends with room a conn that has waited gets its home, and counts as sent home; at another it
// counts as lost to load.
func TestQueueHome(t *testing.T) {
	for _, home := range []bool{true, false} {
		r := newRig(t)
		for range 2 {
			r.serveByHand().spec.MaxConns = 1
		}
		r.startPool(pool.Options{QueueTimeout: patience})
		issuer := r.teachID(fixed('i'))
		n := len(r.ended(1))
		var at, other arrival
		for range 2 {
			r.says("a")
			if b := r.served(named1("a")); b.server == issuer {
				at = b
			} else {
				other = b
			}
		}
		c := r.dial()
		offer := hello{id: fixed('i')}.bytes()
		write(t, c, offer)
		r.waits(1)
		flight, want := backend(answer{}.bytes(), certificate(10)), affinity.SourceFresh
		if home {
			flight, want = backend(answer{}.bytes(), ccs()), affinity.SourceSession
			sendRST(at)
		} else {
			sendRST(other)
		}
		b := r.served(offer)
		if (b.server == issuer) != home {
			t.Error("at the wrong backend")
		}
		r.talk(c, b, 1<<20, flight)
		sendRST(b)
		c.Close()
		rec := r.last(n + 2)
		if lost := map[bool]Lost{true: LostNone, false: LostOverloaded}[home]; rec.Source != want || rec.Lost != lost {
			t.Errorf("source %v, lost %v", rec.Source, rec.Lost)
		}
		r.stop()
	}
}

// TestQueueLoad: many clients of few places, on several loops: all are served, and never more at once than may be.
func TestQueueLoad(t *testing.T) {
	const clients, rounds, limit = 24, 40, 3
	r := newRig(t)
	var running atomic.Pointer[pool.Pool] // handlers begin when it is there
	for range 2 {
		r.serve(func(c *net.TCPConn) {
			for _, b := range running.Load().Snapshot().All() {
				if n := b.Open(); n > limit {
					t.Errorf("%d conns open, %d may be", n, limit)
				}
			}
			_, _ = io.Copy(c, c)
		}).spec.MaxConns = limit
	}
	r.startPool(pool.Options{QueueTimeout: patience}, func(c *Config) { c.Loops = 3 })
	running.Store(r.pool)
	var failed [clients]int
	done := make(chan struct{})
	for i := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			for range rounds {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					failed[i]++
					continue
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				buf := []byte("not TLS, but served")
				_, err = c.Write(buf)
				if _, e := io.ReadFull(c, buf); e != nil || err != nil {
					failed[i]++
				}
				c.Close()
			}
		}()
	}
	for range clients {
		<-done
	}
	for i, n := range failed {
		if n > 0 {
			t.Errorf("client %d was not served %d times", i, n)
		}
	}
	if s := r.b.Stats(); s.Queued == 0 || s.QueueTimeouts+s.QueueFull+s.Unroutable != 0 {
		t.Errorf("%d queued, %d in vain", s.Queued, s.QueueTimeouts+s.QueueFull+s.Unroutable)
	}
}

// TestQueueAllocates: a conn that has to wait costs no heap object either.
func TestQueueAllocates(t *testing.T) {
	r := newRig(t)
	s := r.queueServer()
	s.spec.MaxConns = 1
	ln := bareListener(t, s)
	r.startPool(pool.Options{}, func(c *Config) { c.ConnLog = nil })
	to := &syscall.SockaddrInet4{Port: int(r.b.Addrs()[0].IP().Port()), Addr: [4]byte{127, 0, 0, 1}}
	sent, answered, buf := hello{}.bytes(), join(answer{}.bytes(), certificate(3000)), make([]byte, 1<<16)
	first := bareDial(t, to)
	first.write(t, sent)
	at := bareAccept(t, ln)
	once := func() {
		next := bareDial(t, to)
		next.write(t, sent)
		for r.pool.Waiting() == 0 {
			runtime.Gosched()
		}
		first.close()
		at.close()
		at = bareAccept(t, ln)
		at.read(t, buf[:len(sent)])
		at.write(t, answered)
		next.read(t, buf[:len(answered)])
		first = next
	}
	for range 100 {
		once()
	}
	const conns = 300
	costsNothing(t, conns, 1, once)
	first.close()
	at.close()
	s.ln.Close()
	if n := r.b.Stats().Queued; n != conns+100 {
		t.Errorf("%d have waited", n)
	}
}
