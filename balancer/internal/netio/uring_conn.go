//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func (e *uring) Tag(s Sock, tag uint32) { e.slots.at(s).tag = tag }

func (e *uring) Recv(s Sock) {
	sl := e.slots.at(s)
	if sl.flags&(rWantRecv|rWantSplice) != 0 {
		panic("netio: Recv while a Recv or Splice is in flight")
	}
	e.ackNow(sl)
	sl.flags |= rWantRecv
	e.receive(s, sl)
}

// receive waits for the next bytes of s.
func (e *uring) receive(s Sock, sl *ringSlot) {
	if e.bufs == nil {
		e.await(ringInput, s, sl)
		return
	}
	entry := sqe{opcode: opRecv, flags: sqeBufferSelect, length: RecvSize, bufGroup: recvGroup}
	if sl.flags&rEmpty != 0 {
		entry.ioprio = recvPollFirst
	}
	e.begin(ringRecv, s, sl, entry)
}

// ackNow sends the ACK that waits for a first Send to ride on; see epoll.ackNow.
func (e *uring) ackNow(sl *ringSlot) {
	if sl.flags&rAckWaits != 0 {
		sl.flags &^= rAckWaits
		sysAckOnce(sl.fd)
	}
}

func (e *uring) Ack(s Sock) { sysAckOnce(e.slots.at(s).fd) }

// received ends a receive of the kernel's.
func (e *uring) received(s Sock, sl *ringSlot, q cqe, c *Completion) bool {
	n, errno := int(q.res), errnoOf(q.res)
	switch errno {
	case unix.ENOBUFS:
		// All buffers were lent or full. Those of this batch are back before the
		// next one begins.
		e.starved++
		e.receive(s, sl)
		return false
	case unix.EAGAIN, unix.EINTR:
		e.receive(s, sl)
		return false
	}
	if n <= 0 && q.flags&cqeBuffer != 0 {
		e.bufs.give(uint16(q.flags >> cqeBufShift))
	}
	sl.flags &^= rEmpty
	if n > 0 && q.flags&cqeNonEmpty == 0 {
		sl.flags |= rEmpty
	}
	e.ended(s, sl, n, errno, c)
	if c.Errno == 0 && n > 0 {
		e.lent = int(q.flags >> cqeBufShift)
		c.N, c.Buf = n, e.bufs.at(uint16(e.lent), n)
	}
	return true
}

// ended ends a Recv, after n bytes, at the end, or with errno.
func (e *uring) ended(s Sock, sl *ringSlot, n int, errno syscall.Errno, c *Completion) {
	switch {
	case errno != 0:
		sl.fault.note(errno)
	case n == 0:
		errno = syscall.Errno(sl.fault)
		sl.flags |= rFinSeen
	}
	sl.flags &^= rWantRecv
	*c = Completion{Op: OpRecv, Tag: sl.tag, Sock: s, Errno: errno}
}

// readable goes on with what has waited for input. An errno says that it cannot be
// waited for: the kernel has no memory for a poll.
func (e *uring) readable(s Sock, sl *ringSlot, errno syscall.Errno, c *Completion) bool {
	switch {
	case sl.flags&rWantSplice != 0 && errno != 0:
		return e.spliced(s, sl, c, errno, false)
	case sl.flags&rWantSplice != 0:
		return e.splice(s, sl, c)
	case sl.flags&rWantRecv != 0 && e.bufs == nil && errno != 0:
		e.ended(s, sl, 0, errno, c)
		return true
	case sl.flags&rWantRecv != 0 && e.bufs == nil:
		n, errno := sysRecv(sl.fd, e.plain, 0)
		if errno == unix.EAGAIN {
			e.await(ringInput, s, sl)
			return false
		}
		e.ended(s, sl, n, errno, c)
		if c.Errno == 0 && n > 0 {
			c.N, c.Buf = n, e.plain[:n]
		}
		return true
	}
	return false // whoever has waited was closed
}

// writable goes on with what has waited for room; see readable for errno.
func (e *uring) writable(s Sock, sl *ringSlot, errno syscall.Errno, c *Completion) bool {
	switch {
	case sl.flags&rWantSend != 0 && errno != 0:
		return e.sent(s, sl, errno, c)
	case sl.flags&rWantSend != 0:
		return e.sendRest(s, sl, c)
	case sl.flags&rWantSink != 0:
		sl.flags &^= rWantSink
		if errno != 0 {
			return e.spliced(sl.peer, e.slots.at(sl.peer), c, errno, true)
		}
		return e.splice(sl.peer, e.slots.at(sl.peer), c)
	}
	return false // the source was closed
}

func (e *uring) Send(s Sock, b []byte) (bool, syscall.Errno) {
	sl := e.slots.at(s)
	if sl.flags&rWantSend != 0 || e.isSink(s, sl) {
		panic("netio: Send while a Send or Splice is in flight")
	}
	sl.flags &^= rAckWaits
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
	out := e.slots.out(sl)
	out.rest, out.sent = append(rest, b[n:]...), 0
	sl.flags |= rWantSend
	e.await(ringRoom, s, sl)
	return false, 0
}

// sendRest sends on what a Send left behind.
func (e *uring) sendRest(s Sock, sl *ringSlot, c *Completion) bool {
	out := sl.moves
	n, errno := sysSend(sl.fd, out.rest[out.sent:])
	if errno == 0 {
		out.sent += uint32(n)
	}
	if errno == unix.EAGAIN || errno == 0 && int(out.sent) < len(out.rest) {
		e.await(ringRoom, s, sl)
		return false
	}
	return e.sent(s, sl, errno, c)
}

// sent ends a Send that has left something.
func (e *uring) sent(s Sock, sl *ringSlot, errno syscall.Errno, c *Completion) bool {
	if errno == 0 && sl.flags&rFinLater != 0 {
		e.fin(sl)
	}
	errno = sendErrno(sl.fd, errno)
	sl.fault.note(errno)
	*c = Completion{Op: OpSend, Tag: sl.tag, Sock: s, Errno: errno, N: int(sl.moves.sent)}
	e.buffers.Put(sl.moves.rest)
	sl.moves.rest = nil
	sl.flags &^= rWantSend | rFinLater
	e.slots.done(sl)
	return true
}

func (e *uring) Shutdown(s Sock) {
	sl := e.slots.at(s)
	switch {
	case sl.flags&rWantSend != 0:
		sl.flags |= rFinLater
	case e.isSink(s, sl):
		panic("netio: Shutdown while a Splice is in flight")
	default:
		e.fin(sl)
	}
}

func (e *uring) fin(sl *ringSlot) {
	sysShutdown(sl.fd, unix.SHUT_WR)
	sl.flags |= rFinSent
}

func (e *uring) Close(s Sock, reset bool) {
	sl := e.slots.at(s)
	if sl.fd < 0 {
		panic("netio: Close of a closed socket")
	}
	e.drop(sl)
	if sl.peer != NoSock { // the other end of a Splice stops waiting for this one
		if other := e.slots.at(sl.peer); other.peer == s {
			if other.flags&rWantSplice != 0 {
				e.dropPipe(other)
			}
			other.flags &^= rWantSplice | rWantSink
			other.peer = NoSock
			e.slots.done(other)
		}
	}
	keep := e.reusable(sl, reset)
	if reset && !keep {
		sysLingerZero(sl.fd)
	}
	for _, op := range [...]ringOp{ringRecv, ringInput, ringRoom, ringConnect, ringFirst} {
		if sl.flags&op.has() != 0 && (op != ringRecv || !keep) { // it would keep the connection open
			e.cancel(userData(op, sl.gen, s))
		}
	}
	if keep {
		e.unconnect(s, sl)
	} else {
		e.add(sqe{opcode: opClose, flags: e.quiet(), fd: sl.fd, data: userData(ringNothing, 0, 0)})
		e.closing = true
	}
	e.slots.close(s, sl)
}

// drop releases what sl holds.
func (e *uring) drop(sl *ringSlot) {
	if sl.moves == nil {
		return
	}
	e.buffers.Put(sl.moves.rest)
	sl.moves.rest = nil
	e.dropPipe(sl)
	sl.flags &^= rWantSend | rWantSplice
	e.slots.done(sl)
}

func (e *uring) dropPipe(sl *ringSlot) {
	if p := sl.moves.pipe; p != nil {
		e.pipes.put(p)
		sl.moves.pipe = nil
	}
}

func (e *uring) HasInput(s Sock) bool {
	sl := e.slots.at(s)
	var b [1]byte
	_, errno := sysRecv(sl.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errno == unix.EAGAIN {
		return sl.flags&rHasRecv != 0 && e.hasReceived(userData(ringRecv, sl.gen, s))
	}
	sl.fault.note(errno)
	return true
}

// hasReceived reports whether the kernel has ended a receive that Next has not
// handed out.
func (e *uring) hasReceived(data uint64) bool {
	for i, end := e.ring.cqHead, e.ring.end(); i != end; i++ {
		if q := e.ring.at(i); q.data == data {
			return q.res >= 0 || errnoOf(q.res) == unix.ECONNRESET
		}
	}
	return false
}

func (e *uring) Unsent(s Sock) int {
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

func (e *uring) Acked(s Sock) uint64 {
	sl := e.slots.at(s)
	switch {
	case sl.flags&rWantSend != 0:
		return sysAcked(sl.fd, sl.moves.sent)
	case e.isSink(s, sl):
		return sysAcked(sl.fd, e.slots.at(sl.peer).moves.moved)
	}
	return sysAcked(sl.fd, 0)
}

func (e *uring) Persist(s Sock, o Options) {
	sl := e.slots.at(s)
	sl.flags &^= rOurs // the next connection would have them too
	sysPersist(sl.fd, o)
}
