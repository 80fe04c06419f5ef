//go:build linux

package netio

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// newEpollRig gives a look inside, for what the conformance suite cannot force.
func newEpollRig(t *testing.T) (*rig, *epoll) {
	t.Helper()
	r := newRig(t, NewEpoll)
	return r, r.Engine.(*epoll)
}

// Each listener has its share of a batch, and what is left of its queue is
// reported again.
func TestEpollAcceptShare(t *testing.T) {
	const flood = maxAccepts + maxAccepts/2
	r, _ := newEpollRig(t)
	a, b := r.listen("127.0.0.1:0", 0), r.listen("127.0.0.1:0", 1)
	for range flood {
		dial(t, a.addr)
		dial(t, b.addr)
	}
	for _, want := range []int{maxAccepts, flood - maxAccepts} {
		r.turn(forever)
		var got [2]int
		for _, c := range r.ended {
			got[c.Tag]++
		}
		if got != [2]int{want, want} {
			t.Errorf("accepted %d in a batch, want %d each", got, want)
		}
		r.ended = r.ended[:0]
	}
}

// A Splice that has had its share ends, and goes on in the next batch: others
// come first.
func TestEpollSpliceShare(t *testing.T) {
	r, e := newEpollRig(t)
	s, peer := r.accepted()
	write(t, peer, []byte("x"))
	f := r.stuff()
	r.Recv(s)
	sl := e.slots.at(f.from)
	sl.moves.moved = spliceBudget // as if
	go func() { _ = drink(f.sink, 10, stuffing, 1<<16) }()
	c := r.take(OpSplice, f.from)
	if c.N < spliceBudget || c.N > spliceBudget+pipeSize || sl.flags&canRead == 0 {
		t.Errorf("got %+v, flags %b", c, sl.flags)
	}
	r.take(OpRecv, s)
}

// A slot's second owner does not inherit its place in the run queue.
func TestEpollStaleTurn(t *testing.T) {
	r, e := newEpollRig(t)
	s, _ := r.accepted()
	gen := e.slots.at(s).gen
	r.Recv(s) // tries first: queued
	if len(e.run)-e.runHead != 1 {
		t.Fatalf("run queue: %+v", e.run)
	}
	r.Close(s, true)
	again, peer := r.accepted()
	if again != s {
		t.Fatalf("slot %d was not used again, but %d", s, again)
	}
	if now := e.slots.at(again).gen; now == gen || !e.slots.at(again).stale(gen) {
		t.Errorf("generation %d, then %d", gen, now)
	}
	write(t, peer, []byte("x"))
	for range 100 { // a doubled entry would stay doubled
		r.recv(again)
		write(t, peer, []byte("x"))
		if len(e.run)-e.runHead > 1 {
			t.Fatalf("run queue: %+v", e.run)
		}
	}
}

// An event of a slot's first owner, had it outlived the socket, changes nothing
// for the second.
func TestEpollStaleEvent(t *testing.T) {
	r, e := newEpollRig(t)
	s, _ := r.accepted()
	gen := e.slots.at(s).gen
	r.Close(s, true)
	r.accepted()
	before := *e.slots.at(s)
	e.collect(&unix.EpollEvent{Events: bothEvents | unix.EPOLLHUP | unix.EPOLLERR, Fd: int32(s), Pad: int32(gen)})
	if after := *e.slots.at(s); after.flags != before.flags {
		t.Errorf("flags %b became %b", before.flags, after.flags)
	}
}

// With a second operation that cannot go on, a completion makes no idle turn: the
// next Wait may block.
func TestEpollNoIdleTurn(t *testing.T) {
	r, e := newEpollRig(t)
	s, peer := r.acceptedSmall()
	r.Recv(s)
	sent := r.fill(s)
	drunk := drinkFill(peer, sent)
	r.take(OpSend, s)
	if err := <-drunk; err != nil {
		t.Error(err)
	}
	r.settle()
	if len(e.run)-e.runHead != 0 || e.slots.at(s).flags&wantRecv == 0 {
		t.Errorf("run queue %+v, flags %b", e.run[e.runHead:], e.slots.at(s).flags)
	}
}

// A socket that epoll does not take (its watch limit, fs.epoll.max_user_watches)
// ends with that error, at once.
func TestEpollRegisterFails(t *testing.T) {
	broken := func(e *epoll, f func()) {
		fd := e.fd
		e.fd = -1
		f()
		e.fd = fd
	}
	t.Run("Recv", func(t *testing.T) {
		r, e := newEpollRig(t)
		s, peer := r.accepted()
		write(t, peer, []byte("x"))
		r.recv(s)
		broken(e, func() { r.Recv(s) })
		if c := r.take(OpRecv, s); c.Errno != unix.EBADF || c.N != 0 {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("Splice", func(t *testing.T) {
		r, e := newEpollRig(t)
		from, source := r.accepted()
		to, _ := r.connected()
		write(t, source, []byte("x"))
		r.recv(from)
		broken(e, func() { r.Splice(from, to) })
		if c := r.take(OpSplice, from); c.Errno != unix.EBADF || c.Sink {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("Send", func(t *testing.T) {
		r, e := newEpollRig(t)
		s, _ := r.acceptedSmall()
		broken(e, func() {
			done, errno := true, unix.Errno(0)
			for done {
				done, errno = r.Send(s, make([]byte, 4<<10))
			}
			if errno != unix.EBADF || r.Buffers().Used() != 0 {
				t.Errorf("got %v, %d bytes of buffers used", errno, r.Buffers().Used())
			}
		})
		r.quiet("no Send is in flight")
	})
	t.Run("Sink", func(t *testing.T) {
		r, e := newEpollRig(t)
		from, source := r.accepted()
		to, _ := r.acceptedSmall()
		write(t, source, noiseBytes(1, 60_000))
		r.until("the bytes are here", func() bool { return inFlight(t, source) == 0 })
		r.Splice(from, to)
		if err := r.Wait(r.Now()); err != nil {
			t.Fatal(err)
		}
		broken(e, func() {
			for c := (Completion{}); r.Next(&c); {
				r.keep(c)
			}
		})
		if c := r.take(OpSplice, from); c.Errno != unix.EBADF || !c.Sink || r.Stats().Pipes != 0 {
			t.Errorf("got %+v, %+v", c, r.Stats())
		}
		r.quiet("no Splice is in flight")
	})
	t.Run("Connect", func(t *testing.T) {
		r, e := newEpollRig(t)
		l := listenPlain(t)
		broken(e, func() {
			if s, errno := r.Connect(addrOf(l.Addr()), 0); errno != unix.EBADF || s != NoSock || r.Stats().Socks != 0 {
				t.Errorf("got %d, %v, %+v", s, errno, r.Stats())
			}
		})
	})
}

// Beyond its number of pipes a loop copies.
func TestEpollPipesBounded(t *testing.T) {
	r, e := newEpollRig(t)
	from, source := r.accepted()
	to, _ := r.connected()
	write(t, source, []byte("x"))
	e.pipes.made = maxPipes
	if c := r.splice(from, to); c.Errno != unix.ENOBUFS {
		t.Errorf("got %+v", c)
	}
	e.pipes.made = 0
	if c := r.splice(from, to); c.N != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestPipes(t *testing.T) {
	t.Parallel()
	var ps pipes
	var all []*pipe
	for range maxIdlePipes + 3 {
		p := ps.get()
		if p == nil {
			t.Skip("this user has no pipes left")
		}
		if p.size < minPipe || p.n != 0 {
			t.Errorf("got %+v", *p)
		}
		all = append(all, p)
	}
	all[0].n = 1 // holds bytes
	for _, p := range all {
		ps.put(p)
	}
	if len(ps.idle) != maxIdlePipes || ps.made != maxIdlePipes {
		t.Errorf("%d idle of %d made, want %d", len(ps.idle), ps.made, maxIdlePipes)
	}
	for _, p := range ps.idle {
		if p == all[0] {
			t.Error("a pipe with bytes is kept")
		}
	}
	if p := ps.get(); p != all[maxIdlePipes] {
		t.Error("the pipe used last, warm in the cache, should come first")
	} else {
		ps.put(p)
	}
	if ps.shut(); ps.made != 0 || len(ps.idle) != 0 {
		t.Errorf("after shut: %+v", ps)
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	var table slots
	held := map[Sock]*slot{}
	for i := range 3 << pageBits {
		s, sl := table.take(int32(i), uint32(i))
		if _, ok := held[s]; ok || table.at(s) != sl {
			t.Fatalf("slot %d is given out twice, or found elsewhere", s)
		}
		if sl.fd != int32(i) || sl.gen&1 != 1 || sl.peer != NoSock {
			t.Fatalf("got %+v", *sl)
		}
		held[s] = sl
	}
	if table.open != len(held) || len(table.pages) != 3 {
		t.Errorf("%d open in %d pages", table.open, len(table.pages))
	}
	for s, sl := range held {
		gen := sl.gen
		if table.close(s, sl); sl.fd != -1 || !sl.stale(gen) || sl.gen&1 != 0 {
			t.Fatalf("given back: %+v", *sl)
		}
	}
	for range held {
		if s, sl := table.take(0, 0); held[s] != sl {
			t.Fatalf("slot %d has moved, or is new", s)
		}
	}
	if len(table.pages) != 3 {
		t.Errorf("%d pages, want 3", len(table.pages))
	}
}

// Arming tells of what is there, also when something came at the very moment of the last disarming.
func TestEpollArmsAfterRace(t *testing.T) {
	eng, err := NewEpoll(1 << 20)
	testkit.Check(t, err)
	defer eng.Shut()
	e := eng.(*epoll)
	poller, err := epollCreate()
	testkit.Check(t, err)
	defer sysClose(poller)
	// As the runtime's poller has it.
	if errno := sysEpollCtl(poller, unix.EPOLL_CTL_ADD, e.outer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}); errno != 0 {
		t.Fatal(errno)
	}
	told := func() bool {
		var evs [1]unix.EpollEvent
		n, errno := sysEpollWait(poller, evs[:], 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		return n == 1
	}
	e.arm()
	e.Wake()
	if !told() {
		t.Fatal("an armed engine does not tell")
	}
	e.hush()
	sysTakeCount(e.wakeFd)
	_, _ = e.block(0) // what has come shows below
	if told() {
		t.Error("a disarmed engine tells")
	}
	e.Wake()
	e.arm()
	if !told() {
		t.Error("nothing tells of what was there when it was armed")
	}
}

// However many loops take from one queue, each may, and waits as it is to.
func TestEpollManyLoopsOneQueue(t *testing.T) {
	const loops = 130 // the kernel has no more than 100 nested as deep
	r, e := newEpollRig(t)
	e.watchFor = 0
	fd, err := ListenTCP(netip.MustParseAddrPort("127.0.0.1:0"), false)
	testkit.Check(t, err)
	defer func() { _ = CloseListener(fd) }() // of no use any more
	addr, err := LocalAddr(fd)
	testkit.Check(t, err)
	for range loops {
		other, err := NewEpoll(1 << 20)
		testkit.Check(t, err)
		defer other.Shut()
		testkit.Check(t, other.Listen(fd, 0, false))
	}
	testkit.Check(t, r.Listen(fd, 7, false))
	if e.parker.callFd == 0 {
		t.Skip("this kernel has no such limit")
	}
	r.turn(r.Now().Add(time.Millisecond))
	time.AfterFunc(time.Millisecond, e.Wake)
	r.take(OpWake, NoSock)
	conn, err := net.Dial("tcp", addr.IP().String())
	testkit.Check(t, err)
	defer conn.Close()
	if c := r.take(OpAccept, NoSock); c.Tag != 7 || c.Errno != 0 {
		t.Errorf("got %+v", c)
	}
}
