//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
)

// cpu is what this process has spent.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// restsFor lets d pass and checks that nothing spins meanwhile.
func (r *rig) restsFor(d time.Duration) {
	r.Helper()
	before, begun := cpu(r), time.Now()
	<-time.After(d)
	if spent, took := cpu(r)-before, time.Since(begun); spent > took/2 {
		r.Errorf("%v of CPU in %v of waiting", spent, took)
	}
}

// held is how long clients of the first listener were kept waiting.
func (r *rig) held(why Hold) time.Duration {
	all := r.b.Stats().Listeners
	i := slices.IndexFunc(all, func(l ListenerStats) bool { return l.Held[why] > 0 })
	if i < 0 {
		return 0
	}
	return all[i].Held[why]
}

// TestMaxConns: at the limit connections wait in the kernel's queue, and are served as others end.
func TestMaxConns(t *testing.T) {
	const limit, clients = 3, 8
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.start(tlsOff, func(c *Config) { c.MaxConns, c.Loops = limit, loops })
		var all []*net.TCPConn
		for i := range clients {
			all = append(all, r.dial())
			write(t, all[i], []byte{byte(i)})
		}
		var open []arrival
		for range limit {
			open = append(open, r.arrival())
		}
		r.restsFor(3 * acceptPause)
		// Each loop looks before it takes, so that all together may take one each too many.
		if n := r.b.Stats().Open; n > uint64(limit+loops-1) {
			t.Errorf("%d conns open, the limit is %d", n, limit)
		}
		r.await("that clients wait is counted", func() bool { return r.held(HoldConns) > 0 })
		for served := limit; served < clients; served++ {
			first := read(t, open[0], 1)
			open[0].Close()
			all[first[0]].Close()
			open = append(open[1:], r.arrival())
		}
		r.stop()
	}
}

// TestListenerMaxConns: the connections of a full listener wait in its queue, those of others do not; each is served
// when there is room, and a reload can give more.
func TestListenerMaxConns(t *testing.T) {
	const limit, clients = 2, 6
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.start(tlsOff, func(c *Config) { c.Listeners[0].MaxConns, c.Loops = limit, loops }, listener("side", nil))
		main, side := r.addr, r.addrOf("side")
		var all []*net.TCPConn
		for i := range clients {
			all = append(all, r.dial())
			write(t, all[i], []byte{byte(i)})
		}
		open := []arrival{r.arrival(), r.arrival()}
		r.restsFor(3 * acceptPause)
		if n := r.b.Stats().Open; n < limit || n > uint64(limit+loops-1) {
			t.Errorf("%d conns open, the limit is %d", n, limit)
		}
		r.await("that clients wait is counted", func() bool { return r.held(HoldListener) > 0 })
		r.addr = side
		other := r.dial()
		write(t, other, hello{}.bytes())
		r.await("the other listener's is served", func() bool { return r.b.Stats().Hellos[HelloTLS] == 1 })
		r.addr = main
		first := read(t, open[0], 1)
		open[0].Close()
		all[first[0]].Close()
		r.await("room is given away", func() bool { return r.b.Stats().Accepted >= limit+2 })
		r.reload(func(c *Config) { c.Listeners[0].MaxConns = 0 })
		for range clients + 1 - len(open) {
			r.arrival()
		}
		r.stop()
	}
}

// TestBufferMemory: when partial hellos fill the buffers, the newest conns without a hello go, and nobody else.
func TestBufferMemory(t *testing.T) {
	const memory = 64 << 10
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.BufferMemory = memory })
	served := r.dial()
	write(t, served, hello{}.bytes())
	b := r.arrival()
	read(t, b, len(hello{}.bytes()))

	sent := paddedTo(hello{names: []string{"a.test"}}, 7000) // in a buffer of 8 KiB
	part := sent[:6000]
	old := r.dial() // has sent nothing yet
	var all []*net.TCPConn
	for i := range 16 {
		c := r.dial()
		all = append(all, c)
		r.await("accepted", func() bool { return r.b.Stats().Accepted == uint64(i+3) })
		write(t, c, part)
		r.await("read", func() bool { return r.b.Stats().BytesIn == uint64(len(hello{}.bytes())+(i+1)*len(part)) })
		r.settle()
		if used := r.b.Stats().BufferBytes; used > memory {
			t.Fatalf("%d bytes of buffers after %d conns, the limit is %d", used, i+1, memory)
		}
	}
	const fit = memory / (8 << 10)
	for i, c := range all {
		if i >= fit {
			if _, err := c.Read(make([]byte, 1)); !isReset(err) {
				t.Errorf("conn %d got %v, want RST", i, err)
			}
			continue
		}
		write(t, c, sent[len(part):])
		b := r.arrival()
		if got := read(t, b, len(sent)); !bytes.Equal(got, sent) {
			t.Errorf("conn %d: the hello has changed on its way", i)
		}
	}
	write(t, old, sent)
	read(t, r.arrival(), len(sent))
	r.talk(served, b, 1<<20, backend(answer{tls13: true}.bytes(), appData(10)), client(ccs(), appData(10)))
	s := r.b.Stats()
	if s.Shed != uint64(len(all)-fit) || s.Hellos[HelloShed] != s.Shed || s.Terminations[CauseResource][PhaseHello] != s.Shed {
		t.Errorf("%d shed, hellos %v", s.Shed, s.Hellos)
	}
}

// What the home itself refuses has expired, as far as can be seen, unless it refuses it right after the issue.
func TestLostAtHome(t *testing.T) {
	r := newRig(t)
	for range 2 {
		r.serveByHand()
	}
	r.start()
	home := r.teachID(fixed('i'))
	for i, issued := range []uint32{now() - 3600, now()} {
		r.known().IssuedID(r.known().HashID(fixed('i')), uint32(home.backend.ID), issued)
		if s := r.teach(hello{id: fixed('i')}, backend(answer{}.bytes(), certificate(10), ccs())); s != home {
			t.Error("not home")
		}
		s := r.b.Stats()
		if s.Lost[LostExpired] != 1 || s.Lost[LostNotKept] != uint64(i) || s.Decisions[affinity.SourceSession] != uint64(i+1) {
			t.Errorf("lost %v, decisions %v", s.Lost, s.Decisions)
		}
	}
}

// Fresh conns follow the weights.
func TestWeights(t *testing.T) {
	r := newRig(t)
	const rounds = 30
	for i := range 3 {
		s := r.serve(func(c *net.TCPConn) {
			write(t, c, []byte("x"))
			_, _ = io.Copy(io.Discard, c)
		})
		s.spec.Weight = i + 1
	}
	r.start(tlsOff)
	for range 6 * rounds {
		c := r.dial()
		read(t, c, 1)
		c.Close()
	}
	for i, s := range r.servers {
		if n := int(s.taken.Load()); n != rounds*(i+1) {
			t.Errorf("backend %d has weight %d and got %d of %d conns", i, i+1, n, 6*rounds)
		}
	}
}
