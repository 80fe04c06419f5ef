//go:build linux

package netio

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxEvents bounds one epoll_wait: enough to amortise the call, little enough that the batch stays in the cache.
	maxEvents = 256
	// RecvSize is the lent buffer: the most that one Recv delivers, in bytes. A first flight with its certificates
	// fits; a flow that fills it again and again is spliced.
	RecvSize = 32 << 10
	// The event data of descriptors that are no slots: Pad is generation 0, which no open socket has.
	wakeData = -1
)

const (
	readEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET
	bothEvents = readEvents | unix.EPOLLOUT
)

// epoll is the engine that runs everywhere. Sockets are registered once, edge-triggered, and only when an operation on
// them would block; canRead and canWrite remember edges until a call has used them up.
//
// No edge is lost: canRead is cleared only by a call that has found the queue empty, and whatever arrives after that
// call makes an edge of its own. Wait turns all events into flags before Next hands out the first completion, so none
// of them outlives its socket.
type epoll struct {
	core
	fd     int32 // constant
	outer  int32 // constant: the parker's, an epoll instance of which fd is the only member, if any
	woken  bool
	lent   []byte
	events [maxEvents]unix.EpollEvent
	found  int  // of events, by the last call
	looked bool // the last Wait has asked the kernel
}

// NewEpoll returns an epoll engine whose pool has the given soft limit in bytes.
func NewEpoll(bufferLimit int64) (Engine, error) {
	fd, err := epollCreate()
	if err != nil {
		return nil, err
	}
	outer, err := epollCreate()
	if err != nil {
		sysClose(fd)
		return nil, err
	}
	e := &epoll{fd: fd, outer: outer, lent: make([]byte, RecvSize)}
	if err := e.open(e, outer, bufferLimit); err != nil {
		sysClose(fd)
		return nil, err
	}
	errno := sysEpollCtl(fd, unix.EPOLL_CTL_ADD, e.wakeFd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData})
	if errno == 0 {
		errno = sysEpollCtl(outer, unix.EPOLL_CTL_ADD, fd, new(unix.EpollEvent))
	}
	if errno != 0 {
		e.Shut()
		return nil, fmt.Errorf("netio: epoll_ctl: %w", errno)
	}
	return e, nil
}

// epollCreate makes an epoll instance that the runtime's poller would take: one that does not block.
func epollCreate() (int32, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("netio: epoll_create1: %w", err)
	}
	return int32(fd), unix.SetNonblock(fd, true) // cannot fail: it is there
}

// register makes epoll report the given events of s, which must include those reported so far. Epoll reports at once
// what is true already, so that no edge is lost between a call's EAGAIN and the registration.
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

func (e *epoll) Wait(deadline Time) error {
	e.compact()
	var errno syscall.Errno
	switch {
	case len(e.run) == 0:
		errno = e.rest(e.knocks.until(e.spares.expire(e.clock(), deadline)))
	case e.looked: // every other time is often enough
		e.found = 0
	default:
		_, errno = e.block(0)
	}
	e.looked = len(e.run) == 0 || !e.looked
	e.alone = e.found == 1 && len(e.run) == 0
	e.now = e.clock()
	e.knock(e.now)
	e.accepts = 0
	e.runBatch = len(e.run)
	if errno != 0 {
		if errno == unix.EINTR {
			return nil
		}
		return fmt.Errorf("netio: epoll_pwait: %w", errno)
	}
	for i := range e.events[:e.found] {
		e.collect(&e.events[i])
	}
	e.runBatch = len(e.run)
	return nil
}

// Bound: a goroutine that parks comes back by one context switch, and by three when it is locked.
func (e *epoll) Bound() bool { return false }

func (e *epoll) block(left time.Duration) (some bool, errno syscall.Errno) {
	// Rounded up: waking before the deadline would only poll once more.
	n, errno := sysEpollWait(e.fd, e.events[:], int((left+time.Millisecond-1)/time.Millisecond))
	e.found = max(n, 0)
	return n > 0, errno
}

// arm needs no look: epoll tells of what is ready already.
func (e *epoll) arm() bool {
	e.tellOuter(unix.EPOLLIN | unix.EPOLLONESHOT)
	return false
}

// disarm takes the event, by which fd is disarmed; where the deadline came first there is none.
func (e *epoll) disarm() {
	if !e.takeOuter() {
		e.hush()
	}
}

// hush disarms fd. What has come at the last moment is taken too: epoll does not tell twice of what is in its queue, so
// that arm would be silent of what it finds.
func (e *epoll) hush() {
	e.tellOuter(0)
	e.takeOuter()
}

// leaveOuter has the loop wait without the runtime's poller.
func (e *epoll) leaveOuter() {
	_ = sysEpollCtl(e.outer, unix.EPOLL_CTL_DEL, e.fd, nil) // fails when it has left before
	e.parker.callFd = e.fd
}

func (e *epoll) takeOuter() bool {
	n, _ := sysEpollWait(e.outer, e.events[:1], 0) // it cannot fail
	return n > 0
}

func (e *epoll) tellOuter(events uint32) {
	ev := unix.EpollEvent{Events: events}
	_ = sysEpollCtl(e.outer, unix.EPOLL_CTL_MOD, e.fd, &ev) // cannot fail: it is there
}

// collect turns one event into flags. Nothing is called here, so that sockets closed later in the batch cannot confuse
// it.
func (e *epoll) collect(ev *unix.EpollEvent) {
	if ev.Fd == wakeData {
		e.woken = true
		return
	}
	if ev.Fd < wakeData {
		if l := e.listeners[wakeData-1-ev.Fd]; l != nil {
			e.hasConns(l)
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
		sysTakeCount(e.wakeFd)
		*c = Completion{Op: OpWake}
		return true
	}
	if e.nextConn(c) {
		return true
	}
	for {
		s, sl := e.nextTurn()
		if sl == nil {
			return false
		}
		if e.progress(s, sl, c) {
			// The socket may have a second operation: its turn is in the next batch.
			if sl.able() {
				e.enqueue(s, sl)
			}
			return true
		}
	}
}

// progress advances one operation of s and reports whether it ended.
func (e *epoll) progress(s Sock, sl *slot, c *Completion) bool {
	if sl.flags&wantConnect != 0 {
		return e.endConnect(s, sl, c)
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

// able reports whether an operation in flight may make progress.
func (sl *slot) able() bool {
	f := sl.flags
	return f&canRead != 0 && f&(wantRecv|wantSplice) != 0 ||
		f&canWrite != 0 && f&(wantSend|wantSink) != 0 ||
		f&wantConnect != 0 && f&(canWrite|sawEnd) != 0
}

func (e *epoll) Shut() {
	if e.shutting() {
		e.release()
		sysClose(e.fd)
	}
}
