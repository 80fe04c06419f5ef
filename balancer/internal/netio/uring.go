//go:build linux

package netio

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ringOptions are what tests change.
type ringOptions struct {
	size    ringSize
	buffers int // of RecvSize bytes, a power of two
	allowed Features
}

// defaultRing has room for what a loop submits in a batch, hundreds of operations; more than that is submitted in
// several calls. The completion queue takes what a batch of the kernel's can bring; beyond it the kernel keeps them.
func defaultRing() ringOptions {
	return ringOptions{size: ringSize{entries: 1024, completion: 8192}, buffers: 256, allowed: AllFeatures}
}

// uring is the engine on io_uring. Sockets are received from, connected and closed by the ring, one operation at a time
// each; sending and splicing are calls of our own, made again when a poll on the ring has said that there is room or
// input.
//
// The loop's goroutine must be locked to its thread from the first call other than Wake on: the ring is that thread's.
type uring struct {
	core
	// Constant after newUring.
	ring *ring
	bufs *recvBuffers // nil: receiving is polling and a call

	// Owned by the loop.
	firsts  *firsts
	listens uint32 // counts calls of Listen
	batch   uint32 // completions before it belong to this batch
	lent    int    // the buffer that is lent, or -1
	plain   []byte // lent when there are no bufs
	started bool
	closes  bool // a close waits to be submitted
	starved uint64
	short   Time // since when the kernel has no memory for requests; 0: it has
}

// NewUring returns an io_uring engine whose pool has the given soft limit in bytes. Probe tells beforehand whether
// there can be one.
func NewUring(bufferLimit int64) (Engine, error) { return newUring(bufferLimit, defaultRing()) }

func newUring(bufferLimit int64, o ringOptions) (_ Engine, err error) {
	e := &uring{lent: -1}
	if e.ring, err = openRing(o.size, o.allowed); err != nil {
		return nil, fmt.Errorf("netio: %w", err)
	}
	if e.firsts, err = newFirsts(); err != nil {
		e.releaseRing()
		return nil, fmt.Errorf("netio: %w", err)
	}
	if e.ring.features&FeatureBuffers == 0 {
		e.plain = make([]byte, RecvSize)
	} else if e.bufs, err = newRecvBuffers(e.ring, o.buffers); err != nil {
		e.releaseRing()
		return nil, fmt.Errorf("netio: %w", err)
	}
	fd, err := e.ring.tell()
	if err == nil {
		// A kernel that is woken by one eventfd counts up another in vain, but for the first time (Linux 6.18).
		e.bellFd = fd
		err = e.open(e, fd, bufferLimit)
	}
	if err != nil {
		e.releaseRing()
		return nil, err
	}
	return e, nil
}

// begun makes the ring the loop's, at its first operation.
func (e *uring) begun() {
	if e.started {
		return
	}
	e.started = true
	if err := e.ring.enable(); err != nil {
		panic("netio: " + err.Error()) // a ring that was just made, and no other loop's
	}
	e.awaitWake()
}

// add fills an entry of the ring.
func (e *uring) add(entry sqe) *sockaddr {
	e.begun()
	return e.ring.add(entry)
}

// quiet is the flag of entries whose success nobody waits for. A kernel without it tells, and userData of ringNothing
// makes it pass unheard.
func (e *uring) quiet() uint8 {
	if e.ring.features&FeatureSkip != 0 {
		return sqeSkipSuccess
	}
	return 0
}

// begin hands an operation on s to the kernel; at most one of each kind is there.
func (e *uring) begin(op ringOp, s Sock, sl *slot, entry sqe) *sockaddr {
	sl.flags |= op.has()
	entry.fd, entry.data = sl.fd, userData(op, sl.gen, s)
	return e.add(entry)
}

// await polls s for input or room, unless the kernel does so already.
func (e *uring) await(op ringOp, s Sock, sl *slot) {
	if sl.flags&op.has() != 0 {
		return
	}
	events := uint32(unix.POLLIN | unix.POLLRDHUP)
	if op == ringRoom {
		events = unix.POLLOUT
	}
	e.begin(op, s, sl, sqe{opcode: opPollAdd, opFlags: pollEvents(events)})
}

func (e *uring) awaitWake() {
	e.add(sqe{opcode: opPollAdd, fd: e.wakeFd, opFlags: pollEvents(unix.POLLIN), data: userData(ringWake, 0, 0)})
}

// cancel ends an operation that the kernel has; its own completion tells.
func (e *uring) cancel(data uint64) {
	e.add(sqe{opcode: opAsyncCancel, flags: e.quiet(), fd: -1, addr: data, data: userData(ringNothing, 0, 0)})
}

func (e *uring) Wait(deadline Time) error {
	e.begun()
	e.giveBack()
	e.compact()
	errno := e.submit(deadline)
	for errno == 0 && len(e.ring.late) > 0 { // each call takes a queue of them; none may wait for what the others bring
		errno = e.ring.poll()
	}
	e.now = e.clock()
	e.knock(e.now)
	e.accepts = 0
	e.batch = e.ring.end()
	e.runBatch = len(e.run)
	e.alone = e.batch-e.ring.cqHead == 1 && e.runBatch == 0
	switch errno {
	case 0, unix.EINTR:
		e.short = 0
		return nil
	case unix.EBUSY:
		return nil // the kernel wants completions to be taken first (before 5.19)
	case unix.EAGAIN, unix.ENOMEM:
		if e.endure() {
			return nil
		}
	}
	return fmt.Errorf("netio: io_uring_enter: %w", errno)
}

func (e *uring) block(left time.Duration) (some bool, errno syscall.Errno) {
	if left == 0 {
		errno = e.ring.poll()
	} else {
		errno = e.ring.wait(left)
	}
	if errno == unix.ETIME {
		errno = 0
	}
	return e.ring.end() != e.ring.cqHead, errno
}

// Bound: the ring takes calls from the thread that has enabled it alone.
func (e *uring) Bound() bool { return true }

// arm looks, since the kernel does not tell of what came before. An error comes again with the next Wait.
func (e *uring) arm() bool {
	e.ring.telling(true)
	some, errno := e.block(0)
	return some || errno != 0
}

func (e *uring) disarm() { e.ring.telling(false) }

// endure waits a moment for the kernel to have memory for requests again; what was filled is submitted again then. It
// reports false when that has lasted for too long.
func (e *uring) endure() bool {
	if e.short == 0 {
		e.short = e.now
	}
	if e.now.Sub(e.short) > shortPatience {
		return false
	}
	if e.ring.end() == e.ring.cqHead && len(e.run) == 0 { // else there is something to do
		rest := unix.NsecToTimespec(int64(shortPause))
		_ = unix.Nanosleep(&rest, nil) // cut short by a signal, it is as good
	}
	return true
}

const (
	// shortPause is how long a loop waits for memory that the kernel lacks, and shortPatience for how long on end:
	// nobody is served meanwhile, so that the process does better to say so and to be started again.
	shortPause    = 2 * time.Millisecond
	shortPatience = 5 * time.Second

	// maxBatch bounds the completions of a batch, as maxEvents does.
	maxBatch = 256
	// fewEnded is how few completions of a call say that the kernel has no more.
	fewEnded = 4
)

// submit hands over what was filled, lets the kernel complete what can, and waits for the first if nothing else is to be
// done. In a call the kernel does the work of some 20 operations that wait for it (since 6.13), whatever has come
// meanwhile; so it is asked again, or the first would wait behind the last under load. Idle conns' memory was four times,
// and the CPU time of a conn a twelfth higher without that.
func (e *uring) submit(deadline Time) (errno syscall.Errno) {
	if len(e.run) > 0 || len(e.ring.late) > 0 {
		errno = e.ring.poll()
	} else {
		errno = e.rest(e.knocks.until(e.spares.expire(e.clock(), deadline)))
	}
	e.closes = false
	for had := e.ring.cqHead; errno == 0; {
		end := e.ring.end()
		if end-had < fewEnded || end-e.ring.cqHead >= maxBatch {
			break
		}
		had = end
		errno = e.ring.poll()
	}
	return errno
}

func (e *uring) Next(c *Completion) bool {
	e.giveBack()
	if e.nextConn(c) {
		return true
	}
	for e.ring.cqHead != e.batch {
		q := *e.ring.at(e.ring.cqHead)
		e.ring.cqHead++
		if e.completed(q, c) {
			return true
		}
	}
	for {
		s, sl := e.nextTurn()
		switch {
		case sl == nil:
			return false
		case sl.flags&(wantConnect|hasConnect) == wantConnect: // of a unix socket
			return e.connected(s, sl, syscall.Errno(sl.fault), c)
		case sl.flags&wantSplice != 0 && e.splice(s, sl, c):
			return true
		}
	}
}

// completed takes a completion of the kernel's and reports whether it ends an operation of the caller's.
func (e *uring) completed(q cqe, c *Completion) bool {
	op := ringOp(q.data >> ringOpShift)
	gen := uint32(q.data>>genShift) & genMask
	switch op {
	case ringNothing:
		return false
	case ringWake:
		sysTakeCount(e.wakeFd)
		e.awaitWake()
		*c = Completion{Op: OpWake}
		return true
	case ringAccept:
		return e.acceptable(int32(uint32(q.data)), gen, q.res, c)
	case ringRecv, ringInput, ringRoom, ringConnect, ringFirst, ringDrop:
	}
	s := Sock(uint32(q.data))
	sl := e.slots.at(s)
	if sl.gen&genMask != gen {
		if q.flags&cqeBuffer != 0 {
			e.bufs.give(uint16(q.flags >> cqeBufShift))
		}
		if (sl.gen-1)&genMask == gen { // closed since
			e.over(op, sl, q.res)
			e.done(s, sl)
		}
		return false
	}
	e.over(op, sl, q.res)
	switch op {
	case ringRecv:
		return e.endRecv(s, sl, q, c)
	case ringInput:
		return e.readable(s, sl, errnoOf(q.res), c)
	case ringRoom:
		return e.writable(s, sl, errnoOf(q.res), c)
	case ringConnect:
		return e.endConnect(s, sl, errnoOf(q.res), c)
	case ringFirst:
		return e.firstSent(s, sl, q.res, c)
	case ringNothing, ringAccept, ringWake, ringDrop: // of a closed socket
	}
	return false
}

// over notes that the kernel has done with op. Of a connect and the send behind it a quiet kernel tells only once: of
// the send, or of a connect that has failed.
func (e *uring) over(op ringOp, sl *slot, res int32) {
	first := sl.flags & hasFirst
	sl.flags &^= op.has()
	switch {
	case op == ringFirst:
		if e.quiet() != 0 {
			sl.flags &^= hasConnect
		}
	case op == ringConnect && res < 0 && e.quiet() != 0:
		sl.flags &^= hasFirst
	case op == ringDrop && res < 0: // a security module forbids it
		sl.flags |= spoilt
	}
	if first != 0 && sl.flags&hasFirst == 0 {
		e.firsts.put(sl.moves.first)
		sl.moves.first = 0
		e.slots.done(sl)
	}
}

// errnoOf is the error that a completion tells.
func errnoOf(res int32) syscall.Errno {
	if res < 0 {
		return syscall.Errno(-res)
	}
	return 0
}

// giveBack ends the lending of the last completion.
func (e *uring) giveBack() {
	if e.lent >= 0 {
		e.bufs.give(uint16(e.lent))
		e.lent = -1
	}
}
