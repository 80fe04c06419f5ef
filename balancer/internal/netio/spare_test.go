//go:build linux

package netio

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spareRig has a listener to connect to and a look inside.
type spareRig struct {
	*rig
	kept *spares
	l    *net.TCPListener
}

// eachSpareRig runs a test on both engines.
func eachSpareRig(t *testing.T, test func(t *testing.T, r spareRig)) {
	t.Helper()
	t.Run("epoll", func(t *testing.T) {
		r, e := newEpollRig(t)
		test(t, spareRig{r, &e.spares, listenPlain(t)})
	})
	t.Run("io_uring", func(t *testing.T) {
		r, e := newUringRig(t, func(*ringOptions) {})
		test(t, spareRig{r, &e.spares, listenPlain(t)})
	})
}

// descriptor of an open socket of the engine's.
func (r *rig) descriptor(s Sock) int {
	if e, ok := r.Engine.(*epoll); ok {
		return int(e.slots.at(s).fd)
	}
	return int(r.Engine.(*uring).slots.at(s).fd)
}

// pair connects to l.
func (r spareRig) pair() (Sock, *net.TCPConn) {
	r.t.Helper()
	s, errno := r.Connect(addrOf(r.l.Addr()), 7)
	if errno != 0 {
		r.t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 7 {
		r.t.Fatalf("got %+v", c)
	}
	r.send(s, []byte("hi"))
	peer := acceptPlain(r.t, r.l)
	read(r.t, peer, 2)
	return s, peer
}

// wantSpares settles and fails if other than n sockets are kept.
func (r spareRig) wantSpares(n int) {
	r.t.Helper()
	r.settle()
	if got := len(r.kept.four); got != n {
		r.t.Fatalf("%d sockets are kept, want %d", got, n)
	}
	if e, ok := r.Engine.(*uring); ok && e.slots.ending != 0 {
		r.t.Fatalf("%d slots are not free", e.slots.ending)
	}
}

// A socket that was reset serves the next connection, whatever state the first one
// was in, and nothing of the first is left in it.
func TestSpare(t *testing.T) {
	for _, tt := range []struct {
		name string
		prep func(t *testing.T, r spareRig, s Sock, peer *net.TCPConn)
	}{
		{"idle", func(*testing.T, spareRig, Sock, *net.TCPConn) {}},
		{"reading", func(_ *testing.T, r spareRig, s Sock, _ *net.TCPConn) {
			r.Recv(s)
			r.settle()
		}},
		{"reading at once", func(_ *testing.T, r spareRig, s Sock, _ *net.TCPConn) { r.Recv(s) }},
		{"unread", func(t *testing.T, r spareRig, s Sock, peer *net.TCPConn) {
			write(t, peer, []byte("stale"))
			r.until("bytes", func() bool { return r.HasInput(s) })
		}},
		{"read, not told", func(t *testing.T, r spareRig, s Sock, peer *net.TCPConn) {
			r.Recv(s)
			r.settle()
			write(t, peer, []byte("stale"))
			if err := r.Wait(r.Now()); err != nil {
				t.Fatal(err)
			}
		}},
		{"urgent", func(t *testing.T, r spareRig, s Sock, peer *net.TCPConn) {
			sendUrgent(t, peer, "stale", "stale")
			r.until("bytes", func() bool { return r.HasInput(s) })
		}},
		{"half closed", func(t *testing.T, r spareRig, s Sock, peer *net.TCPConn) {
			closeWrite(t, peer)
			r.recv(s)
		}},
		{"fin sent", func(_ *testing.T, r spareRig, s Sock, _ *net.TCPConn) { r.Shutdown(s) }},
		{"unsent", func(_ *testing.T, r spareRig, s Sock, _ *net.TCPConn) { r.fill(s) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachSpareRig(t, func(t *testing.T, r spareRig) {
				s, peer := r.pair()
				fd := r.descriptor(s)
				tt.prep(t, r, s, peer)
				r.Close(s, true)
				r.wantSpares(1)
				if _, err := peer.Write([]byte("x")); err == nil {
					_, err = peer.Read(make([]byte, 1<<20)) // what was sent before
					for err == nil {
						_, err = peer.Read(make([]byte, 1<<20))
					}
				}
				wantOptions(t, fd, []option{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0}})
				s, peer = r.pair()
				if r.descriptor(s) != fd {
					t.Errorf("descriptor %d was not used again, but %d", fd, r.descriptor(s))
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
		})
	}
}

// The peer of a socket that is kept sees RST, and after an orderly end nothing but
// that.
func TestSpareEnds(t *testing.T) {
	eachSpareRig(t, func(t *testing.T, r spareRig) {
		s, peer := r.pair()
		r.Recv(s)
		r.Close(s, true)
		r.wantSpares(1)
		wantEnd(t, peer, unix.ECONNRESET)

		s, peer = r.pair()
		r.Shutdown(s)
		wantEnd(t, peer, nil)
		write(t, peer, []byte("bye"))
		if err := peer.Close(); err != nil {
			t.Fatal(err)
		}
		if got, errno := r.recvAll(s); string(got) != "bye" || errno != 0 {
			t.Fatalf("%q, then %v", got, errno)
		}
		r.until("both ends are over", func() bool { return sysDead(int32(r.descriptor(s))) })
		r.Close(s, false)
		r.wantSpares(1)

		// Reset by the peer: nothing is left to be said.
		s, peer = r.pair()
		abort(t, peer)
		if c := r.recv(s); c.Errno != unix.ECONNRESET {
			t.Fatalf("got %+v", c)
		}
		r.Close(s, false)
		r.wantSpares(1)
	})
}

// What must not go on in another connection is closed.
func TestSpareNot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reset bool
		get   func(t *testing.T, r spareRig) (Sock, *net.TCPConn)
	}{
		{"accepted", true, func(_ *testing.T, r spareRig) (Sock, *net.TCPConn) { return r.accepted() }},
		{"options", true, func(_ *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, peer := r.pair()
			r.Persist(s, Options{KeepAlive: patience})
			return s, peer
		}},
		{"source", true, func(t *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, errno := r.ConnectFrom(Source{Addr: netip.MustParseAddr("127.0.0.9")}, addrOf(r.l.Addr()), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			r.take(OpConnect, s)
			hurry(t, r.l)
			return s, acceptPlain(t, r.l)
		}},
		{"splice", true, func(t *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, peer := r.pair()
			other, from := r.accepted()
			write(t, from, []byte("x"))
			r.splice(other, s)
			read(t, peer, 1)
			return s, peer
		}},
		{"connecting", true, func(t *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, errno := r.Connect(unanswered(t), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			r.quiet("nobody answers")
			return s, nil
		}},
		{"open", false, func(_ *testing.T, r spareRig) (Sock, *net.TCPConn) { return r.pair() }},
		{"fin seen", false, func(t *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, peer := r.pair()
			closeWrite(t, peer)
			r.recv(s)
			return s, peer
		}},
		{"fin sent", false, func(_ *testing.T, r spareRig) (Sock, *net.TCPConn) {
			s, peer := r.pair()
			r.Shutdown(s)
			return s, peer
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachSpareRig(t, func(t *testing.T, r spareRig) {
				s, peer := tt.get(t, r)
				r.Close(s, tt.reset)
				r.wantSpares(0)
				switch {
				case peer == nil:
				case tt.reset:
					wantEnd(t, peer, unix.ECONNRESET)
				default:
					wantEnd(t, peer, nil)
				}
			})
		})
	}
}

// A connect that fails before anything was sent leaves nothing behind that the next one could not use.
func TestSpareFailedAtOnce(t *testing.T) {
	eachSpareRig(t, func(t *testing.T, r spareRig) {
		s, errno := r.Connect(netip.MustParseAddrPort("255.255.255.255:9"), 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if c := r.take(OpConnect, s); c.Errno == 0 {
			t.Fatal("connected to the broadcast address")
		}
		r.Close(s, true)
		r.pair()
	})
}

// A family's sockets are its own, and few are kept.
func TestSpareBounded(t *testing.T) {
	eachSpareRig(t, func(t *testing.T, r spareRig) {
		before := len(descriptors(t))
		var socks []Sock
		var peers []*net.TCPConn
		for range maxSpares + 10 {
			s, peer := r.pair()
			socks, peers = append(socks, s), append(peers, peer)
		}
		for i, s := range socks {
			r.Close(s, true)
			_ = peers[i].Close() // reset
		}
		r.wantSpares(maxSpares)
		r.until("the others are closed", func() bool { return len(descriptors(t)) == before+maxSpares })
		if fd := r.kept.take(true, 0); fd >= 0 {
			t.Errorf("socket %d of IPv4 for IPv6", fd)
		}
		// A shortage of descriptors ends the keeping.
		d := r.listen("127.0.0.1:0", 3)
		peer := dial(t, d.addr)
		undo := noDescriptors(t)
		c := r.take(OpAccept, NoSock)
		undo()
		if c.Errno != 0 || c.Peer != addrOf(peer.LocalAddr()) || len(r.kept.four) != 0 {
			t.Errorf("got %+v, %d sockets are kept", c, len(r.kept.four))
		}
	})
}

// A kernel that does not let go of the connection gets the socket back.
func TestSpareSpoilt(t *testing.T) {
	eachSpareRig(t, func(t *testing.T, r spareRig) {
		s, _ := r.pair()
		fd := r.descriptor(s)
		other, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Dup3(int(other.Fd()), fd, unix.O_CLOEXEC), other.Close()); err != nil { // connect(2) says ENOTSOCK
			t.Fatal(err)
		}
		r.Close(s, true)
		r.wantSpares(0)
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("the descriptor is left open: %v", err)
		}
	})
}

// Sockets that nobody takes for some time are closed though nothing happens.
func TestSpareExpires(t *testing.T) {
	eachSpareRig(t, func(t *testing.T, r spareRig) {
		for range 2 {
			s, _ := r.pair()
			r.Close(s, true)
			r.wantSpares(1)
		}
		r.kept.used = r.Now().Add(patience) // as if
		n := r.turn(r.Now().Add(time.Millisecond))
		if len(r.kept.four) != 1 {
			t.Errorf("%d sockets are kept too early", len(r.kept.four))
		}
		r.kept.used = r.Now().Add(-spareTime + 5*time.Millisecond)
		for start := time.Now(); len(r.kept.four) > 0 && time.Since(start) < patience; {
			n += r.turn(r.Now().Add(patience))
		}
		if n != 0 || len(r.kept.four) != 0 {
			t.Errorf("%d completions, %d sockets are kept", n, len(r.kept.four))
		}
	})
}
