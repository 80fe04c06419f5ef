//go:build linux

package netio

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	readEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	bothEvents = readEvents | unix.EPOLLOUT
)

// epoll is the engine that runs everywhere. Sockets are registered once,
// edge-triggered, and only when an operation on them would block; canRead and
// canWrite remember edges until a call has used them up.
type epoll struct {
	// Constant after newEpoll.
	fd     int32
	wakeFd int32
	base   time.Time

	// Owned by the loop.
	slots     slots
	buffers   *Buffers
	pipes     pipes
	listeners map[int32]*listener // by descriptor
	ready     []*listener         // reported by the last Wait
	accepts   int                 // taken from ready[0] in this batch
	run       []Sock              // sockets with an operation that may make progress
	runHead   int
	batch     int // entries of run that belong to this batch
	woken     bool
	now       Time
	lent      []byte
	events    [maxEvents]unix.EpollEvent
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

func (e *epoll) Listen(fd int, tag uint32) error {
	// Level-triggered: what one batch leaves in the queue is reported again.
	// The slot number of a listener is its descriptor, mapped below wakeData.
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData - 1 - int32(fd)}
	if errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_ADD, int32(fd), &ev); errno != 0 {
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", fd, errno)
	}
	e.listeners[int32(fd)] = &listener{fd: int32(fd), tag: tag}
	return nil
}

func (e *epoll) Unlisten(fd int) error {
	l := e.listeners[int32(fd)]
	if l == nil {
		return nil
	}
	delete(e.listeners, l.fd)
	for i, r := range e.ready {
		if r == l {
			e.ready = append(e.ready[:i], e.ready[i+1:]...)
			break
		}
	}
	if errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_DEL, l.fd, nil); errno != 0 {
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", fd, errno)
	}
	return nil
}

func (e *epoll) Tag(s Sock, tag uint32) { e.slots.at(s).tag = tag }

func (e *epoll) Connect(addr netip.AddrPort, tag uint32) (Sock, syscall.Errno) {
	fd, errno := sysSocket(addr)
	if errno != 0 {
		return NoSock, errno
	}
	setFast(fd)
	errno = sysConnect(fd, addr)
	if errno != 0 && errno != unix.EINPROGRESS {
		sysClose(fd)
		return NoSock, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = wantConnect
	if errno := e.register(s, sl, bothEvents); errno != 0 {
		e.Close(s, true)
		return NoSock, errno
	}
	return s, 0
}

// setFast sets what every connection has from its first packet on: no Nagle
// delay, since a relay adds none of its own writes; and no quick ACK, since the
// answer that will carry the ACK is on its way (saves a packet per direction).
// Neither can fail on a TCP socket.
func setFast(fd int32) {
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

func (e *epoll) Recv(s Sock) {
	sl := e.slots.at(s)
	sl.flags |= wantRecv
	switch {
	case sl.flags&canRead != 0:
		e.enqueue(s, sl)
	case sl.flags&registered == 0:
		e.watch(s, sl)
	}
}

func (e *epoll) Send(s Sock, b []byte) (bool, syscall.Errno) {
	sl := e.slots.at(s)
	if sl.flags&wantSend != 0 {
		panic("netio: Send while another Send is in flight")
	}
	n, errno := sysSend(sl.fd, b)
	if errno == unix.EAGAIN {
		n, errno = 0, 0
	}
	if errno != 0 {
		return false, errno
	}
	if n == len(b) {
		return true, 0
	}
	rest := e.buffers.Get(len(b) - n)
	if rest == nil {
		return false, unix.ENOBUFS
	}
	sl.rest = append(rest, b[n:]...)
	sl.sent = 0
	sl.flags = sl.flags&^canWrite | wantSend
	return false, e.register(s, sl, bothEvents)
}

func (e *epoll) Shutdown(s Sock) { sysShutdown(e.slots.at(s).fd) }

func (e *epoll) Close(s Sock, reset bool) {
	sl := e.slots.at(s)
	if sl.fd < 0 {
		panic("netio: Close of a closed socket")
	}
	e.buffers.Put(sl.rest)
	if sl.pipe != nil {
		e.pipes.put(sl.pipe)
	}
	if sl.peer != NoSock { // the other end of a Splice stops waiting for this one
		other := e.slots.at(sl.peer)
		if other.peer == s {
			if other.pipe != nil {
				e.pipes.put(other.pipe)
				other.pipe = nil
			}
			other.flags &^= wantSplice | wantSink
			other.peer = NoSock
		}
	}
	if reset {
		sysLingerZero(sl.fd)
	}
	sysClose(sl.fd)
	e.slots.give(s, sl)
}

func (e *epoll) HasInput(s Sock) bool {
	sl := e.slots.at(s)
	var b [1]byte
	_, errno := sysRecv(sl.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return errno != unix.EAGAIN
}

func (e *epoll) Unsent(s Sock) int {
	n, err := unix.IoctlGetInt(int(e.slots.at(s).fd), unix.SIOCOUTQ)
	if err != nil {
		return 0 // not a connected socket any more
	}
	return n
}

func (e *epoll) Persist(s Sock, o Options) {
	// None of these fails on a TCP socket with values in range, and a conn
	// without keepalive is better than no conn.
	fd := e.slots.at(s).fd
	if o.KeepAlive > 0 {
		secs := int32(max(1, o.KeepAlive/time.Second))
		_ = sysSetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, secs)
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, secs)
	}
	if o.UserTimeout > 0 {
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int32(o.UserTimeout/time.Millisecond))
	}
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
	sl.flags |= registered
	if events == bothEvents {
		sl.flags |= fullEvents
	}
	ev := unix.EpollEvent{Events: events, Fd: int32(s), Pad: int32(sl.gen)}
	return sysEpollCtl(e.fd, op, sl.fd, &ev)
}

// enqueue puts s into the run queue once.
func (e *epoll) enqueue(s Sock, sl *slot) {
	if sl.flags&queued == 0 {
		sl.flags |= queued
		e.run = append(e.run, s)
	}
}

func (e *epoll) Wait(deadline Time) error {
	e.compact()
	n, errno := sysEpollPoll(e.fd, e.events[:])
	if n == 0 && errno == 0 && len(e.run) == 0 {
		n, errno = e.block(deadline)
	}
	e.now = Time(time.Since(e.base))
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
	ms := int(min((left+time.Millisecond-1)/time.Millisecond, 1<<30))
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
		sl.flags |= canRead | canWrite | sawEnd | sawError
	}
	if ev.Events&unix.EPOLLRDHUP != 0 {
		sl.flags |= canRead | sawEnd
	}
	if ev.Events&unix.EPOLLIN != 0 {
		sl.flags |= canRead
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		sl.flags |= canWrite
	}
	if sl.flags&wants != 0 {
		e.enqueue(s, sl)
	}
}

func (e *epoll) Next(c *Completion) bool {
	if e.woken {
		e.woken = false
		var b [8]byte
		_, _ = unix.Read(int(e.wakeFd), b[:]) // EAGAIN: already drained
		*c = Completion{Op: OpWake}
		return true
	}
	for len(e.ready) > 0 {
		if e.accept(e.ready[0], c) {
			return true
		}
	}
	for e.runHead < e.batch {
		s := e.run[e.runHead]
		e.runHead++
		sl := e.slots.at(s)
		sl.flags &^= queued
		if e.progress(s, sl, c) {
			// The socket may have a second operation: give that its turn too.
			if sl.flags&wants != 0 {
				e.enqueue(s, sl)
			}
			return true
		}
	}
	return false
}

// accept takes one connection; false means that l has had its share.
func (e *epoll) accept(l *listener, c *Completion) bool {
	if e.accepts >= maxAccepts {
		e.unready()
		return false
	}
	var sa sockaddr
	fd, errno := sysAccept(l.fd, &sa)
	switch errno {
	case 0:
	case unix.EAGAIN:
		e.unready()
		return false
	case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTUNREACH:
		// The connection died in the queue (accept(2)); take the next.
		e.accepts++
		return false
	default:
		e.unready()
		*c = Completion{Op: OpAccept, Errno: errno, Tag: l.tag, Sock: NoSock}
		return true
	}
	e.accepts++
	s, sl := e.slots.take(fd, 0)
	sl.flags = canRead | canWrite // try first, register when it would block
	*c = Completion{Op: OpAccept, Tag: l.tag, Sock: s, Peer: sa.get()}
	return true
}

// unready takes the first listener off the list until the next Wait.
func (e *epoll) unready() {
	e.ready[0].ready = false
	e.ready = append(e.ready[:0], e.ready[1:]...)
	e.accepts = 0
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

// connected ends a Connect when epoll has reported the socket writable.
func (e *epoll) connected(s Sock, sl *slot, c *Completion) bool {
	if sl.flags&(canWrite|sawEnd) == 0 {
		return false
	}
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s}
	if sl.flags&sawError != 0 {
		c.Errno = sysError(sl.fd)
	}
	sl.flags &^= wantConnect
	return true
}

// recv delivers the next bytes of s.
func (e *epoll) recv(s Sock, sl *slot, c *Completion) bool {
	n, errno := sysRecv(sl.fd, e.lent, 0)
	if errno == unix.EAGAIN {
		sl.flags &^= canRead
		e.watch(s, sl)
		return false
	}
	if n < len(e.lent) && errno == 0 && sl.flags&sawEnd == 0 {
		// The queue was emptied: the next byte or FIN makes an edge of its own,
		// or is told by the registration that the next Recv makes.
		sl.flags &^= canRead
	}
	sl.flags &^= wantRecv
	*c = Completion{Op: OpRecv, Tag: sl.tag, Sock: s, Errno: errno}
	if errno == 0 {
		c.N, c.Buf = n, e.lent[:n]
	}
	return true
}

// watch registers a socket that has turned out to block.
func (e *epoll) watch(s Sock, sl *slot) {
	if sl.flags&registered != 0 {
		return
	}
	if errno := e.register(s, sl, readEvents); errno != 0 {
		// ENOMEM or ENOSPC (epoll's watch limit): the socket cannot be waited
		// for. Reading it again now tells EAGAIN for ever, so end it: the
		// peer's next call sees the shutdown, ours an end of stream.
		_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(sl.fd), unix.SHUT_RDWR, 0)
		sl.flags |= canRead | sawEnd
		e.enqueue(s, sl)
	}
}

// sendRest sends on what a Send left behind.
func (e *epoll) sendRest(s Sock, sl *slot, c *Completion) bool {
	n, errno := sysSend(sl.fd, sl.rest[sl.sent:])
	if errno == unix.EAGAIN {
		sl.flags &^= canWrite
		return false
	}
	if errno == 0 {
		sl.sent += uint32(n)
		if int(sl.sent) < len(sl.rest) {
			sl.flags &^= canWrite
			return false
		}
	}
	*c = Completion{Op: OpSend, Tag: sl.tag, Sock: s, Errno: errno, N: int(sl.sent)}
	e.buffers.Put(sl.rest)
	sl.rest = nil
	sl.flags &^= wantSend
	return true
}

func (e *epoll) Now() Time         { return e.now }
func (e *epoll) Buffers() *Buffers { return e.buffers }

func (e *epoll) Wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(int(e.wakeFd), one[:]) // EAGAIN: 2^64-2 wakes are waiting already
}

func (e *epoll) Stats() EngineStats {
	return EngineStats{Socks: e.slots.open, Pipes: e.pipes.made, IdlePipes: len(e.pipes.idle)}
}

func (e *epoll) Shut() {
	for i := range e.slots.pages {
		for j := range e.slots.pages[i] {
			if sl := &e.slots.pages[i][j]; sl.gen&1 == 1 {
				e.Close(Sock(i<<pageBits|j), true)
			}
		}
	}
	e.pipes.shut()
	e.buffers.shut()
	sysClose(e.wakeFd)
	sysClose(e.fd)
}
