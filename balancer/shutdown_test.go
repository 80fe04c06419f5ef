//go:build linux

package balancer

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"homing/balancer/pool"
)

// shutdown runs Shutdown aside.
func (r *rig) shutdown(ctx context.Context) chan error {
	done := make(chan error, 1)
	r.stopped = true // the rig need not
	go func() { done <- r.b.Shutdown(ctx) }()
	return done
}

// refuses waits until nobody listens at the balancer's address any more.
func (r *rig) refuses() {
	r.Helper()
	r.await("the listener is closed", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// TestDrainSync: in a drain the loops without conns end before the others, and Sync takes none of them for one that
// does not answer: the watchdog asks it.
func TestDrainSync(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff, func(c *Config) { c.Loops = 3 })
	c := r.dial()
	write(t, c, []byte("x"))
	go echo(r.arrival())
	read(t, c, 1)
	ctx, cut := context.WithCancel(context.Background())
	done := r.shutdown(ctx)
	r.await("the loops without a conn have ended", func() bool {
		gone := 0
		for _, l := range r.b.loops {
			l.mu.Lock()
			if l.gone {
				gone++
			}
			l.mu.Unlock()
		}
		return gone == 2
	})
	if err := r.b.Sync(context.Background()); err != nil {
		t.Errorf("Sync: %v", err)
	}
	cut()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestDrain: connections that the kernel has queued are served, open ones go on to their end, new ones are refused, and
// Run and Shutdown return nil.
func TestDrain(t *testing.T) {
	const queued = 150 // more than one batch of accepts
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.prepare(pool.Options{}, tlsOff, func(c *Config) { c.Loops = loops })
		var all []*net.TCPConn
		for range queued {
			all = append(all, r.dial()) // nobody takes them yet
		}
		r.b.post(command{kind: commandDrain}) // before the first look at the queues
		r.run()
		r.await("it runs", func() bool { return r.b.is(stageRunning) })
		done := r.shutdown(context.Background())
		for range queued {
			go echo(r.arrival())
		}
		r.refuses()
		for _, c := range all {
			write(t, c, []byte("still there?"))
			if got := read(t, c, 12); string(got) != "still there?" {
				t.Errorf("got %q", got)
			}
		}
		select {
		case err := <-done:
			t.Errorf("Shutdown returned %v with %d conns open", err, r.b.Stats().Open)
		default:
		}
		r.hangUp()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if s := r.b.Stats(); s.Accepted < queued || s.Terminations[CauseKilled] != [NumPhases]uint64{} {
			t.Errorf("%d accepted, terminations %v", s.Accepted, s.Terminations)
		}
		// Once more is once too often, and harmless.
		if err := r.b.Shutdown(context.Background()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
	}
}

// TestDrainDeadline: what is open when the time is over is reset.
func TestDrainDeadline(t *testing.T) {
	const limit = 150 * time.Millisecond
	r := newRig(t)
	r.serveByHand()
	r.start()
	plain := hello{}.bytes()
	states := map[string]func(*net.TCPConn){
		"KH": func(c *net.TCPConn) { write(t, c, plain[:20]) },
		"KA": func(c *net.TCPConn) {
			write(t, c, plain)
			read(t, r.arrival(), len(plain))
		},
		"KD": func(c *net.TCPConn) {
			write(t, c, plain)
			b := r.arrival()
			read(t, b, len(plain))
			r.talk(c, b, 1<<20, backend(answer{tls13: true}.bytes()))
		},
	}
	var all []*net.TCPConn
	for _, f := range states {
		all = append(all, r.dial())
		f(all[len(all)-1])
	}
	r.settle()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	begun := time.Now()
	if err := <-r.shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(begun); took < limit || took > patience/4 {
		t.Errorf("Shutdown took %v, want %v", took, limit)
	}
	for _, c := range all {
		if _, err := io.Copy(io.Discard, c); !isReset(err) {
			t.Errorf("a client got %v, want RST", err)
		}
	}
	for _, rec := range r.ended(len(states)) {
		if states[rec.Termination.String()] == nil {
			t.Errorf("ended with %v", rec.Termination)
		}
	}
}

// TestKill: the end of Run's context ends everything at once, in a drain too.
func TestKill(t *testing.T) {
	for _, draining := range []bool{false, true} {
		r := newRig(t)
		r.serveByHand()
		r.start(tlsOff, func(c *Config) { c.Loops = 2 })
		c := r.dial()
		r.arrival()
		done := make(chan error, 1)
		if draining {
			done = r.shutdown(context.Background())
			r.refuses()
		}
		r.kill()
		if _, err := io.Copy(io.Discard, c); !isReset(err) {
			t.Errorf("draining %v: the client got %v, want RST", draining, err)
		}
		r.await("the conn ends with KD", func() bool { // one of refuses may do so too
			return slices.ContainsFunc(r.ended(0), func(rec *ConnRecord) bool { return rec.Termination.String() == "KD" })
		})
		if draining {
			if err := <-done; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}
		err := <-r.ran
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		r.ran <- err // for the rig
		// A command to a loop that is gone must not be written anywhere: its descriptor may be this pipe's by now.
		var fds [2]int
		for range 8 {
			if err := syscall.Pipe2(fds[:], syscall.O_NONBLOCK); err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(fds[0])
			defer syscall.Close(fds[1])
		}
		r.b.post(command{kind: commandDrain})
		if n, _ := syscall.Read(fds[0], make([]byte, 8)); n > 0 {
			t.Error("a command was written to a descriptor of somebody else")
		}
	}
}

// A kill in the midst of connections that arrive leaves nothing behind.
func TestKillUnderLoad(t *testing.T) {
	for range 5 {
		r := newRig(t)
		r.serve(func(c *net.TCPConn) { echo(c) })
		r.start(tlsOff, func(c *Config) { c.Loops = 2 })
		stop := make(chan struct{})
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.DialTimeout("tcp", r.addr, 50*time.Millisecond)
				if err != nil {
					continue // the last SYN may get no answer at all
				}
				_, _ = c.Write([]byte("hello"))
				c.Close()
			}
		}()
		r.await("traffic", func() bool { return r.b.Stats().Accepted > 20 })
		r.stopped = true
		r.kill()
		err := <-r.ran
		r.ran <- err
		close(stop)
		<-stopped
		for _, b := range r.pool.Snapshot().All() {
			if b.Open() != 0 {
				t.Errorf("backend %s still has %d conns", b.Addr, b.Open())
			}
		}
	}
}
