//go:build linux

package netio

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxEvents bounds one epoll_wait: enough to amortise the call, little
	// enough that the batch stays in the cache.
	maxEvents = 256
	// maxAccepts bounds the connections taken from one listener in a batch, so
	// that a flood of them does not starve the conns that are open.
	maxAccepts = 64
	// RecvSize is the lent buffer: the most that one Recv delivers, in bytes. A first flight
	// with its certificates fits; a flow that fills it again and again is
	// spliced.
	RecvSize = 32 << 10
	// The event data of descriptors that are no slots: Pad is generation 0,
	// which no open socket has.
	wakeData = -1
)

const (
	readEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET
	bothEvents = readEvents | unix.EPOLLOUT
)

// epoll is the engine that runs everywhere. Sockets are registered once,
// edge-triggered, and only when an operation on them would block; canRead and
// canWrite remember edges until a call has used them up.
//
// No edge is lost: canRead is cleared only by a call that has found the queue
// empty, and whatever arrives after that call makes an edge of its own. Wait
// turns all events into flags before Next hands out the first completion, so
// none of them outlives its socket.
type epoll struct {
	// Constant after newEpoll.
	fd     int32
	wakeFd int32
	base   time.Time

	// Owned by the loop.
	slots     slots
	buffers   *Buffers
	pipes     pipes
	spares    spares
	listeners map[int32]*listener // by descriptor
	ready     []*listener         // reported by the last Wait
	accepts   int                 // taken from ready[0] in this batch
	run       []turn              // sockets with an operation that may make progress
	knocks    knocks
	runHead   int
	batch     int // entries of run that belong to this batch
	woken     bool
	now       Time
	lent      []byte
	events    [maxEvents]unix.EpollEvent

	// Guarded by mu, for Wake.
	mu   sync.Mutex
	shut bool
}

// turn is an entry of the run queue: a socket, not whoever has its slot later.
type turn struct {
	sock Sock
	gen  uint32
}

type listener struct {
	fd    int32
	tag   uint32
	ready bool // in epoll.ready
}

// NewEpoll returns an epoll engine whose pool has the given soft limit in bytes.
func NewEpoll(bufferLimit int64) (Engine, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("netio: epoll_create1: %w", err)
	}
	wakeFd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		sysClose(int32(fd))
		return nil, fmt.Errorf("netio: eventfd: %w", err)
	}
	e := &epoll{
		fd: int32(fd), wakeFd: int32(wakeFd), base: time.Now(),
		buffers: NewBuffers(bufferLimit), listeners: map[int32]*listener{}, lent: make([]byte, RecvSize),
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData}
	if errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_ADD, e.wakeFd, &ev); errno != 0 {
		e.Shut()
		return nil, fmt.Errorf("netio: epoll_ctl of the eventfd: %w", errno)
	}
	return e, nil
}

// register makes epoll report the given events of s, which must include those
// reported so far. Epoll reports at once what is true already, so that no edge
// is lost between a call's EAGAIN and the registration.
func (e *epoll) register(s Sock, sl *slot, events uint32) syscall.Errno {
	op := uintptr(unix.EPOLL_CTL_ADD)
	switch {
	case sl.flags&fullEvents != 0, sl.flags&registered != 0 && events == readEvents:
		return 0
	case sl.flags&registered != 0:
		op = unix.EPOLL_CTL_MOD
	}
	ev := unix.EpollEvent{Events: events, Fd: int32(s), Pad: int32(sl.gen)}
	if errno := sysEpollCtl(e.fd, op, sl.fd, &ev); errno != 0 {
		return errno
	}
	sl.flags |= registered
	if events == bothEvents {
		sl.flags |= fullEvents
	}
	return 0
}

// watch registers a socket that has turned out to have nothing to read.
func (e *epoll) watch(s Sock, sl *slot) {
	if sl.flags&registered != 0 {
		return
	}
	if errno := e.register(s, sl, readEvents); errno != 0 {
		// ENOMEM or ENOSPC (epoll's watch limit): the socket cannot be waited
		// for. Reading it now would tell EAGAIN for ever, so it is ended: a read
		// finds the end at once, which fault turns into this error.
		sl.fault = fault(errno)
		sysShutdown(sl.fd, unix.SHUT_RDWR)
		sl.flags |= canRead | sawEnd
		e.enqueue(s, sl)
	}
}

// enqueue puts s into the run queue once.
func (e *epoll) enqueue(s Sock, sl *slot) {
	if sl.flags&queued == 0 {
		sl.flags |= queued
		e.run = append(e.run, turn{s, sl.gen})
	}
}

func (e *epoll) Wait(deadline Time) error {
	e.compact()
	n, errno := sysEpollPoll(e.fd, e.events[:])
	if n == 0 && errno == 0 && len(e.run) == 0 {
		n, errno = e.block(e.knocks.until(e.spares.expire(Time(time.Since(e.base)), deadline)))
	}
	e.now = Time(time.Since(e.base))
	e.knocks.try(e.now, e.knocking, e.connectedUnix)
	e.accepts = 0
	e.batch = len(e.run)
	if errno != 0 {
		if errno == unix.EINTR {
			return nil
		}
		return fmt.Errorf("netio: epoll_pwait: %w", errno)
	}
	for i := range e.events[:n] {
		e.collect(&e.events[i])
	}
	e.accepts = 0
	e.batch = len(e.run)
	return nil
}

// block waits for an event until deadline. It tells the scheduler, so that a
// garbage collection need not wait for traffic.
func (e *epoll) block(deadline Time) (int, syscall.Errno) {
	left := deadline.Sub(Time(time.Since(e.base)))
	if left <= 0 {
		return 0, 0
	}
	// Rounded up: waking before the deadline would only poll once more.
	ms := int(min((left-1)/time.Millisecond+1, 1<<30))
	n, err := unix.EpollWait(int(e.fd), e.events[:], ms)
	if err != nil {
		errno, _ := err.(syscall.Errno) // EpollWait returns nothing else
		return 0, errno
	}
	return n, 0
}

// compact drops what Next has taken from the run queue.
func (e *epoll) compact() {
	if e.runHead > 0 {
		e.run = append(e.run[:0], e.run[e.runHead:]...)
		e.runHead = 0
	}
}

// collect turns one event into flags. Nothing is called here, so that sockets
// closed later in the batch cannot confuse it.
func (e *epoll) collect(ev *unix.EpollEvent) {
	if ev.Fd == wakeData {
		e.woken = true
		return
	}
	if ev.Fd < wakeData {
		if l := e.listeners[wakeData-1-ev.Fd]; l != nil && !l.ready {
			l.ready = true
			e.ready = append(e.ready, l)
		}
		return
	}
	s := Sock(ev.Fd)
	sl := e.slots.at(s)
	if sl.stale(uint32(ev.Pad)) {
		return
	}
	if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		sl.flags |= canRead | canWrite | sawEnd
	}
	if ev.Events&unix.EPOLLERR != 0 {
		sl.flags |= sawError
	}
	if ev.Events&unix.EPOLLRDHUP != 0 {
		sl.flags |= canRead | sawEnd
	}
	if ev.Events&unix.EPOLLPRI != 0 {
		sl.flags |= canRead | urgent
	}
	if ev.Events&unix.EPOLLIN != 0 {
		sl.flags |= canRead
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		sl.flags |= canWrite
	}
	if sl.able() {
		e.enqueue(s, sl)
	}
}

func (e *epoll) Next(c *Completion) bool {
	if e.woken {
		e.woken = false
		sysDrain(e.wakeFd)
		*c = Completion{Op: OpWake}
		return true
	}
	for len(e.ready) > 0 {
		if e.accept(e.ready[0], c) {
			return true
		}
	}
	for e.runHead < e.batch {
		r := e.run[e.runHead]
		e.runHead++
		sl := e.slots.at(r.sock)
		if sl.stale(r.gen) {
			continue
		}
		sl.flags &^= queued
		if e.progress(r.sock, sl, c) {
			// The socket may have a second operation: its turn is in the next batch.
			if sl.able() {
				e.enqueue(r.sock, sl)
			}
			return true
		}
	}
	return false
}

// progress advances one operation of s and reports whether it ended.
func (e *epoll) progress(s Sock, sl *slot, c *Completion) bool {
	if sl.flags&wantConnect != 0 {
		return e.connected(s, sl, c)
	}
	if sl.flags&(wantSend|canWrite) == wantSend|canWrite && e.sendRest(s, sl, c) {
		return true
	}
	if sl.flags&(wantSink|canWrite) == wantSink|canWrite {
		from := e.slots.at(sl.peer)
		sl.flags &^= wantSink
		if e.splice(sl.peer, from, c) {
			return true
		}
	}
	if sl.flags&(wantRecv|canRead) == wantRecv|canRead && e.recv(s, sl, c) {
		return true
	}
	// While the sink has no room there is nothing to do for the source.
	if sl.flags&(wantSplice|canRead) == wantSplice|canRead && e.slots.at(sl.peer).flags&wantSink == 0 {
		return e.splice(s, sl, c)
	}
	return false
}

func (e *epoll) Now() Time         { return e.now }
func (e *epoll) Buffers() *Buffers { return e.buffers }

func (e *epoll) Wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return // the descriptor may be another file's by now
	}
	sysCount(e.wakeFd)
}

func (e *epoll) Stats() EngineStats {
	return EngineStats{Socks: e.slots.open, Pipes: e.pipes.made, IdlePipes: len(e.pipes.idle)}
}

func (e *epoll) Shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return
	}
	e.shut = true
	for i := range e.slots.pages {
		for j := range e.slots.pages[i] {
			if sl := &e.slots.pages[i][j]; sl.gen&1 == 1 {
				e.Close(Sock(i<<pageBits|j), true)
			}
		}
	}
	e.spares.shut()
	e.pipes.shut()
	e.buffers.shut()
	sysClose(e.wakeFd)
	sysClose(e.fd)
}
