//go:build linux

package netio

import (
	"bytes"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

// patience is how long a test waits for what must come: it bounds a hang and
// measures nothing.
const patience = 10 * time.Second

// forever is a deadline that does not come.
const forever = Time(1<<63 - 1)

// opener makes the engine under test.
type opener func(limit int64) (Engine, error)

// rig drives an engine as a loop does, on the test's goroutine, and checks at
// the end of the test that nothing is left of it.
type rig struct {
	Engine
	t     testing.TB
	ended []Completion // handed out by Next, not yet asked for
	socks map[Sock]bool
	last  Completion // of drive
	door  *door      // of accepted; nil before
}

func newRig(t testing.TB, open opener) *rig { return newRigLimit(t, open, 1<<20) }

func newRigLimit(t testing.TB, open opener, limit int64) *rig {
	t.Helper()
	runtime.LockOSThread() // as a loop does
	e, err := open(limit)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: e, t: t, socks: map[Sock]bool{}}
	t.Cleanup(func() {
		defer runtime.UnlockOSThread()
		r.check()
		r.Shut()
	})
	return r
}

// check closes what is open and reports what is left behind.
func (r *rig) check() {
	r.t.Helper()
	for _, c := range r.ended {
		r.t.Errorf("completion that nobody asked for: %+v", c)
	}
	for s := range r.socks {
		r.Close(s, true)
	}
	if n := r.Buffers().Used(); n != 0 {
		r.t.Errorf("%d bytes of buffers lost", n)
	}
	if s := r.Stats(); s.Socks != 0 || s.Pipes != s.IdlePipes {
		r.t.Errorf("left open: %+v", s)
	}
}

// Close forgets s too.
func (r *rig) Close(s Sock, reset bool) {
	delete(r.socks, s)
	r.Engine.Close(s, reset)
}

// Connect remembers the socket too.
func (r *rig) Connect(addr netip.AddrPort, tag uint32) (Sock, syscall.Errno) {
	s, _, errno := r.ConnectSend(addr, nil, tag)
	return s, errno
}

// ConnectSend gives first along.
func (r *rig) ConnectSend(addr netip.AddrPort, first []byte, tag uint32) (Sock, bool, syscall.Errno) {
	s, given, errno := r.Engine.Connect(Source{}, netaddr.Of(addr), first, tag)
	if errno == 0 {
		r.socks[s] = true
	}
	return s, given, errno
}

// ConnectFrom has a source.
func (r *rig) ConnectFrom(src Source, addr netip.AddrPort, tag uint32) (Sock, syscall.Errno) {
	s, _, errno := r.Engine.Connect(src, netaddr.Of(addr), nil, tag)
	if errno == 0 {
		r.socks[s] = true
	}
	return s, errno
}

// turn is one batch: Wait, at most until deadline, and all of Next.
func (r *rig) turn(deadline Time) int {
	r.t.Helper()
	if err := r.Wait(deadline); err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for c := (Completion{}); r.Next(&c); n++ {
		r.keep(c)
	}
	return n
}

// keep puts a completion aside with a copy of what is lent.
func (r *rig) keep(c Completion) {
	c.Buf = bytes.Clone(c.Buf)
	if c.Op == OpAccept && c.Errno == 0 {
		r.socks[c.Sock] = true
	}
	r.ended = append(r.ended, c)
}

// take waits for the completion of op on s; NoSock stands for any.
func (r *rig) take(op Op, s Sock) Completion {
	r.t.Helper()
	for start := time.Now(); time.Since(start) < patience; r.turn(r.Now().Add(patience / 10)) {
		for i, c := range r.ended {
			if c.Op == op && (c.Sock == s || s == NoSock) {
				r.ended = slices.Delete(r.ended, i, i+1)
				return c
			}
		}
	}
	r.t.Fatalf("no completion of op %d on socket %d; there are: %+v", op, s, r.ended)
	return Completion{}
}

// until takes turns until cond holds.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for start := time.Now(); !cond(); r.turn(r.Now().Add(time.Millisecond)) {
		if time.Since(start) > patience {
			r.t.Fatalf("waited in vain for: %s; completions: %+v", what, r.ended)
		}
	}
}

// settle takes turns until nothing more ends by itself.
func (r *rig) settle() {
	r.t.Helper()
	for range 3 {
		r.Wake()
		r.take(OpWake, NoSock)
	}
}

// quiet settles and fails if anything but what was asked for has ended.
func (r *rig) quiet(why string) {
	r.t.Helper()
	r.settle()
	if len(r.ended) > 0 {
		r.t.Fatalf("%s, yet there is %+v", why, r.ended)
	}
}

func (r *rig) recv(s Sock) Completion {
	r.t.Helper()
	r.Recv(s)
	return r.take(OpRecv, s)
}

// recvAll reads to the end and returns how that came: 0 for FIN.
func (r *rig) recvAll(s Sock) (all []byte, end syscall.Errno) {
	r.t.Helper()
	for {
		c := r.recv(s)
		if c.N == 0 {
			return all, c.Errno
		}
		all = append(all, c.Buf...)
	}
}

func (r *rig) send(s Sock, b []byte) {
	r.t.Helper()
	done, errno := r.Send(s, b)
	if errno == 0 && !done {
		errno = r.take(OpSend, s).Errno
	}
	if errno != 0 {
		r.t.Fatalf("send of %d bytes: %v", len(b), errno)
	}
}

func (r *rig) splice(from, to Sock) Completion {
	r.t.Helper()
	r.Splice(from, to)
	return r.take(OpSplice, from)
}

// door is a listening socket of the engine's.
type door struct {
	fd   int
	addr netip.AddrPort
}

// listen opens a door and begins to take connections from it. Options are
// inherited by them.
func (r *rig) listen(addr string, tag uint32, options ...option) *door {
	r.t.Helper()
	fd, err := ListenTCP(netip.MustParseAddrPort(addr), false)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := CloseListener(fd); err != nil {
			r.t.Error(err)
		}
	})
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			r.t.Fatal(err)
		}
	}
	bound, err := LocalAddr(fd)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Listen(fd, tag, false); err != nil {
		r.t.Fatal(err)
	}
	return &door{fd: fd, addr: bound.IP()}
}

// accepted returns a socket of the engine's, taken from a listener, and its peer.
func (r *rig) accepted() (Sock, *net.TCPConn) {
	r.t.Helper()
	if r.door == nil {
		r.door = r.listen("127.0.0.1:0", 0)
	}
	return r.through(r.door)
}

// acceptedSmall is accepted with a connection that holds little.
func (r *rig) acceptedSmall() (Sock, *net.TCPConn) {
	r.t.Helper()
	return r.through(r.listen("127.0.0.1:0", 0, small...), small...)
}

func (r *rig) through(d *door, options ...option) (Sock, *net.TCPConn) {
	r.t.Helper()
	peer := dial(r.t, d.addr, options...)
	c := r.take(OpAccept, NoSock)
	if c.Errno != 0 || c.Peer != addrOf(peer.LocalAddr()) {
		r.t.Fatalf("accepted %+v, want peer %v", c, peer.LocalAddr())
	}
	return c.Sock, peer
}

// connected returns a socket of the engine's, opened by Connect, and its peer.
func (r *rig) connected() (Sock, *net.TCPConn) {
	r.t.Helper()
	l := listenPlain(r.t)
	s, errno := r.Connect(addrOf(l.Addr()), 0)
	if errno != 0 {
		r.t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 {
		r.t.Fatalf("connect: %v", c.Errno)
	}
	hurry(r.t, l)
	return s, acceptPlain(r.t, l)
}
