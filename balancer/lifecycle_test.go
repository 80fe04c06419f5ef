//go:build linux

package balancer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/pool"
)

// A Balancer that was made and never run is closed by Close, or by Shutdown, and Run has nothing to do then. The rig
// sees that nothing is left.
func TestCloseWithoutRun(t *testing.T) {
	for what, end := range map[string]func(*Balancer) error{
		"Close":    func(b *Balancer) error { b.Close(); return nil },
		"Shutdown": func(b *Balancer) error { return b.Shutdown(context.Background()) },
	} {
		for _, loops := range []int{1, 3} {
			r := newRig(t)
			r.serveByHand()
			r.start()
			cfg := r.b.settings().cfg
			cfg.Loops, cfg.Listeners = loops, []Listener{{Addr: "127.0.0.1:0", Default: r.pool}}
			b, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			addr := b.Addrs()[0].String()
			for range 2 { // once more is harmless
				if err := end(b); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := b.Run(context.Background()); err != nil {
				t.Errorf("Run after %s: %v", what, err)
			}
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				t.Errorf("%s: still listens", what)
			}
			r.stop()
		}
	}
}

// Close of a Balancer that runs resets what is open. Run is for once.
func TestCloseWhileRunning(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff, func(c *Config) { c.Loops = 2 })
	c := r.dial()
	r.arrival()
	if err := r.b.Run(context.Background()); err == nil {
		t.Error("it runs twice")
	}
	r.b.Close()
	r.stopped = true
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		t.Errorf("the client got %v, want RST", err)
	}
	r.ends(1, "KD")
}

// failing is an engine that fails at a time of the test's choice.
type failing struct {
	netio.Engine
	fail atomic.Bool
}

var errFailing = errors.New("no memory, says the test")

func (f *failing) Wait(deadline netio.Time) error {
	if f.fail.Load() {
		return errFailing
	}
	return f.Engine.Wait(deadline)
}

// TestLoopFails: one loop that fails ends all, in the log and as Run's error; there is no half that serves and one that
// does not.
func TestLoopFails(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	var log logLines
	r.prepare(pool.Options{}, tlsOff, func(c *Config) { c.Loops, c.Log = 3, slog.New(&log) })
	f := &failing{Engine: r.b.loops[1].eng}
	r.b.loops[1].eng = f
	ran := make(chan error, 1)
	go func() { ran <- r.b.Run(context.Background()) }()
	var all []*net.TCPConn
	for range 12 {
		all = append(all, r.dial())
		r.arrival()
	}
	r.settle()
	f.fail.Store(true)
	f.Wake()
	if err := <-ran; !errors.Is(err, errFailing) {
		t.Errorf("Run: %v", err)
	}
	for _, c := range all {
		if _, err := io.Copy(io.Discard, c); !isReset(err) {
			t.Errorf("a client got %v, want RST", err)
		}
	}
	r.refuses()
	if !log.has("a loop has failed") {
		t.Errorf("the log has %q", log.text)
	}
	if err := r.b.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	r.stopped = true
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
}

// TestDrainWhilePaused: a drain that begins while no conn can be taken, for want of room or of descriptors, serves
// first whom the kernel has let in, however long it takes, and then refuses.
func TestDrainWhilePaused(t *testing.T) {
	const queued = 6
	for i, loops := range []int{1, 2, 1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.start(tlsOff, func(c *Config) {
			if c.Loops = loops; i < 2 {
				c.MaxConns = 1
			} else {
				c.Listeners[0].MaxConns = 1
			}
		})
		var all []*net.TCPConn
		for i := range queued {
			all = append(all, r.dial())
			write(t, all[i], []byte{byte(i)})
		}
		b := r.arrival()
		done := r.shutdown(context.Background())
		r.restsFor(2 * drainGrace)
		first := read(t, b, 1)
		for range len(all) - 1 {
			b.Close()
			all[first[0]].Close()
			b = r.arrival()
			first = read(t, b, 1)
		}
		r.refuses()
		select {
		case err := <-done:
			t.Errorf("Shutdown has returned %v with a conn open", err)
		default:
		}
		r.talk(all[first[0]], b, 1<<20, backend([]byte("the last")))
		r.hangUp()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if s := r.b.Stats(); s.Terminations[CauseKilled] != [NumPhases]uint64{} {
			t.Errorf("terminations %v", s.Terminations)
		}
	}
}

// While a paused drain waits, the queue takes no more than it has: it will end.
func TestDrainWhilePausedTakesNoMore(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff, func(c *Config) { c.MaxConns = 1 })
	first := r.dial()
	b := r.arrival()
	waiting := r.dial()
	done := r.shutdown(context.Background())
	r.await("the drain has begun", func() bool { return r.b.is(stageEnding) })
	r.settle()
	late, err := net.DialTimeout("tcp", r.addr, 200*time.Millisecond)
	if err == nil { // one more may get in
		r.track(late)
		if late, err = net.DialTimeout("tcp", r.addr, 200*time.Millisecond); err == nil {
			late.Close()
			t.Error("two more were let into the queue")
		}
	}
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("a late one got %v", err)
	}
	first.Close()
	b.Close()
	b = r.arrival()
	r.talk(waiting, b, 1<<20, backend([]byte("served")))
	r.hangUp()
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			return
		case a := <-r.arrived: // the one more
			a.Close()
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
