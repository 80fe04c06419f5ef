//go:build linux

package netio

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testAcceptReportsPeer(t *testing.T, open opener) {
	for _, tt := range []struct{ name, listen, dial string }{
		{"v4", "127.0.0.1:0", "127.0.0.1"},
		{"v6", "[::1]:0", "::1"},
		{"v4 to dual stack", "[::]:0", "127.0.0.1"},
		{"v6 to dual stack", "[::]:0", "::1"},
		{"v4 to mapped v4", "[::ffff:127.0.0.1]:0", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat("/proc/net/if_inet6"); err != nil && tt.name != "v4" {
				t.Skip("this machine has no IPv6")
			}
			r := newRig(t, open)
			d := r.listen(tt.listen, 0)
			// through compares the peer's address, a mapped one as IPv4.
			s, peer := r.through(&door{addr: netip.AddrPortFrom(netip.MustParseAddr(tt.dial), d.addr.Port())})
			r.send(s, []byte("x"))
			read(t, peer, 1)
		})
	}
}

func testAcceptTags(t *testing.T, open opener) {
	r := newRig(t, open)
	a, b := r.listen("127.0.0.1:0", 11), r.listen("127.0.0.1:0", 1<<31)
	for _, d := range []struct {
		*door
		tag uint32
	}{{b, 1 << 31}, {a, 11}} {
		peer := dial(t, d.addr)
		c := r.take(OpAccept, NoSock)
		if c.Tag != d.tag {
			t.Errorf("accepted under tag %d, want %d", c.Tag, d.tag)
		}
		r.Tag(c.Sock, d.tag+1)
		r.Recv(c.Sock)
		write(t, peer, []byte("x"))
		if c := r.take(OpRecv, c.Sock); c.Tag != d.tag+1 {
			t.Errorf("received under tag %d, want %d", c.Tag, d.tag+1)
		}
	}
}

// A flood of connections is taken to the last, and a conn that is open gets its
// turn meanwhile.
func testAcceptManyAtOnce(t *testing.T, open opener) {
	const flood = 200
	r := newRig(t, open)
	s, peer := r.accepted()
	for range flood {
		dial(t, r.door.addr)
	}
	write(t, peer, []byte("x"))
	r.recv(s)
	if len(r.ended) == flood {
		t.Errorf("all %d connections were taken before one byte of an open one", flood)
	}
	seen := map[netip.AddrPort]bool{}
	for range flood {
		c := r.take(OpAccept, NoSock)
		if c.Errno != 0 || seen[c.Peer] {
			t.Fatalf("accepted %+v, known already: %t", c, seen[c.Peer])
		}
		seen[c.Peer] = true
	}
	r.quiet("all are taken")
}

// An accepted socket that is not read from must tell of an end only when asked.
func testAcceptSpeaksFirst(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.accepted()
	r.send(s, []byte("220 ready"))
	if got := read(t, peer, 9); string(got) != "220 ready" {
		t.Errorf("peer read %q", got)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	r.quiet("nothing was submitted")
	if c := r.recv(s); c.N != 0 || c.Errno != 0 {
		t.Errorf("got %+v, want the end", c)
	}
}

// A connection that was reset while it waited in the queue is reported, if at
// all, as one whose first Recv fails.
func testAcceptedThenReset(t *testing.T, open opener) {
	r := newRig(t, open)
	d := r.listen("127.0.0.1:0", 0)
	abort(t, dial(t, d.addr))
	after := dial(t, d.addr)
	for {
		c := r.take(OpAccept, NoSock)
		if c.Errno != 0 {
			t.Fatalf("accept: %v", c.Errno)
		}
		if c.Peer == addrOf(after.LocalAddr()) {
			break
		}
		if got := r.recv(c.Sock); got.Errno != unix.ECONNRESET {
			t.Errorf("recv from the dead: %+v, want ECONNRESET", got)
		}
	}
}

func testAcceptWithoutDescriptors(t *testing.T, open opener) {
	r := newRig(t, open)
	d := r.listen("127.0.0.1:0", 3)
	peer := dial(t, d.addr)
	undo := noDescriptors(t)
	c := r.take(OpAccept, NoSock)
	if c.Errno != unix.EMFILE || c.Sock != NoSock || c.Tag != 3 {
		t.Errorf("got %+v, want EMFILE without a socket", c)
	}
	// What a loop does then: stop, and go on later.
	if err := r.Unlisten(d.fd); err != nil {
		t.Fatal(err)
	}
	r.ended = nil // the error may have been told more than once
	r.quiet("nobody listens")
	undo()
	if err := r.Listen(d.fd, 4, false); err != nil {
		t.Fatal(err)
	}
	if c = r.take(OpAccept, NoSock); c.Errno != 0 || c.Peer != addrOf(peer.LocalAddr()) || c.Tag != 4 {
		t.Errorf("got %+v, want the connection", c)
	}
}

func testUnlistenLeavesQueue(t *testing.T, open opener) {
	r := newRig(t, open)
	d := r.listen("127.0.0.1:0", 0)
	if err := r.Unlisten(d.fd); err != nil {
		t.Fatal(err)
	}
	peer := dial(t, d.addr)
	r.quiet("nobody listens")
	if err := r.Unlisten(d.fd); err != nil {
		t.Errorf("a second Unlisten: %v", err)
	}
	if err := r.Listen(d.fd, 9, false); err != nil {
		t.Fatal(err)
	}
	if c := r.take(OpAccept, NoSock); c.Tag != 9 || c.Peer != addrOf(peer.LocalAddr()) {
		t.Errorf("got %+v", c)
	}
}

// Unlisten holds for the batch that is being handed out, and a listener that
// shares it keeps its place.
func testUnlistenInBatch(t *testing.T, open opener) {
	r := newRig(t, open)
	a, b := r.listen("127.0.0.1:0", 0), r.listen("127.0.0.1:0", 1)
	for range 3 {
		dial(t, a.addr)
		dial(t, b.addr)
	}
	var counts [2]int
	stopped := -1
	for start := time.Now(); counts != [2]int{1, 3} && counts != [2]int{3, 1}; {
		if time.Since(start) > patience {
			t.Fatalf("accepted %d, stopped %d", counts, stopped)
		}
		if err := r.Wait(r.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for c := (Completion{}); r.Next(&c); {
			r.socks[c.Sock] = true
			counts[c.Tag]++
			if stopped < 0 {
				stopped = int(c.Tag)
				if err := r.Unlisten([]*door{a, b}[stopped].fd); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	r.quiet("the other listener is stopped")
	if counts[stopped] != 1 {
		t.Errorf("accepted %d, stopped %d after its first", counts, stopped)
	}
}

func testListenErrors(t *testing.T, open opener) {
	r := newRig(t, open)
	d := r.listen("127.0.0.1:0", 0)
	if err := r.Listen(d.fd, 0, false); !errors.Is(err, unix.EEXIST) {
		t.Errorf("listening twice: %v, want EEXIST", err)
	}
	if err := r.Listen(1<<20, 0, false); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v, want EBADF", err)
	}
	if fd, err := ListenTCP(d.addr, false); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second socket on %v: %d, %v, want EADDRINUSE", d.addr, fd, err)
	}
	if fd, err := ListenTCP(d.addr, true); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a sharing socket on %v: %d, %v, want EADDRINUSE", d.addr, fd, err)
	}
	r.through(d) // not disturbed
}

// What ListenTCP says of imported. The keepalive options are not set by it,
// but would be inherited too.
func testOptionsInherited(t *testing.T, open opener) {
	r := newRig(t, open)
	more := []option{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 78},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 7900},
	}
	fast := []option{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0}}
	_, peer := r.through(r.listen("127.0.0.1:0", 0, more...))
	wantOptions(t, descriptorOf(t, peer.LocalAddr()), append(fast, more...))
	// What Connect opens has no listener to inherit from. Its quick ACKs come and
	// go with the kernel's own judgement.
	s, peer := r.connected()
	fd := descriptorOf(t, peer.LocalAddr())
	wantOptions(t, fd, fast[:1])
	r.Persist(s, Options{})
	wantOptions(t, fd, []option{{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0}})
	r.Persist(s, Options{KeepAlive: 77*time.Second + time.Millisecond, UserTimeout: 7900 * time.Millisecond})
	more[2].value = 77
	wantOptions(t, fd, more)
}

// The ACK of what an accepted socket receives rides on the answer: one segment,
// not two.
func testAcceptedAckRides(t *testing.T, open opener) {
	r := newRig(t, open)
	var sent uint32
	for range 5 { // the kernel waits 40 ms, a busy machine may need more
		s, peer := r.accepted()
		fd := descriptorOf(t, peer.LocalAddr())
		before := segments(t, fd)
		write(t, peer, []byte("hello"))
		r.send(s, r.recv(s).Buf)
		read(t, peer, 5)
		if sent = segments(t, fd) - before; sent == 1 {
			return
		}
	}
	t.Errorf("%d segments sent, want 1", sent)
}

func wantOptions(t *testing.T, fd int, want []option) {
	t.Helper()
	for _, o := range want {
		if got, err := unix.GetsockoptInt(fd, o.level, o.name); err != nil || got != o.value {
			t.Errorf("option %d of level %d is %d, %v; want %d", o.name, o.level, got, err, o.value)
		}
	}
}
