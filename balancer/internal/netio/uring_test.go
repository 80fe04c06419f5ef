//go:build linux

package netio

import (
	"net"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variant is an engine as another kernel would have it, or with little room.
func variant(edit func(o *ringOptions)) opener {
	return func(limit int64) (Engine, error) {
		o := defaultRing()
		edit(&o)
		return newUring(limit, o)
	}
}

// Kernels that lack something, and rings that are too small for what happens, are
// no reason to behave otherwise.
func TestUringVariants(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(o *ringOptions)
	}{
		{"5.11", func(o *ringOptions) { o.allowed = FeatureBase }},
		{"5.19", func(o *ringOptions) { o.allowed &^= FeatureDefer | FeatureNoIowait }},
		{"6.1", func(o *ringOptions) { o.allowed &^= FeatureNoIowait }},
		{"without skip", func(o *ringOptions) { o.allowed &^= FeatureSkip }},
		{"without buffers", func(o *ringOptions) { o.allowed &^= FeatureBuffers }},
		{"unregistered", func(o *ringOptions) { o.allowed &^= FeatureRegistered }},
		{"one buffer", func(o *ringOptions) { o.buffers = 1 }},
		{"tiny", func(o *ringOptions) { o.size = ringSize{entries: 2, completion: 4}; o.buffers = 2 }},
		{"tiny 5.11", func(o *ringOptions) { o.size = ringSize{entries: 2, completion: 4}; o.allowed = FeatureBase }},
	} {
		t.Run(tt.name, func(t *testing.T) { testEngine(t, variant(tt.edit)) })
	}
}

// newUringRig gives a look inside, for what the conformance suite cannot force.
func newUringRig(t *testing.T, edit func(o *ringOptions)) (*rig, *uring) {
	t.Helper()
	r := newRig(t, variant(edit))
	return r, r.Engine.(*uring)
}

// What is given to the engine takes room until the kernel is done with it, not
// less and not more; without room the caller sends.
func TestUringFirstsRunOut(t *testing.T) {
	for _, allowed := range []Features{AllFeatures, AllFeatures &^ FeatureSkip} {
		r, e := newUringRig(t, func(o *ringOptions) { o.allowed = allowed })
		to := unanswered(t)
		var socks []Sock
		for i := range maxFirsts + 3 {
			s, given, errno := r.ConnectSend(to, []byte("hello"), 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			if given != (i < maxFirsts) {
				t.Fatalf("connect %d: given %t", i, given)
			}
			socks = append(socks, s)
		}
		r.quiet("nobody answers")
		for i, s := range socks {
			if i%2 == 0 {
				r.settle() // some are closed in a batch with others, some are not
			}
			r.Close(s, true)
		}
		r.settle()
		if len(e.firsts.free) != maxFirsts || e.slots.ending != 0 {
			t.Errorf("%s: %d of %d pieces are free, %d slots are not", allowed, len(e.firsts.free), maxFirsts, e.slots.ending)
		}
	}
}

// Entries that come while the kernel takes none wait in order, and two that are
// linked stay together: the second is cancelled by the first's failure, which it
// would not be if they were submitted apart.
func TestRingLate(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := openRing(ringSize{entries: 4, completion: 64}, AllFeatures)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.enable(); err != nil {
		t.Fatal(err)
	}
	nop := func(i uint64) sqe { return sqe{data: i} }
	r.postpone(nop(0)) // as if
	var want []int32
	for i := uint64(1); i < 15; i += 3 {
		r.add(nop(i))
		fails := sqe{opcode: opClose, fd: -1, data: i + 1}
		*r.addLinked(fails, nop(i+2)) = sockaddr{byte(i)}
		want = append(want, 0, -int32(unix.EBADF), -int32(unix.ECANCELED))
	}
	if len(r.late) != 16 {
		t.Fatalf("%d entries are late", len(r.late))
	}
	for range 16 {
		if errno := r.poll(); errno != 0 {
			t.Fatal(errno)
		}
	}
	want = append([]int32{0}, want...)
	if n := int(r.end() - r.cqHead); n != len(want) || len(r.late) != 0 {
		t.Fatalf("%d of %d entries completed, %d are late", n, len(want), len(r.late))
	}
	for ; r.cqHead != r.end(); r.cqHead++ {
		if q := r.at(r.cqHead); q.res != want[q.data] {
			t.Errorf("entry %d: %d, want %d", q.data, q.res, want[q.data])
		}
	}
}

// A batch has all that has happened, in however many pieces the kernel hands it
// out.
func TestUringWholeBatch(t *testing.T) {
	r, e := newUringRig(t, func(*ringOptions) {})
	const width = 100
	for range width {
		e.bufs.another() // so many were needed before
	}
	var peers []*net.TCPConn
	for range width {
		s, peer := r.accepted()
		r.Recv(s)
		peers = append(peers, peer)
	}
	r.settle()
	for _, peer := range peers {
		write(t, peer, []byte("x"))
	}
	for _, peer := range peers {
		for inFlight(t, peer) > 0 {
			runtime.Gosched()
		}
	}
	if n := r.turn(r.Now().Add(patience)); n != width {
		t.Errorf("%d completions of %d in the first batch", n, width)
	}
	r.ended = nil
}

// When more arrives than the kernel has buffers, the receives that found none are made
// again, and none is lost or doubled; and it has as many more of them from then on, up to all.
func TestUringStarved(t *testing.T) {
	const width = 2 * firstRecv
	for _, most := range []int{2, 256} {
		r, e := newUringRig(t, func(o *ringOptions) { o.buffers = most })
		if want := min(most, firstRecv); e.bufs.given != want {
			t.Errorf("of %d buffers the kernel has %d at first, want %d", most, e.bufs.given, want)
		}
		socks := map[Sock]byte{}
		var peers []*net.TCPConn
		for range width {
			s, peer := r.accepted()
			r.Recv(s)
			socks[s] = byte(len(peers))
			peers = append(peers, peer)
		}
		r.settle()
		for i, peer := range peers {
			write(t, peer, []byte{byte(i)})
		}
		for len(socks) > 0 {
			c := r.take(OpRecv, NoSock)
			if want, ok := socks[c.Sock]; !ok || c.Errno != 0 || c.N != 1 || c.Buf[0] != want {
				t.Fatalf("got %+v, want byte %d, known %t", c, want, ok)
			}
			delete(socks, c.Sock)
		}
		if e.starved == 0 {
			t.Error("there were buffers enough: the test tests nothing")
		}
		if least, high := min(most, firstRecv+1), min(most, width); e.bufs.given < least || e.bufs.given > high {
			t.Errorf("of %d buffers the kernel has %d, want %d to %d", most, e.bufs.given, least, high)
		}
		r.quiet("all is received")
	}
}

// Completions that do not fit the queue are kept by the kernel, and come in order.
func TestUringOverflow(t *testing.T) {
	r, e := newUringRig(t, func(o *ringOptions) { o.size = ringSize{entries: 4, completion: 8}; o.buffers = 64 })
	const width = 60
	var peers []*net.TCPConn
	for range width {
		s, peer := r.accepted()
		r.Recv(s)
		peers = append(peers, peer)
	}
	r.settle()
	for range 3 { // each a flood
		got := map[Sock]int{}
		for _, peer := range peers {
			write(t, peer, []byte("x"))
		}
		for _, peer := range peers {
			for inFlight(t, peer) > 0 {
				runtime.Gosched()
			}
		}
		if errno := e.ring.poll(); errno != 0 || e.ring.end()-e.ring.cqHead != uint32(len(e.ring.cqes)) {
			t.Fatalf("%d completions in a queue of %d", e.ring.end()-e.ring.cqHead, len(e.ring.cqes))
		}
		for len(got) < width {
			c := r.take(OpRecv, NoSock)
			if got[c.Sock]++; got[c.Sock] > 1 || c.N != 1 {
				t.Fatalf("got %+v, seen %d times", c, got[c.Sock])
			}
		}
		for s := range got {
			r.Recv(s)
		}
		r.settle()
	}
}

// What did not fit the queue is the kernel's before the loop waits: nothing may come
// of the first ones for hours.
func TestUringLate(t *testing.T) {
	r, e := newUringRig(t, func(o *ringOptions) { o.size = ringSize{entries: 2, completion: 64} })
	var socks []Sock
	var last *net.TCPConn
	for range 20 {
		s, peer := r.accepted()
		socks, last = append(socks, s), peer
	}
	s := socks[len(socks)-1]
	write(t, last, []byte("x"))
	r.until("the byte is there", func() bool { return r.HasInput(s) })
	e.ring.postpone(sqe{opcode: opPollAdd, fd: e.wakeFd, opFlags: pollEvents(unix.POLLIN)}) // as when the kernel had no memory
	for _, s := range socks {
		r.Recv(s)
	}
	if len(e.ring.late) <= 2*len(e.ring.sqes) {
		t.Fatalf("%d entries came late", len(e.ring.late))
	}
	if r.turn(r.Now().Add(patience)) == 0 {
		t.Error("the last one waits for the others")
	}
	r.take(OpRecv, s)
}

// A poll that the kernel has no memory for ends what has waited for it, and not what
// the same socket waits for besides.
func TestUringPollFails(t *testing.T) {
	r, e := newUringRig(t, func(*ringOptions) {})
	from, _ := r.acceptedSmall()
	to, _ := r.accepted()
	r.fill(from)
	r.Splice(from, to)
	for _, tt := range []struct {
		end   func(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool
		want  Op
		errno syscall.Errno
	}{{e.writable, OpSend, ErrNoBuffer}, {e.readable, OpSplice, unix.ENOMEM}} {
		var c Completion
		if !tt.end(from, e.slots.at(from), unix.ENOMEM, &c) || c.Op != tt.want || c.Errno != tt.errno || c.Sink {
			t.Errorf("got %+v, want the end of op %d", c, tt.want)
		}
	}
	r.quiet("nothing is in flight")
}

// What ends in an interrupted state of the ring is not lost: a closed socket's
// operations all end, and its slot is free for the next.
func TestUringSlotsAreFreed(t *testing.T) {
	r, e := newUringRig(t, func(*ringOptions) {})
	for i := range 40 {
		s, peer := r.accepted()
		if i%2 == 0 {
			r.Recv(s)
		}
		if i%3 == 0 {
			r.settle()
		}
		if i%5 == 0 {
			write(t, peer, []byte("x"))
		}
		slot := e.slots.at(s)
		gen := slot.gen
		r.Close(s, i%4 == 0)
		if slot.gen == gen || slot.gen&1 != 0 {
			t.Fatalf("generation %d, then %d", gen, slot.gen)
		}
		if i%7 == 0 {
			r.settle()
		}
	}
	r.quiet("all are closed")
	if e.slots.ending != 0 || e.slots.open != 0 || len(e.slots.free) != len(e.slots.pages)<<pageBits {
		t.Errorf("%d slots are ending, %d open, %d of %d free", e.slots.ending, e.slots.open, len(e.slots.free), len(e.slots.pages)<<pageBits)
	}
}

// A completion of a slot's first owner, had it outlived the socket, is not taken
// for one of the second's.
func TestUringStale(t *testing.T) {
	r, e := newUringRig(t, func(*ringOptions) {})
	s, _ := r.accepted()
	gen := e.slots.at(s).gen
	r.Close(s, true)
	r.settle()
	again, _ := r.accepted()
	if again != s {
		t.Fatalf("slot %d was not used again, but %d", s, again)
	}
	r.Recv(s)
	before, free := *e.slots.at(s), len(e.slots.free)
	var c Completion
	if e.completed(cqe{data: userData(ringRecv, gen, s), res: 4, flags: cqeBuffer}, &c) {
		t.Errorf("told: %+v", c)
	}
	if after := *e.slots.at(s); after != before || len(e.slots.free) != free || e.slots.ending != 0 {
		t.Errorf("%+v became %+v, %d slots free, then %d", before, after, free, len(e.slots.free))
	}
}
