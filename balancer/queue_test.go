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
