//go:build linux

package netio

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

func (e *core) Tag(s Sock, tag uint32)      { e.slots.at(s).tag = tag }
func (e *core) Local(s Sock) netip.AddrPort { return sysLocal(e.slots.at(s).fd) }
func (e *core) Ack(s Sock)                  { sysAckOnce(e.slots.at(s).fd) }
func (e *core) Persist(s Sock, o Options) {
	sl := e.slots.at(s)
	sl.flags &^= ours // the next connection would have them too
	sysPersist(sl.fd, o)
}

// ackNow sends the ACK that waits for a first Send to ride on, if there was none: the peer is the one to speak first,
// and would wait 200 ms for it before it even sees the connection.
func (e *core) ackNow(sl *slot) {
	if sl.flags&ackWaits != 0 {
		sl.flags &^= ackWaits
		sysAckOnce(sl.fd)
	}
}

// receiving begins a Recv.
func (e *core) receiving(s Sock) *slot {
	sl := e.slots.at(s)
	if sl.flags&(wantRecv|wantSplice) != 0 {
		panic("netio: Recv while a Recv or Splice is in flight")
	}
	e.ackNow(sl)
	sl.flags |= wantRecv
	return sl
}

// received ends a Recv: with b, at the end if that is empty, or with errno.
func (e *core) received(s Sock, sl *slot, b []byte, errno syscall.Errno, c *Completion) {
	switch {
	case errno != 0:
		sl.fault.note(errno)
	case len(b) == 0:
		errno = syscall.Errno(sl.fault)
		sl.flags |= finSeen
	}
	sl.flags &^= wantRecv
	*c = Completion{Op: OpRecv, Tag: sl.tag, Sock: s, Errno: errno}
	if errno == 0 {
		c.N, c.Buf = len(b), b
	}
}

func (e *core) Send(s Sock, b []byte) (bool, syscall.Errno) {
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
	if errno := e.own.awaitRoom(s, sl); errno != 0 {
		e.buffers.Put(rest)
		return false, errno
	}
	out := e.slots.out(sl)
	out.rest, out.sent = append(rest, b[n:]...), 0
	sl.flags |= wantSend
	return false, 0
}

// sendRest sends on what a Send left behind.
func (e *core) sendRest(s Sock, sl *slot, c *Completion) bool {
	out := sl.moves
	n, errno := sysSend(sl.fd, out.rest[out.sent:])
	if errno == 0 {
		out.sent += uint32(n)
	}
	if errno == unix.EAGAIN || errno == 0 && int(out.sent) < len(out.rest) {
		if errno = e.own.awaitRoom(s, sl); errno == 0 {
			return false
		}
	}
	return e.sent(s, sl, errno, c)
}

// sent ends a Send that has left something.
func (e *core) sent(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool {
	if errno == 0 && sl.flags&finLater != 0 {
		e.fin(sl)
	}
	errno = sendErrno(sl.fd, errno)
	sl.fault.note(errno)
	*c = Completion{Op: OpSend, Tag: sl.tag, Sock: s, Errno: errno, N: int(sl.moves.sent)}
	e.dropRest(sl)
	e.slots.done(sl)
	return true
}

func (e *core) dropRest(sl *slot) {
	e.buffers.Put(sl.moves.rest)
	sl.moves.rest = nil
	sl.flags &^= wantSend | finLater
}

func (e *core) Shutdown(s Sock) {
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

func (e *core) fin(sl *slot) {
	sysShutdown(sl.fd, unix.SHUT_WR)
	sl.flags |= finSent
}

// closing drops what is on its way from and to s.
func (e *core) closing(s Sock) *slot {
	sl := e.slots.at(s)
	if sl.fd < 0 {
		panic("netio: Close of a closed socket")
	}
	if sl.moves != nil {
		e.dropRest(sl)
		e.dropSplice(sl)
	}
	if sl.peer != NoSock { // the other end of a Splice stops waiting for this one
		if other := e.slots.at(sl.peer); other.peer == s {
			if other.flags&wantSplice != 0 {
				e.dropSplice(other)
			}
			other.flags &^= wantSink
			other.peer = NoSock
		}
	}
	return sl
}

func (e *core) HasInput(s Sock) bool {
	sl := e.slots.at(s)
	var b [1]byte
	_, errno := sysRecv(sl.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errno == unix.EAGAIN {
		return false
	}
	sl.fault.note(errno)
	return true
}

func (e *core) Unsent(s Sock) int {
	sl := e.slots.at(s)
	if sl.fault != 0 {
		return 0 // the kernel goes on counting what it has dropped
	}
	n := sysUnsent(sl.fd)
	if n > 0 && sysDead(sl.fd) {
		return 0
	}
	return n
}

func (e *core) Acked(s Sock) uint64 {
	sl := e.slots.at(s)
	switch {
	case sl.flags&wantSend != 0:
		return sysAcked(sl.fd, sl.moves.sent)
	case e.isSink(s, sl):
		return sysAcked(sl.fd, e.slots.at(sl.peer).moves.moved)
	}
	return sysAcked(sl.fd, 0)
}
