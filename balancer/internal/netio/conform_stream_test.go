//go:build linux

package netio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// bothKinds runs test with a socket that was accepted and one that was connected:
// an engine may know the one before it waits for it, and the other not.
func bothKinds(t *testing.T, open opener, test func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn))) {
	for _, kind := range []string{"accepted", "connected"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, open)
			get := r.accepted
			if kind == "connected" {
				get = r.connected
			}
			test(t, r, get)
		})
	}
}

func testRecvShort(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		for _, text := range []string{"one", "two", "three"} {
			write(t, peer, []byte(text))
			if c := r.recv(s); string(c.Buf) != text || c.N != len(text) || c.Errno != 0 {
				t.Errorf("got %+v, want %q", c, text)
			}
		}
	})
}

func testRecvWaits(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		for range 3 {
			r.Recv(s)
			r.quiet("the peer has sent nothing")
			write(t, peer, []byte("x"))
			if c := r.take(OpRecv, s); string(c.Buf) != "x" {
				t.Errorf("got %+v", c)
			}
			r.quiet("no Recv is in flight")
		}
	})
}

func testRecvFull(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		want := noiseBytes(1, 3*RecvSize/2)
		write(t, peer, want)
		// All of it waits in the kernel before the first Recv.
		r.until("all is received", func() bool { return inFlight(t, peer) == 0 })
		var got []byte
		full := 0
		for len(got) < len(want) {
			c := r.recv(s)
			if c.N == 0 || c.N > RecvSize {
				t.Fatalf("got %d bytes, %v", c.N, c.Errno)
			}
			if c.N == RecvSize {
				full++
			}
			got = append(got, c.Buf...)
		}
		if !bytes.Equal(got, want) || full == 0 {
			t.Errorf("other bytes than were sent, or none of %d completions full", full)
		}
		// The queue was emptied by a full buffer: that must not be forgotten.
		r.Recv(s)
		r.quiet("all is read")
		write(t, peer, []byte("x"))
		r.take(OpRecv, s)
	})
}

// inFlight is what conn has sent and the other side's kernel has not acknowledged.
func inFlight(t testing.TB, conn *net.TCPConn) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The end comes behind the bytes, whether both wait already or not.
func testRecvEnd(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		for _, early := range []bool{true, false} {
			s, peer := get()
			if early {
				r.Recv(s)
			}
			write(t, peer, []byte("last"))
			if err := peer.Close(); err != nil {
				t.Fatal(err)
			}
			if !early {
				r.settle()
				r.Recv(s)
			}
			if c := r.take(OpRecv, s); string(c.Buf) != "last" {
				t.Errorf("early %t: got %+v", early, c)
			}
			if c := r.recv(s); c.N != 0 || c.Errno != 0 {
				t.Errorf("early %t: got %+v, want the end", early, c)
			}
			r.Close(s, false)
		}
	})
}

// What came before a RST is delivered, then the RST.
func testRecvReset(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		for _, early := range []bool{true, false} {
			for _, before := range []int{0, 5, RecvSize, RecvSize + 1} {
				s, peer := get()
				if early {
					r.Recv(s)
				}
				want := noiseBytes(2, before)
				write(t, peer, want)
				r.until("the peer's bytes are here", func() bool { return inFlight(t, peer) == 0 })
				abort(t, peer)
				var got []byte
				if early {
					c := r.take(OpRecv, s)
					got = append(got, c.Buf...)
					if c.N == 0 {
						if before > 0 || c.Errno != unix.ECONNRESET {
							t.Errorf("early, %d bytes: got %+v", before, c)
						}
						r.Close(s, false)
						continue
					}
				}
				rest, errno := r.recvAll(s)
				if got = append(got, rest...); !bytes.Equal(got, want) || errno != unix.ECONNRESET {
					t.Errorf("early %t: got %d of %d bytes, then %v", early, len(got), before, errno)
				}
				r.Close(s, false)
			}
		}
	})
}

// A half-close is the end of one flow only.
func testRecvHalfClose(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		r.Recv(s)
		write(t, peer, []byte("request"))
		closeWrite(t, peer)
		if c := r.take(OpRecv, s); string(c.Buf) != "request" {
			t.Errorf("got %+v", c)
		}
		if c := r.recv(s); c.N != 0 || c.Errno != 0 {
			t.Errorf("got %+v, want the end", c)
		}
		answer := noiseBytes(3, 100_000)
		r.send(s, answer)
		if !bytes.Equal(read(t, peer, len(answer)), answer) {
			t.Error("the peer read other bytes than were sent")
		}
		r.Shutdown(s)
		wantEnd(t, peer, nil)
		r.quiet("both flows have ended")
	})
}

// Any pattern of writes and reads gives the same stream.
func testRecvAnyPattern(t *testing.T, open opener) {
	const total = 2 << 20
	r := newRig(t, open)
	s, peer := r.accepted()
	fed := make(chan error, 1)
	go func() { fed <- feed(peer, 4, total, 3*RecvSize/2) }()
	if got, errno := r.recvAll(s); errno != 0 || !bytes.Equal(got, noiseBytes(4, total)) {
		t.Errorf("got %d of %d bytes, or others, then %v", len(got), total, errno)
	}
	if err := <-fed; err != nil {
		t.Error(err)
	}
}

// An urgent byte makes recv(2) stop short although more is there.
func testRecvUrgent(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		r.Recv(s) // whoever waits, waits by now
		r.quiet("the peer has sent nothing")
		sendUrgent(t, peer, "before", "after")
		var got []byte
		for len(got) < len("beforeafter") {
			c := r.take(OpRecv, s)
			if c.N == 0 {
				t.Fatalf("%q, then %+v", got, c)
			}
			got = append(got, c.Buf...)
			r.Recv(s)
		}
		if string(got) != "beforeafter" {
			t.Errorf("got %q", got)
		}
		write(t, peer, []byte("more"))
		if c := r.take(OpRecv, s); string(c.Buf) != "more" {
			t.Errorf("got %+v", c)
		}
	})
}

func sendUrgent(t *testing.T, peer *net.TCPConn, before, after string) {
	t.Helper()
	raw, err := peer.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	errs = append(errs, raw.Control(func(fd uintptr) {
		for _, part := range []struct {
			text  string
			flags int
		}{{before, 0}, {"!", unix.MSG_OOB}, {after, 0}} {
			errs = append(errs, unix.Sendto(int(fd), []byte(part.text), part.flags, nil))
		}
	}))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// wantPanic calls f, which breaks a rule of the package.
func wantPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func testRecvTwicePanics(t *testing.T, open opener) {
	r := newRig(t, open)
	s, _ := r.accepted()
	r.Recv(s)
	wantPanic(t, "Recv while another is in flight", func() { r.Recv(s) })
}

func testHasInput(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		has := func() bool { return r.HasInput(s) }
		if has() {
			t.Error("fresh socket has input")
		}
		write(t, peer, []byte("x"))
		r.until("a byte", has)
		if r.recv(s); has() {
			t.Error("all is read, but there is input")
		}
		closeWrite(t, peer)
		r.until("FIN", has)
		if c := r.recv(s); c.N != 0 || c.Errno != 0 {
			t.Errorf("got %+v, want the end", c)
		}
	})
}

// Looking must not take: the kernel hands an error out only once.
func testHasInputReset(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		abort(t, peer)
		r.until("RST", func() bool { return r.HasInput(s) })
		if !r.HasInput(s) {
			t.Error("the RST is seen only once")
		}
		if c := r.recv(s); c.Errno != unix.ECONNRESET {
			t.Errorf("got %+v, want ECONNRESET", c)
		}
	})
}

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
	for i := 0; r.Unsent(s) == 0 && i < 1000; i++ {
		if _, errno := r.Send(s, make([]byte, 1<<10)); errno != 0 {
			t.Fatal(errno)
		}
	}
	if r.Unsent(s) == 0 {
		t.Fatal("the peer takes everything")
	}
	abort(t, peer)
	if c := r.take(OpRecv, s); c.Errno != unix.ECONNRESET {
		t.Fatalf("got %+v", c)
	}
	if n := r.Unsent(s); n != 0 {
		t.Errorf("%d bytes unsent on a dead connection", n)
	}
}

func testCloseSendsEnd(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		want := noiseBytes(5, 50_000)
		r.send(s, want)
		r.Close(s, false)
		if !bytes.Equal(read(t, peer, len(want)), want) {
			t.Error("the peer read other bytes than were sent")
		}
		wantEnd(t, peer, nil)
	})
}

func testCloseSendsReset(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		r.Recv(s)
		r.Close(s, true)
		wantEnd(t, peer, unix.ECONNRESET)
		r.quiet("it is closed")
	})
}

func testCloseDropsRest(t *testing.T, open opener) {
	r := newRig(t, open)
	s, _ := r.acceptedSmall()
	r.fill(s)
	r.Close(s, true)
	if n := r.Buffers().Used(); n != 0 {
		t.Errorf("%d bytes of buffers kept", n)
	}
	r.quiet("it is closed")
}

// What was in flight, and what had ended in the kernel already, is never told.
func testCloseCancels(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		for i := range 8 {
			s, peer := get()
			r.Recv(s)
			if i&1 != 0 {
				r.settle()
			}
			if i&2 != 0 {
				write(t, peer, []byte("x"))
			}
			if i&4 != 0 {
				abort(t, peer)
			}
			r.Close(s, i&1 == 0)
			r.quiet("it is closed")
		}
	})
}

// The handler of one completion closes the socket of the next and opens another,
// which may get its name.
func testCloseInBatch(t *testing.T, open opener) {
	r := newRig(t, open)
	l := listenPlain(t)
	var socks []Sock
	for range 16 {
		s, peer := r.accepted()
		r.Tag(s, 1)
		write(t, peer, []byte("old"))
		r.until("a byte", func() bool { return r.HasInput(s) })
		socks = append(socks, s)
	}
	for _, s := range socks {
		r.Recv(s)
	}
	left := map[Sock]bool{}
	for _, s := range socks {
		left[s] = true
	}
	var fresh []Sock
	for len(left) > 0 {
		if err := r.Wait(r.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for c := (Completion{}); r.Next(&c); {
			switch {
			case c.Op == OpConnect && c.Tag == 2 && c.Errno == 0:
				r.keep(c)
				continue
			case c.Op != OpRecv || c.Tag != 1 || !left[c.Sock] || string(c.Buf) != "old":
				t.Fatalf("got %+v", c)
			}
			// This one ends, and one of those that may be in the same batch.
			delete(left, c.Sock)
			r.Close(c.Sock, true)
			for s := range left {
				delete(left, s)
				r.Close(s, true)
				break
			}
			s, errno := r.Connect(addrOf(l.Addr()), 2)
			if errno != 0 {
				t.Fatal(errno)
			}
			fresh = append(fresh, s)
		}
	}
	for _, s := range fresh {
		r.take(OpConnect, s)
		peer := acceptPlain(t, l)
		write(t, peer, []byte("new"))
	}
	for _, s := range fresh {
		if c := r.recv(s); string(c.Buf) != "new" || c.Tag != 2 {
			t.Errorf("got %+v", c)
		}
	}
	r.quiet("all is told")
}

// Conns come and go in the midst of batches; each peer says only its own number,
// so that a completion under another socket's name shows.
func testCloseChurn(t *testing.T, open opener) {
	const rounds, width = 150, 24
	r := newRig(t, open)
	random := rand.New(rand.NewPCG(7, 7))
	type conn struct {
		peer *net.TCPConn
		tag  uint32
	}
	conns := map[Sock]conn{}
	next := uint32(1)
	// accepted takes turns of its own; what it met is checked at once.
	admit := func() {
		s, peer := r.accepted()
		r.Tag(s, next)
		conns[s] = conn{peer, next}
		r.Recv(s)
		next++
		for _, c := range r.ended {
			if at := conns[c.Sock]; c.Op != OpRecv || c.Tag != at.tag || c.N == 0 || c.Buf[0] != byte(at.tag) {
				t.Fatalf("got %+v, the socket is %+v", c, at)
			}
			r.Recv(c.Sock)
		}
		r.ended = r.ended[:0]
	}
	drop := func(s Sock) {
		r.Close(s, random.IntN(2) == 0)
		_ = conns[s].peer.Close() // whatever state it is in
		delete(conns, s)
	}
	for round := range rounds {
		for len(conns) < width {
			admit()
		}
		for _, c := range conns {
			if random.IntN(2) == 0 {
				write(t, c.peer, []byte{byte(c.tag), byte(c.tag >> 8)})
			}
		}
		if err := r.Wait(r.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for c := (Completion{}); r.Next(&c); {
			at, ok := conns[c.Sock]
			if !ok || c.Op != OpRecv || c.Tag != at.tag || c.N == 0 || c.Buf[0] != byte(at.tag) || c.N > 1 && c.Buf[1] != byte(at.tag>>8) {
				t.Fatalf("round %d: got %+v, the socket is %+v", round, c, at)
			}
			r.Recv(c.Sock)
			for s := range conns { // any one, in this batch or not
				if random.IntN(3) == 0 {
					drop(s)
				}
				break
			}
		}
	}
}

func testCloseTwicePanics(t *testing.T, open opener) {
	r := newRig(t, open)
	s, _ := r.accepted()
	r.Close(s, true)
	wantPanic(t, "Close of a closed socket", func() { r.Close(s, true) })
}
