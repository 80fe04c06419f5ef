//go:build linux

package netio

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spareRig has a listener to connect to and a look inside.
func spareRig(t *testing.T) (*rig, *uring, *net.TCPListener) {
	t.Helper()
	r, e := newUringRig(t, func(*ringOptions) {})
	return r, e, listenPlain(t)
}

// pair connects to l.
func (r *rig) pair(l *net.TCPListener) (Sock, *net.TCPConn) {
	r.t.Helper()
	s, errno := r.Connect(addrOf(l.Addr()), 7)
	if errno != 0 {
		r.t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 7 {
		r.t.Fatalf("got %+v", c)
	}
	r.send(s, []byte("hi"))
	peer := acceptPlain(r.t, l)
	read(r.t, peer, 2)
	return s, peer
}

// wantSpares settles and fails if other than n sockets are kept.
func (r *rig) wantSpares(e *uring, n int) {
	r.t.Helper()
	r.settle()
	if got := len(e.spares.four); got != n || e.slots.ending != 0 {
		r.t.Fatalf("%d sockets are kept, want %d; %d slots are not free", got, n, e.slots.ending)
	}
}

// A socket that was reset serves the next connection, whatever state the first one
// was in, and nothing of the first is left in it.
func TestUringSpare(t *testing.T) {
	for _, tt := range []struct {
		name string
		prep func(t *testing.T, r *rig, s Sock, peer *net.TCPConn)
	}{
		{"idle", func(*testing.T, *rig, Sock, *net.TCPConn) {}},
		{"reading", func(_ *testing.T, r *rig, s Sock, _ *net.TCPConn) {
			r.Recv(s)
			r.settle()
		}},
		{"reading at once", func(_ *testing.T, r *rig, s Sock, _ *net.TCPConn) { r.Recv(s) }},
		{"unread", func(t *testing.T, r *rig, s Sock, peer *net.TCPConn) {
			write(t, peer, []byte("stale"))
			r.until("bytes", func() bool { return r.HasInput(s) })
		}},
		{"read, not told", func(t *testing.T, r *rig, s Sock, peer *net.TCPConn) {
			r.Recv(s)
			r.settle()
			write(t, peer, []byte("stale"))
			if err := r.Wait(r.Now()); err != nil {
				t.Fatal(err)
			}
		}},
		{"urgent", func(t *testing.T, r *rig, s Sock, peer *net.TCPConn) {
			sendUrgent(t, peer, "stale", "stale")
			r.until("bytes", func() bool { return r.HasInput(s) })
		}},
		{"half closed", func(t *testing.T, r *rig, s Sock, peer *net.TCPConn) {
			closeWrite(t, peer)
			r.recv(s)
		}},
		{"fin sent", func(_ *testing.T, r *rig, s Sock, _ *net.TCPConn) { r.Shutdown(s) }},
		{"unsent", func(_ *testing.T, r *rig, s Sock, _ *net.TCPConn) { r.fill(s) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, e, l := spareRig(t)
			s, peer := r.pair(l)
			fd := e.slots.at(s).fd
			tt.prep(t, r, s, peer)
			r.Close(s, true)
			r.wantSpares(e, 1)
			if _, err := peer.Write([]byte("x")); err == nil {
				_, err = peer.Read(make([]byte, 1<<20)) // what was sent before
				for err == nil {
					_, err = peer.Read(make([]byte, 1<<20))
				}
			}
			wantOptions(t, int(fd), []option{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0}})
			s, peer = r.pair(l)
			if e.slots.at(s).fd != fd {
				t.Errorf("descriptor %d was not used again, but %d", fd, e.slots.at(s).fd)
			}
			if r.HasInput(s) {
				t.Error("the new connection has input")
			}
			r.until("all is acknowledged", func() bool { return r.Unsent(s) == 0 })
			want := noiseBytes(5, 100_000)
			go func() { _, _ = peer.Write(want) }() // the comparison tells
			var got []byte
			for len(got) < len(want) {
				c := r.recv(s)
				if c.N == 0 {
					t.Fatalf("after %d bytes: %+v", len(got), c)
				}
				got = append(got, c.Buf...)
			}
			if !bytes.Equal(got, want) {
				t.Error("other bytes than were sent")
			}
			r.Shutdown(s)
			wantEnd(t, peer, nil)
			r.quiet("all is told")
		})
	}
}

// The peer of a socket that is kept sees RST, and after an orderly end nothing but
// that.
func TestUringSpareEnds(t *testing.T) {
	r, e, l := spareRig(t)
	s, peer := r.pair(l)
	r.Recv(s)
	r.Close(s, true)
	r.wantSpares(e, 1)
	wantEnd(t, peer, unix.ECONNRESET)

	s, peer = r.pair(l)
	r.Shutdown(s)
	wantEnd(t, peer, nil)
	write(t, peer, []byte("bye"))
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if got, errno := r.recvAll(s); string(got) != "bye" || errno != 0 {
		t.Fatalf("%q, then %v", got, errno)
	}
	r.until("both ends are over", func() bool { return sysDead(e.slots.at(s).fd) })
	r.Close(s, false)
	r.wantSpares(e, 1)

	// Reset by the peer: nothing is left to be said.
	s, peer = r.pair(l)
	abort(t, peer)
	if c := r.recv(s); c.Errno != unix.ECONNRESET {
		t.Fatalf("got %+v", c)
	}
	r.Close(s, false)
	r.wantSpares(e, 1)
}

// What must not go on in another connection is closed.
func TestUringSpareNot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reset bool
		get   func(t *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn)
	}{
		{"accepted", true, func(_ *testing.T, r *rig, _ *net.TCPListener) (Sock, *net.TCPConn) { return r.accepted() }},
		{"options", true, func(_ *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) {
			s, peer := r.pair(l)
			r.Persist(s, Options{KeepAlive: patience})
			return s, peer
		}},
		{"source", true, func(t *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) {
			s, errno := r.ConnectFrom(Source{Addr: netip.MustParseAddr("127.0.0.9")}, addrOf(l.Addr()), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			r.take(OpConnect, s)
			hurry(t, l)
			return s, acceptPlain(t, l)
		}},
		{"splice", true, func(t *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) {
			s, peer := r.pair(l)
			other, from := r.accepted()
			write(t, from, []byte("x"))
			r.splice(other, s)
			read(t, peer, 1)
			return s, peer
		}},
		{"connecting", true, func(t *testing.T, r *rig, _ *net.TCPListener) (Sock, *net.TCPConn) {
			s, errno := r.Connect(unanswered(t), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			r.quiet("nobody answers")
			return s, nil
		}},
		{"open", false, func(_ *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) { return r.pair(l) }},
		{"fin seen", false, func(t *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) {
			s, peer := r.pair(l)
			closeWrite(t, peer)
			r.recv(s)
			return s, peer
		}},
		{"fin sent", false, func(_ *testing.T, r *rig, l *net.TCPListener) (Sock, *net.TCPConn) {
			s, peer := r.pair(l)
			r.Shutdown(s)
			return s, peer
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, e, l := spareRig(t)
			s, peer := tt.get(t, r, l)
			r.Close(s, tt.reset)
			r.wantSpares(e, 0)
			switch {
			case peer == nil:
			case tt.reset:
				wantEnd(t, peer, unix.ECONNRESET)
			default:
				wantEnd(t, peer, nil)
			}
		})
	}
}

// A family's sockets are its own, and few are kept.
func TestUringSpareBounded(t *testing.T) {
	r, e, l := spareRig(t)
	before := len(descriptors(t))
	var socks []Sock
	var peers []*net.TCPConn
	for range maxSpares + 10 {
		s, peer := r.pair(l)
		socks, peers = append(socks, s), append(peers, peer)
	}
	for i, s := range socks {
		r.Close(s, true)
		_ = peers[i].Close() // reset
	}
	r.wantSpares(e, maxSpares)
	r.until("the others are closed", func() bool { return len(descriptors(t)) == before+maxSpares })
	if fd := e.spares.take(true, 0); fd >= 0 {
		t.Errorf("socket %d of IPv4 for IPv6", fd)
	}
	// A shortage of descriptors ends the keeping.
	d := r.listen("127.0.0.1:0", 3)
	peer := dial(t, d.addr)
	undo := noDescriptors(t)
	c := r.take(OpAccept, NoSock)
	undo()
	if c.Errno != 0 || c.Peer != addrOf(peer.LocalAddr()) || len(e.spares.four) != 0 {
		t.Errorf("got %+v, %d sockets are kept", c, len(e.spares.four))
	}
}

// A kernel that does not let go of the connection gets the socket back.
func TestUringSpareSpoilt(t *testing.T) {
	r, e, l := spareRig(t)
	s, _ := r.pair(l)
	fd := int(e.slots.at(s).fd)
	if err := unix.Dup3(int(e.wakeFd), fd, unix.O_CLOEXEC); err != nil { // connect(2) says ENOTSOCK
		t.Fatal(err)
	}
	r.Close(s, true)
	r.wantSpares(e, 0)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor is left open: %v", err)
	}
}

// Sockets that nobody takes for some time are closed, and the Wait that does it
// goes on to its deadline.
func TestUringSpareExpires(t *testing.T) {
	r, e, l := spareRig(t)
	for range 2 {
		s, _ := r.pair(l)
		r.Close(s, true)
		r.wantSpares(e, 1)
	}
	e.spares.used = r.Now().Add(-spareTime + 5*time.Millisecond) // as if
	deadline := r.Now().Add(10 * time.Millisecond)
	if n := r.turn(deadline); n != 0 || r.Now() < deadline || len(e.spares.four) != 0 {
		t.Errorf("%d completions, %v before the deadline, %d sockets are kept", n, deadline.Sub(r.Now()), len(e.spares.four))
	}
}
