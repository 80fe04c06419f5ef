//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

func (e *epoll) Tag(s Sock, tag uint32) { e.slots.at(s).tag = tag }

// Connect sends nothing of first: the call that would is no other than Send's.
func (e *epoll) Connect(src Source, to netaddr.Addr, _ []byte, tag uint32) (Sock, bool, syscall.Errno) {
	if to.IsUnix() {
		s, errno := e.connectUnix(to.Path(), tag)
		return s, false, errno
	}
	addr := to.IP()
	fd, kept, errno := e.spares.socket(src, addr, e.now)
	if errno != 0 {
		return NoSock, false, errno
	}
	errno = sysConnect(fd, addr)
	s, sl := e.slots.take(fd, tag)
	sl.flags = wantConnect | ackWaits
	if kept {
		sl.flags |= registered // under the name of the socket that it was
	}
	if reusable(src, addr) {
		sl.flags |= ours
	}
	if isSix(addr) {
		sl.flags |= six
	}
	if errno != 0 && errno != unix.EINPROGRESS { // told as the ring does: with the next batch
		sl.fault = fault(errno)
		sl.flags |= canWrite
		e.enqueue(s, sl)
		return s, false, 0
	}
	if errno := e.register(s, sl, bothEvents); errno != 0 {
		e.Close(s, true)
		return NoSock, false, errno
	}
	return s, false, 0
}

// setFast sets what a connection needs before its first packet: no Nagle delay,
// since a relay adds no small writes of its own; and no quick ACK, so that the one
// that ends the handshake rides on the hello (it saves a packet). Neither can fail
// on a TCP socket.
func setFast(fd int32) {
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

func (e *epoll) Recv(s Sock) {
	sl := e.slots.at(s)
	if sl.flags&(wantRecv|wantSplice) != 0 {
		panic("netio: Recv while a Recv or Splice is in flight")
	}
	e.ackNow(sl)
	sl.flags |= wantRecv
	switch {
	case sl.flags&canRead != 0:
		e.enqueue(s, sl)
	case sl.flags&registered == 0:
		e.watch(s, sl)
	}
}

// ackNow sends the ACK that waits for a first Send to ride on, if there was none:
// the peer is the one to speak first, and would wait 200 ms for it before it even
// sees the connection.
func (e *epoll) ackNow(sl *slot) {
	if sl.flags&ackWaits != 0 {
		sl.flags &^= ackWaits
		sysAckOnce(sl.fd)
	}
}

func (e *epoll) Ack(s Sock) { sysAckOnce(e.slots.at(s).fd) }

func (e *epoll) Send(s Sock, b []byte) (bool, syscall.Errno) {
	sl := e.slots.at(s)
	if sl.flags&wantSend != 0 || e.isSink(s, sl) {
		panic("netio: Send while a Send or Splice is in flight")
	}
	sl.flags &^= ackWaits
	n, errno := sysSend(sl.fd, b)
	if errno == unix.EAGAIN {
		n, errno = 0, 0
	}
	if errno != 0 {
		errno = sendErrno(sl.fd, errno)
		sl.fault.note(errno)
		return false, errno
	}
	if n == len(b) {
		return true, 0
	}
	rest := e.buffers.GetRest(len(b) - n)
	if rest == nil {
		return false, unix.ENOBUFS
	}
	sl.flags &^= canWrite
	if errno := e.register(s, sl, bothEvents); errno != 0 {
		e.buffers.Put(rest)
		return false, errno
	}
	sl.rest = append(rest, b[n:]...)
	sl.sent = 0
	sl.flags |= wantSend
	return false, 0
}

func (e *epoll) Shutdown(s Sock) {
	sl := e.slots.at(s)
	switch {
	case sl.flags&wantSend != 0:
		sl.flags |= finLater
	case e.isSink(s, sl):
		panic("netio: Shutdown while a Splice is in flight")
	default:
		e.fin(sl)
	}
}

func (e *epoll) fin(sl *slot) {
	sysShutdown(sl.fd, unix.SHUT_WR)
	sl.flags |= finSent
}

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
	switch {
	case e.reusable(sl, reset) && sysUnconnect(sl.fd) == 0:
		e.spares.put(sl.fd, sl.flags&six != 0, e.now)
	case reset:
		sysLingerZero(sl.fd)
		fallthrough
	default:
		sysClose(sl.fd)
	}
	e.slots.give(s, sl)
}

// reusable reports whether the connection of s can be ended and its socket kept; see
// spares.
func (e *epoll) reusable(sl *slot, reset bool) bool {
	if sl.flags&(ours|wantConnect) != ours || sl.peer != NoSock {
		return false
	}
	if reset || sl.fault == fault(unix.ECONNRESET) {
		return true
	}
	return sl.flags&(finSent|finSeen) == finSent|finSeen && sysDead(sl.fd)
}

func (e *epoll) HasInput(s Sock) bool {
	sl := e.slots.at(s)
	var b [1]byte
	_, errno := sysRecv(sl.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errno == unix.EAGAIN {
		return false
	}
	sl.fault.note(errno)
	return true
}

func (e *epoll) Unsent(s Sock) int {
	sl := e.slots.at(s)
	if sl.flags&sawError != 0 || sl.fault != 0 {
		return 0 // the kernel goes on counting what it has dropped
	}
	return sysUnsent(sl.fd)
}

func (e *epoll) Acked(s Sock) uint64 {
	sl := e.slots.at(s)
	switch {
	case sl.flags&wantSend != 0:
		return sysAcked(sl.fd, sl.sent)
	case e.isSink(s, sl):
		return sysAcked(sl.fd, e.slots.at(sl.peer).moved)
	}
	return sysAcked(sl.fd, 0)
}

func (e *epoll) Persist(s Sock, o Options) {
	sl := e.slots.at(s)
	sl.flags &^= ours // the next connection would have them too
	sysPersist(sl.fd, o)
}

// connected ends a Connect when epoll has reported the socket writable.
func (e *epoll) connected(s Sock, sl *slot, c *Completion) bool {
	if sl.flags&(canWrite|sawEnd) == 0 {
		return false
	}
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s, Errno: syscall.Errno(sl.fault)} // of connect(2) itself
	if c.Errno == 0 && sl.flags&sawEnd != 0 {
		c.Errno = sysError(sl.fd)
		sl.fault.note(c.Errno)
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
	switch {
	case errno != 0:
		sl.fault.note(errno)
	case n == 0:
		errno = syscall.Errno(sl.fault)
		sl.flags |= finSeen
	case n < len(e.lent) && sl.flags&(sawEnd|urgent) == 0:
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
		if sl.flags&finLater != 0 {
			e.fin(sl)
		}
	}
	errno = sendErrno(sl.fd, errno)
	sl.fault.note(errno)
	*c = Completion{Op: OpSend, Tag: sl.tag, Sock: s, Errno: errno, N: int(sl.sent)}
	e.buffers.Put(sl.rest)
	sl.rest = nil
	sl.flags &^= wantSend | finLater
	return true
}
