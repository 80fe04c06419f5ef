//go:build linux

package netio

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func testConnect(t *testing.T, open opener) {
	r := newRig(t, open)
	l := listenPlain(t)
	s, errno := r.Connect(addrOf(l.Addr()), 41)
	if errno != 0 {
		t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 41 {
		t.Fatalf("got %+v", c)
	}
	peer := acceptPlain(t, l)
	r.send(s, []byte("ping"))
	if got := read(t, peer, 4); string(got) != "ping" {
		t.Errorf("peer read %q", got)
	}
	write(t, peer, []byte("pong"))
	if c := r.recv(s); string(c.Buf) != "pong" || c.Tag != 41 {
		t.Errorf("got %q under tag %d", c.Buf, c.Tag)
	}
}

// refused is an address that is taken but not listened on.
func refused(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // ours
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addr.IP()
}

func testConnectRefused(t *testing.T, open opener) {
	r := newRig(t, open)
	s, errno := r.Connect(refused(t), 5)
	if errno == 0 {
		c := r.take(OpConnect, s)
		errno = c.Errno
		if c.Tag != 5 {
			t.Errorf("ended under tag %d", c.Tag)
		}
		r.Close(s, true)
	}
	if errno != unix.ECONNREFUSED {
		t.Errorf("connect: %v, want ECONNREFUSED", errno)
	}
}

// Connect that fails at once leaves no socket behind.
func testConnectImpossible(t *testing.T, open opener) {
	r := newRig(t, open)
	s, errno := r.Connect(netip.MustParseAddrPort("255.255.255.255:9"), 0)
	if errno == 0 {
		errno = r.take(OpConnect, s).Errno
		r.Close(s, true)
	}
	if errno == 0 || r.Stats().Socks != 0 {
		t.Errorf("connect to the broadcast address: %v, %d sockets open", errno, r.Stats().Socks)
	}
}

// A backend that takes the connection and resets it is told by Connect or by the
// first Recv: which of them depends on who was faster, but it is told.
func testConnectThenReset(t *testing.T, open opener) {
	r := newRig(t, open)
	l := listenPlain(t)
	for range 20 {
		s, errno := r.Connect(addrOf(l.Addr()), 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		r.until("the connection", func() bool { return hasPeer(t, l.Addr()) })
		hurry(t, l)
		abort(t, acceptPlain(t, l))
		c := r.take(OpConnect, s)
		if c.Errno == 0 {
			c = r.recv(s)
		}
		if c.Errno != unix.ECONNRESET {
			t.Fatalf("got %+v, want ECONNRESET", c)
		}
		r.Close(s, false)
	}
}

// The ACK that ends the handshake rides on the first Send; a Recv without one sends
// it, since the peer may be the one to speak first.
func testConnectPeerSpeaksFirst(t *testing.T, open opener) {
	for _, tt := range []struct {
		name string
		do   func(r *rig, s Sock)
		more uint32 // segments sent by it
	}{
		{"Recv", func(r *rig, s Sock) { r.Recv(s) }, 1},
		{"Splice", func(r *rig, s Sock) {
			other, _ := r.accepted()
			r.Splice(s, other)
		}, 1},
		{"Send", func(r *rig, s Sock) {
			r.send(s, []byte("x"))
			r.Recv(s)
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, open)
			l := listenPlain(t)
			s, errno := r.Connect(addrOf(l.Addr()), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			r.take(OpConnect, s)
			fd := descriptorOf(t, l.Addr())
			before := segments(t, fd)
			if before != 1 {
				t.Skip("this machine is too slow: the ACK has gone already")
			}
			tt.do(r, s)
			if after := segments(t, fd); after != before+tt.more {
				t.Errorf("%d segments sent, want %d", after-before, tt.more)
			}
		})
	}
}

func segments(t *testing.T, fd int) uint32 {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.Segs_out
}

// unanswered is an address that leaves a Connect waiting: its queue is full.
func unanswered(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // ours
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	addr, err := LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	dial(t, addr.IP()) // a queue of length 0 takes one
	return addr.IP()
}

func testConnectClosed(t *testing.T, open opener) {
	r := newRig(t, open)
	s, errno := r.Connect(unanswered(t), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	r.quiet("nobody answers")
	r.Close(s, true)
	r.quiet("it is closed")
}

func testConnectWithoutDescriptors(t *testing.T, open opener) {
	r := newRig(t, open)
	addr := addrOf(listenPlain(t).Addr())
	undo := noDescriptors(t)
	s, errno := r.Connect(addr, 0)
	undo()
	if errno != unix.EMFILE || s != NoSock {
		t.Errorf("got socket %d, %v; want EMFILE", s, errno)
	}
	var none syscall.Errno
	if s, errno = r.Connect(addr, 0); errno != none {
		t.Errorf("then: %v", errno)
	}
	r.take(OpConnect, s)
}
