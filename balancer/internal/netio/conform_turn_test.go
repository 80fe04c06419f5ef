//go:build linux

package netio

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testWaitDeadline(t *testing.T, open opener) {
	r := newRig(t, open)
	s, _ := r.accepted()
	r.Recv(s)
	r.settle()
	for _, d := range []time.Duration{-time.Hour, 0, time.Nanosecond, time.Millisecond, 20 * time.Millisecond} {
		before := r.Now()
		deadline := before.Add(d)
		if n := r.turn(deadline); n != 0 {
			t.Errorf("deadline in %v: %d completions", d, n)
		}
		if now := r.Now(); now < deadline || now < before {
			t.Errorf("deadline in %v: woke %v early", d, deadline.Sub(now))
		}
	}
}

// A blocking Wait ends by what happens, however far the deadline is.
func testWaitEndsByEvent(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.accepted()
	for _, deadline := range []Time{forever, forever - 1, Time(1 << 62), r.Now().Add(24 * 365 * time.Hour)} {
		r.Recv(s)
		r.settle()
		go func() { _, _ = peer.Write([]byte("x")) }() // take tells
		for !slices.ContainsFunc(r.ended, func(c Completion) bool { return c.Op == OpRecv }) {
			r.turn(deadline)
		}
		r.take(OpRecv, s)
	}
}

// A signal that interrupts a blocking Wait is no error, and disturbs nothing.
func testWaitInterrupted(t *testing.T, open opener) {
	runtime.LockOSThread() // signals go to threads
	defer runtime.UnlockOSThread()
	r := newRig(t, open)
	s, peer := r.accepted()
	// A batch with completions, so that the engine has something to clear away.
	for range 3 {
		write(t, peer, []byte("x"))
		r.recv(s)
	}
	thread := unix.Gettid()
	for range 20 {
		waiting := make(chan struct{})
		var signals sync.WaitGroup
		signals.Go(func() {
			for {
				select {
				case <-waiting:
					return
				default:
					_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG) // the runtime ignores those it did not send
					runtime.Gosched()
				}
			}
		})
		n := r.turn(r.Now().Add(20 * time.Millisecond))
		close(waiting)
		signals.Wait()
		if n != 0 {
			t.Fatalf("completions: %+v", r.ended)
		}
	}
	write(t, peer, []byte("x"))
	r.recv(s)
}

func testWake(t *testing.T, open opener) {
	r := newRig(t, open)
	r.Wake() // before Wait
	r.Wake()
	r.turn(forever)
	r.take(OpWake, NoSock)
	if r.turn(r.Now()) != 0 {
		t.Errorf("woken twice: %+v", r.ended)
	}
	for range 50 {
		go r.Wake() // before or during Wait
		for r.turn(forever) == 0 {
			continue
		}
		r.take(OpWake, NoSock)
	}
}

// What was posted before Wake is seen by the batch that has OpWake: no wake-up is
// lost among many.
func testWakeFromMany(t *testing.T, open opener) {
	const wakers, each = 8, 200
	r := newRig(t, open)
	var mu sync.Mutex
	posted, seen := 0, 0
	for range wakers {
		go func() {
			for range each {
				mu.Lock()
				posted++
				mu.Unlock()
				r.Wake()
			}
		}()
	}
	for start := time.Now(); seen < wakers*each; {
		if time.Since(start) > patience {
			t.Fatalf("seen %d of %d", seen, wakers*each)
		}
		r.turn(r.Now().Add(patience))
		for _, c := range r.ended {
			if c.Op != OpWake {
				t.Fatalf("got %+v", c)
			}
			mu.Lock()
			seen = posted
			mu.Unlock()
		}
		r.ended = r.ended[:0]
	}
	r.settle()
}

// Others may still wake a loop that has ended; the descriptor's number may be
// another file's by then.
func testWakeAfterShut(t *testing.T, open opener) {
	e, err := open(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	e.Shut()
	fds := make([]int, 32)
	for i := range fds {
		if fds[i], err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	e.Wake()
	for _, fd := range fds {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); err != unix.EAGAIN {
			t.Errorf("another's descriptor was written to: %d bytes, %v", n, err)
		}
		_ = unix.Close(fd) // ours
	}
}

// Shut leaves no descriptor, whatever is in flight.
func testShut(t *testing.T, open opener) {
	l := listenPlain(t) // lets the runtime open what it keeps
	dial(t, addrOf(l.Addr()))
	acceptPlain(t, l)
	before := descriptors(t)
	t.Run("life", func(t *testing.T) {
		runtime.LockOSThread() // as a loop does
		defer runtime.UnlockOSThread()
		e, err := open(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		// No check at the end: this life ends in the midst.
		r := &rig{Engine: e, t: t, socks: map[Sock]bool{}}
		s, _ := r.accepted()
		r.Recv(s)
		s, _ = r.acceptedSmall()
		r.fill(s)
		f := &stuffed{fed: make(chan error, 2)}
		f.from, f.source = r.acceptedSmall()
		f.to, f.sink = r.acceptedSmall()
		r.jam(f, f.back())
		from, source := r.accepted()
		to, _ := r.connected()
		write(t, source, []byte("x"))
		r.splice(from, to) // leaves an idle pipe
		if _, errno := r.Connect(unanswered(t), 0); errno != 0 {
			t.Fatal(errno)
		}
		r.Wake()
		r.Shut()
		r.Shut() // does nothing
		_ = f.source.Close()
		_ = f.sink.Close()
		for range 2 {
			t.Logf("feeding: %v", <-f.fed) // reset
		}
	})
	after := descriptors(t)
	for _, d := range after {
		if !slices.Contains(before, d) {
			t.Errorf("left open: %s", d)
		}
	}
}
