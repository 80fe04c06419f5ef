//go:build linux

package netio

import (
	"fmt"
	"sync"
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

// defaultRing has room for what a loop submits in a batch, hundreds of
// operations; more than that is submitted in several calls. The completion queue
// takes what a batch of the kernel's can bring; beyond it the kernel keeps them.
func defaultRing() ringOptions {
	return ringOptions{size: ringSize{entries: 1024, completion: 8192}, buffers: 256, allowed: AllFeatures}
}

// uring is the engine on io_uring. Sockets are received from, connected and
// closed by the ring, one operation at a time each; sending and splicing are
// calls of our own, made again when a poll on the ring has said that there is
// room or input.
//
// The loop's goroutine must be locked to its thread from the first call other
// than Wake on: the ring is that thread's.
type uring struct {
	// Constant after newUring.
	ring   *ring
	bufs   *recvBuffers // nil: receiving is polling and a call
	wakeFd int32
	base   time.Time

	// Owned by the loop.
	slots     ringSlots
	buffers   *Buffers
	firsts    *firsts
	spares    spares
	knocks    knocks
	pipes     pipes
	listeners map[int32]*ringListener // by descriptor
	listens   uint32                  // counts calls of Listen
	taking    *ringListener           // connections are being taken from it
	accepts   int                     // taken from it in this turn
	batch     uint32                  // completions before it belong to this batch
	run       []turn                  // sockets that may go on without a completion
	runHead   int
	runBatch  int // entries of run that belong to this batch
	now       Time
	lent      int    // the buffer that is lent, or -1
	plain     []byte // lent when there are no bufs
	started   bool
	closing   bool // a close waits to be submitted
	starved   uint64
	short     Time // since when the kernel has no memory for requests; 0: it has

	// Guarded by mu, for Wake.
	mu   sync.Mutex
	shut bool
}

// NewUring returns an io_uring engine whose pool has the given soft limit in
// bytes. Probe tells beforehand whether there can be one.
func NewUring(bufferLimit int64) (Engine, error) { return newUring(bufferLimit, defaultRing()) }

func newUring(bufferLimit int64, o ringOptions) (Engine, error) {
	r, err := openRing(o.size, o.allowed)
	if err != nil {
		return nil, fmt.Errorf("netio: %w", err)
	}
	e := &uring{
		ring: r, wakeFd: -1, base: time.Now(), lent: -1,
		buffers: NewBuffers(bufferLimit), listeners: map[int32]*ringListener{},
	}
	if e.firsts, err = newFirsts(); err != nil {
		e.release()
		return nil, fmt.Errorf("netio: %w", err)
	}
	if r.features&FeatureBuffers != 0 {
		if e.bufs, err = newRecvBuffers(r, o.buffers); err != nil {
			e.release()
			return nil, fmt.Errorf("netio: %w", err)
		}
	} else {
		e.plain = make([]byte, RecvSize)
	}
	wakeFd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		e.release()
		return nil, fmt.Errorf("netio: eventfd: %w", err)
	}
	e.wakeFd = int32(wakeFd)
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

// quiet is the flag of entries whose success nobody waits for. A kernel without it
// tells, and userData of ringNothing makes it pass unheard.
func (e *uring) quiet() uint8 {
	if e.ring.features&FeatureSkip != 0 {
		return sqeSkipSuccess
	}
	return 0
}

// begin hands an operation on s to the kernel; at most one of each kind is there.
func (e *uring) begin(op ringOp, s Sock, sl *ringSlot, entry sqe) *sockaddr {
	sl.flags |= op.has()
	entry.fd, entry.data = sl.fd, userData(op, sl.gen, s)
	return e.add(entry)
}

// await polls s for input or room, unless the kernel does so already.
func (e *uring) await(op ringOp, s Sock, sl *ringSlot) {
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

// enqueue puts s into the run queue once.
func (e *uring) enqueue(s Sock, sl *ringSlot) {
	if sl.flags&rQueued == 0 {
		sl.flags |= rQueued
		e.run = append(e.run, turn{s, sl.gen})
	}
}

func (e *uring) Wait(deadline Time) error {
	e.begun()
	e.giveBack()
	e.run = append(e.run[:0], e.run[e.runHead:]...)
	e.runHead = 0
	errno := e.submit()
	for errno == 0 && len(e.ring.late) > 0 { // each call takes a queue of them; none may wait for what the others bring
		errno = e.ring.poll()
	}
	for errno == 0 && e.ring.end() == e.ring.cqHead && len(e.run) == 0 {
		now := Time(time.Since(e.base))
		e.knocks.try(now, e.knocking, e.connectedUnix)
		if len(e.run) > 0 {
			break
		}
		until := e.knocks.until(e.spares.expire(now, deadline))
		if now >= deadline {
			break
		}
		errno = e.ring.wait(until.Sub(now))
		if errno == unix.ETIME && until < deadline {
			errno = 0
		}
	}
	e.now = Time(time.Since(e.base))
	e.knocks.try(e.now, e.knocking, e.connectedUnix)
	e.batch = e.ring.end()
	e.runBatch = len(e.run)
	e.taking = nil
	switch errno {
	case 0, unix.ETIME, unix.EINTR:
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
	// shortPause is how long a loop waits for memory that the kernel lacks, and shortPatience for how long on end: nobody is
	// served meanwhile, so that the process does better to say so and to be started again.
	shortPause    = 2 * time.Millisecond
	shortPatience = 5 * time.Second

	// maxBatch bounds the completions of a batch, as maxEvents does.
	maxBatch = 256
	// fewEnded is how few completions of a call say that the kernel has no more.
	fewEnded = 4
)

// submit hands over what was filled and lets the kernel complete what can. In a call
// it does the work of some 20 operations that wait for it (since 6.13), whatever
// has come meanwhile; so it is asked again, or the first would wait behind the
// last under load. Idle conns' memory was four times, and the CPU time of a
// conn a twelfth higher without that.
func (e *uring) submit() syscall.Errno {
	errno := e.ring.poll()
	e.closing = false
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
	for {
		for e.taking != nil {
			if e.accept(c) {
				return true
			}
		}
		if e.ring.cqHead == e.batch {
			break
		}
		q := *e.ring.at(e.ring.cqHead)
		e.ring.cqHead++
		if e.completed(q, c) {
			return true
		}
	}
	for e.runHead < e.runBatch {
		r := e.run[e.runHead]
		e.runHead++
		sl := e.slots.at(r.sock)
		if sl.gen != r.gen {
			continue
		}
		sl.flags &^= rQueued
		if sl.flags&(rWantConnect|rHasConnect) == rWantConnect && e.connected(r.sock, sl, syscall.Errno(sl.fault), c) {
			return true
		}
		if sl.flags&rWantSplice != 0 && e.splice(r.sock, sl, c) {
			return true
		}
	}
	return false
}

// completed takes a completion of the kernel's and reports whether it ends an
// operation of the caller's.
func (e *uring) completed(q cqe, c *Completion) bool {
	op := ringOp(q.data >> ringOpShift)
	gen := uint32(q.data>>genShift) & genMask
	switch op {
	case ringNothing:
		return false
	case ringWake:
		sysDrain(e.wakeFd)
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
			e.settle(s, sl)
		}
		return false
	}
	e.over(op, sl, q.res)
	switch op {
	case ringRecv:
		return e.received(s, sl, q, c)
	case ringInput:
		return e.readable(s, sl, errnoOf(q.res), c)
	case ringRoom:
		return e.writable(s, sl, errnoOf(q.res), c)
	case ringConnect:
		return e.connected(s, sl, errnoOf(q.res), c)
	case ringFirst:
		return e.firstSent(s, sl, q.res, c)
	case ringNothing, ringAccept, ringWake, ringDrop: // of a closed socket
	}
	return false
}

// over notes that the kernel has done with op. Of a connect and the send behind it
// a quiet kernel tells only once: of the send, or of a connect that has failed.
func (e *uring) over(op ringOp, sl *ringSlot, res int32) {
	first := sl.flags & rHasFirst
	sl.flags &^= op.has()
	switch {
	case op == ringFirst:
		if e.quiet() != 0 {
			sl.flags &^= rHasConnect
		}
	case op == ringConnect && res < 0 && e.quiet() != 0:
		sl.flags &^= rHasFirst
	case op == ringDrop && res < 0: // a security module forbids it
		sl.flags |= rSpoilt
	}
	if first != 0 && sl.flags&rHasFirst == 0 {
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

func (e *uring) Now() Time         { return e.now }
func (e *uring) Buffers() *Buffers { return e.buffers }

func (e *uring) Wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return // the descriptor may be another file's by now
	}
	sysCount(e.wakeFd)
}

func (e *uring) Stats() EngineStats {
	return EngineStats{Socks: e.slots.open, Pipes: e.pipes.made, IdlePipes: len(e.pipes.idle)}
}
