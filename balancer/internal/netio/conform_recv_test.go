//go:build linux

package netio

import (
	"bytes"
	"errors"
	"net"
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
