//go:build linux

package netio

import (
	"runtime"
	"testing"
	"time"
)

// What stops the world stops a loop that watches, too; if it did not, the world would stop when this one has watched enough.
func testWatchLetsTheWorldStop(t *testing.T, open opener) {
	ended := make(chan struct{})
	w := newWatcher(t, open, func(e *core) { e.watchFor = 2 * patience })
	go func() {
		defer close(ended)
		for range 20 {
			runtime.GC()
		}
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("a collection waits for a loop that waits")
	}
	w.end(t)
}

// However a loop waits, it is told of what it waits for, and goes back to that.
func testWaitsAgain(t *testing.T, open opener) {
	for name, watchFor := range map[string]time.Duration{"watches": time.Hour, "parks": 0, "both": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, open)
			waits(r.Engine).watchFor = watchFor
			s, peer := r.accepted()
			for i := range 50 {
				r.Recv(s)
				pause := time.Duration(i%4) * time.Millisecond
				go func() {
					<-time.After(pause)
					_, _ = peer.Write([]byte("x")) // take tells
				}()
				for len(r.ended) == 0 {
					r.turn(forever)
				}
				r.take(OpRecv, s)
			}
		})
	}
}

// waits is the part of an engine by which it waits.
func waits(e Engine) *core {
	switch e := e.(type) {
	case *epoll:
		return &e.core
	case *uring:
		return &e.core
	}
	return nil
}

// watcher is a loop that does nothing but wait.
type watcher struct {
	eng   Engine
	ended chan error
}

func newWatcher(tb testing.TB, open opener, edit func(*core)) *watcher {
	tb.Helper()
	e, err := open(1 << 20)
	if err != nil {
		tb.Fatal(err)
	}
	edit(waits(e))
	w := &watcher{e, make(chan error)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the ring
		defer e.Shut()
		for c := (Completion{}); ; {
			err := e.Wait(forever)
			if err != nil || e.Next(&c) && c.Op == OpWake {
				w.ended <- err
				return
			}
		}
	}()
	return w
}

func (w *watcher) end(tb testing.TB) {
	tb.Helper()
	w.eng.Wake()
	if err := <-w.ended; err != nil {
		tb.Error(err)
	}
}

// How long the world takes to stop beside a loop that watches, or is parked.
func BenchmarkStopTheWorld(b *testing.B) {
	for name, watchFor := range map[string]time.Duration{"watches": time.Hour, "parked": 0} {
		for engine, open := range map[string]opener{"epoll": NewEpoll, "io_uring": NewUring} {
			b.Run(name+"/"+engine, func(b *testing.B) {
				w := newWatcher(b, open, func(e *core) { e.watchFor = watchFor })
				var m runtime.MemStats
				for b.Loop() {
					runtime.ReadMemStats(&m) // stops it
				}
				w.end(b)
			})
		}
	}
}
