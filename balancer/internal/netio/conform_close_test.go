//go:build linux

package netio

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func testCloseSendsEnd(t *testing.T, open opener) {
	bothKinds(t, open, func(t *testing.T, r *rig, get func() (Sock, *net.TCPConn)) {
		s, peer := get()
		want := noiseBytes(5, 50_000)
		r.send(s, want)
		r.Close(s, false)
		r.quiet("it is closed")
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
		r.quiet("it is closed")
		wantEnd(t, peer, unix.ECONNRESET)
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
