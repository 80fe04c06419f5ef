//go:build linux

package netio

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// What is to be sent first arrives, by the engine's hand or by the caller's, and
// further bytes behind it.
func testConnectFirst(t *testing.T, open opener) {
	for _, size := range []int{0, 1, 517, 4096, 4097, 70_000} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			r := newRig(t, open)
			l := listenPlain(t)
			want := noiseBytes(3, size)
			first := bytes.Clone(want)
			s, given, errno := r.ConnectSend(addrOf(l.Addr()), first, 41)
			if errno != 0 {
				t.Fatal(errno)
			}
			clear(first) // may be reused at once
			if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 41 || c.Sink {
				t.Fatalf("got %+v", c)
			}
			if !given {
				r.send(s, want)
			}
			hurry(t, l)
			peer := acceptPlain(t, l)
			r.send(s, []byte("next"))
			if got := read(t, peer, size+4); !bytes.Equal(got, append(want, "next"...)) {
				t.Errorf("given %t: the peer read other bytes than were sent", given)
			}
			write(t, peer, []byte("answer"))
			if c := r.recv(s); string(c.Buf) != "answer" {
				t.Errorf("got %+v", c)
			}
			r.quiet("all is told")
		})
	}
}

// A connect that fails is told once, as such, and the next one is not in its way.
func testConnectFirstRefused(t *testing.T, open opener) {
	r := newRig(t, open)
	for range 5 {
		s, _, errno := r.ConnectSend(refused(t), []byte("hello"), 5)
		if errno == 0 {
			c := r.take(OpConnect, s)
			errno = c.Errno
			if c.Tag != 5 || c.Sink {
				t.Errorf("got %+v", c)
			}
			r.Close(s, true)
		}
		if errno != unix.ECONNREFUSED {
			t.Errorf("connect: %v, want ECONNREFUSED", errno)
		}
		r.quiet("it is told")
	}
}

// A connect that is given up sends nothing, and is not heard of.
func testConnectFirstClosed(t *testing.T, open opener) {
	for _, submitted := range []bool{true, false} {
		t.Run(fmt.Sprintf("submitted=%t", submitted), func(t *testing.T) {
			r := newRig(t, open)
			s, _, errno := r.ConnectSend(unanswered(t), []byte("hello"), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			if submitted {
				r.quiet("nobody answers")
			}
			r.Close(s, true)
			r.quiet("it is closed")
			if s, errno = r.Connect(addrOf(listenPlain(t).Addr()), 1); errno != 0 {
				t.Fatal(errno)
			}
			if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 1 {
				t.Errorf("the next: %+v", c)
			}
		})
	}
}

// A peer that hangs up on what came first is told by the connect, as the sending's
// error, or by the first Recv.
func testConnectFirstReset(t *testing.T, open opener) {
	r := newRig(t, open)
	l := listenPlain(t)
	for range 20 {
		s, given, errno := r.ConnectSend(addrOf(l.Addr()), []byte("hello"), 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		r.until("the connection", func() bool { return hasPeer(t, l.Addr()) })
		hurry(t, l)
		abort(t, acceptPlain(t, l))
		c := r.take(OpConnect, s)
		if given && c.Errno != 0 && !c.Sink && c.Errno != unix.ECONNRESET {
			t.Errorf("got %+v", c)
		}
		if c.Errno == 0 || c.Sink {
			c = r.recv(s)
		}
		if c.Errno != unix.ECONNRESET {
			t.Fatalf("got %+v, want ECONNRESET", c)
		}
		r.Close(s, false)
	}
}
