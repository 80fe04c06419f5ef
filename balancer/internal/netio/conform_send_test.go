//go:build linux

package netio

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func testSend(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		b := []byte("hello")
		if done, errno := r.Send(s, b); !done || errno != 0 {
			t.Fatalf("done %t, %v", done, errno)
		}
		clear(b) // may be reused at once
		if got := read(t, peer, 5); string(got) != "hello" {
			t.Errorf("peer read %q", got)
		}
		if done, errno := r.Send(s, nil); !done || errno != 0 {
			t.Errorf("nothing to send: done %t, %v", done, errno)
		}
		r.quiet("all was sent at once")
	})
}

// fill sends noise until a rest is left and returns how much it gave.
func (r *rig) fill(s Sock) (sent int) {
	r.t.Helper()
	for b := noiseBytes(9, 32<<10); ; {
		done, errno := r.Send(s, b)
		if errno != 0 {
			r.t.Fatal(errno)
		}
		sent += len(b)
		if !done {
			return sent
		}
		if sent > 1<<27 {
			r.t.Fatal("the kernel takes everything")
		}
	}
}

// drinkFill reads what fill has sent, on a goroutine of its own.
func drinkFill(peer *net.TCPConn, sent int) <-chan error {
	done := make(chan error, 1)
	go func() {
		want := noiseBytes(9, 32<<10)
		for got := make([]byte, len(want)); sent > 0; sent -= len(got) {
			if n, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
				done <- fmt.Errorf("%d bytes before the end: %w, or other bytes than were sent", sent-n, err)
				return
			}
		}
		done <- nil
	}()
	return done
}

func testSendRest(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.acceptedSmall()
	r.Recv(s) // the other flow goes on meanwhile
	for round := range 3 {
		sent := r.fill(s)
		if r.Buffers().Used() == 0 {
			t.Error("no buffer holds the rest")
		}
		write(t, peer, []byte("x"))
		if c := r.take(OpRecv, s); string(c.Buf) != "x" {
			t.Errorf("got %+v", c)
		}
		r.Recv(s)
		r.quiet("the peer reads nothing")
		drunk := drinkFill(peer, sent)
		if c := r.take(OpSend, s); c.Errno != 0 || c.N == 0 || r.Buffers().Used() != 0 {
			t.Errorf("round %d: got %+v, %d bytes of buffers left", round, c, r.Buffers().Used())
		}
		if err := <-drunk; err != nil {
			t.Error(err)
		}
	}
	r.quiet("all is sent")
}

// A peer that dies while a rest waits ends the Send, and reading tells how.
func testSendRestReset(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.acceptedSmall()
	r.fill(s)
	abort(t, peer)
	if c := r.take(OpSend, s); c.Errno != unix.ECONNRESET && c.Errno != unix.EPIPE {
		t.Errorf("got %+v", c)
	}
	if r.Buffers().Used() != 0 {
		t.Error("the rest is kept")
	}
	if c := r.recv(s); c.Errno != unix.ECONNRESET {
		t.Errorf("then: %+v, want ECONNRESET", c)
	}
}

// A Send that meets a RST first must not make it look like an orderly end to the
// Recv behind it.
func testSendAfterReset(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		write(t, peer, []byte("last words"))
		r.until("the peer's bytes are here", func() bool { return inFlight(t, peer) == 0 })
		abort(t, peer)
		var errno syscall.Errno
		r.until("a Send fails", func() bool {
			_, errno = r.Send(s, []byte("x"))
			return errno != 0
		})
		if errno != unix.ECONNRESET && errno != unix.EPIPE {
			t.Errorf("send: %v", errno)
		}
		if _, errno = r.Send(s, []byte("x")); errno != unix.EPIPE && errno != unix.ECONNRESET {
			t.Errorf("send again: %v", errno)
		}
		if got, errno := r.recvAll(s); string(got) != "last words" || errno != unix.ECONNRESET {
			t.Errorf("recv: %q, then %v", got, errno)
		}
	})
}

// A peer that has closed in order resets what is sent to it then. Its own end was
// an orderly one all the same.
func testSendAfterEnd(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		write(t, peer, []byte("bye"))
		closeWrite(t, peer)
		fd := descriptorOf(t, peer.LocalAddr())
		r.until("FIN has arrived", func() bool { // the answer to a Send would overtake one that is still on its way
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err == nil && info.State == unix.BPF_TCP_CLOSE_WAIT
		})
		if err := peer.Close(); err != nil {
			t.Fatal(err)
		}
		var errno syscall.Errno
		r.until("a Send fails", func() bool {
			_, errno = r.Send(s, []byte("x"))
			return errno != 0
		})
		if errno != unix.EPIPE {
			t.Errorf("send: %v, want EPIPE", errno)
		}
		if got, errno := r.recvAll(s); string(got) != "bye" || errno != 0 {
			t.Errorf("recv: %q, then %v", got, errno)
		}
	})
}

// At the pool's hard limit nothing is kept; the conn can only be reset.
func testSendNoBuffers(t *testing.T, open opener) {
	r := newRigLimit(t, open, 0)
	s, _ := r.acceptedSmall()
	var errno syscall.Errno
	for n := 0; errno == 0; n++ {
		var done bool
		if done, errno = r.Send(s, noiseBytes(1, 4<<10)); !done && errno == 0 || n > 1<<12 {
			t.Fatalf("a rest is kept, without a buffer; %d sent", n)
		}
	}
	if errno != unix.ENOBUFS {
		t.Errorf("got %v, want ENOBUFS", errno)
	}
	r.quiet("no Send is in flight")
}

func testSendTwicePanics(t *testing.T, open opener) {
	r := newRig(t, open)
	s, _ := r.acceptedSmall()
	r.fill(s)
	wantPanic(t, "Send while another is in flight", func() { _, _ = r.Send(s, []byte("x")) })
}

// FIN comes behind what a Send has left.
func testShutdownFollowsRest(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.acceptedSmall()
	sent := r.fill(s)
	r.Shutdown(s)
	drunk := drinkFill(peer, sent)
	if c := r.take(OpSend, s); c.Errno != 0 {
		t.Errorf("got %+v", c)
	}
	if err := <-drunk; err != nil {
		t.Error(err)
	}
	wantEnd(t, peer, nil)
	// The other flow is still open.
	write(t, peer, []byte("x"))
	if c := r.recv(s); string(c.Buf) != "x" {
		t.Errorf("got %+v", c)
	}
}

func testUnsent(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.acceptedSmall()
	if n := r.Unsent(s); n != 0 {
		t.Errorf("%d bytes unsent on a fresh socket", n)
	}
	sent := r.fill(s)
	if n := r.Unsent(s); n == 0 || n > sent {
		t.Errorf("%d bytes unsent of %d", n, sent)
	}
	drunk := drinkFill(peer, sent)
	r.take(OpSend, s)
	if err := <-drunk; err != nil {
		t.Error(err)
	}
	r.until("all is acknowledged", func() bool { return r.Unsent(s) == 0 })
}

// A connection that was reset owes nobody anything.
func testUnsentReset(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.acceptedSmall()
	r.Recv(s)
	r.settle()
	for n := 0; r.Unsent(s) == 0; { // an ACK that is late looks alike at first
		for i := 0; r.Unsent(s) == 0 && i < 1000; i, n = i+1, n+1 {
			if _, errno := r.Send(s, make([]byte, 1<<10)); errno != 0 {
				t.Fatal(errno)
			}
		}
		r.settle()
		if n > 10_000 {
			t.Fatal("the peer takes everything")
		}
	}
	abort(t, peer)
	if c := r.take(OpRecv, s); c.Errno != unix.ECONNRESET {
		t.Fatalf("got %+v", c)
	}
	if n := r.Unsent(s); n != 0 {
		t.Errorf("%d bytes unsent on a dead connection", n)
	}
}
