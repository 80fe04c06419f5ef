//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A listening descriptor is polled by the ring. Connections are taken by calls of our own: the peer's address would
// need one anyway, which a multishot accept does not tell, and none is taken that nobody asked for.

func (e *uring) Listen(fd int, tag uint32, _ bool) error {
	if e.listeners[int32(fd)] != nil {
		return fmt.Errorf("netio: listener %d: %w", fd, unix.EEXIST)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return fmt.Errorf("netio: listener %d: %w", fd, err)
	}
	e.listens++
	l := &listener{fd: int32(fd), tag: tag, gen: e.listens & genMask}
	e.listeners[l.fd] = l
	e.poll(l)
	return nil
}

func (e *uring) awaitConns(l *listener) syscall.Errno {
	e.poll(l)
	return 0
}

// poll polls l until a connection waits, behind all others that wait for the same queue.
func (e *uring) poll(l *listener) {
	e.add(sqe{opcode: opPollAdd, fd: l.fd, opFlags: pollEvents(unix.POLLIN), data: e.polls(l)})
}

// polls is the user data of the poll of l.
func (e *uring) polls(l *listener) uint64 { return userData(ringAccept, l.gen, Sock(l.fd)) }

func (e *uring) ignoreConns(l *listener) error {
	e.cancel(e.polls(l))
	// At once: the caller may close the descriptor, and a poll would keep its queue open.
	_ = e.ring.poll() // what it does not take goes with the next call
	return nil
}

// acceptable tells of a listener whose queue has connections, or that cannot be polled.
func (e *uring) acceptable(fd int32, gen uint32, res int32, c *Completion) bool {
	l := e.listeners[fd]
	if l == nil || l.gen != gen {
		return false
	}
	if res < 0 {
		e.poll(l)
		*c = Completion{Op: OpAccept, Errno: errnoOf(res), Tag: l.tag, Sock: NoSock}
		return true
	}
	e.hasConns(l)
	return e.nextConn(c)
}

func (e *uring) connect(s Sock, sl *slot, to netip.AddrPort, first []byte) (bool, syscall.Errno) {
	var sa sockaddr
	entry := sqe{opcode: opConnect, off: uint64(sa.put(to))}
	piece := int32(0)
	if len(first) > 0 {
		piece = e.firsts.take(first)
	}
	if piece == 0 {
		*e.begin(ringConnect, s, sl, entry) = sa
		return false, 0
	}
	e.slots.out(sl).first = piece
	sl.flags |= hasConnect | hasFirst
	entry.fd, entry.flags, entry.data = sl.fd, e.quiet(), userData(ringConnect, sl.gen, s)
	e.begun()
	*e.ring.addLinked(entry, sqe{
		opcode: opSend, fd: sl.fd, addr: address(unsafe.Pointer(&e.firsts.at(piece)[0])), length: uint32(len(first)),
		opFlags: unix.MSG_NOSIGNAL | unix.MSG_WAITALL, data: userData(ringFirst, sl.gen, s),
	}) = sa
	return true, 0
}

// endConnect ends a Connect that has nothing to send, or one that has failed.
func (e *uring) endConnect(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool {
	if errno == 0 && sl.flags&hasFirst != 0 {
		return false // by a kernel that cannot be quiet; the send goes on
	}
	return e.connected(s, sl, errno, c)
}

// firstSent ends a Connect that had something to send.
func (e *uring) firstSent(s Sock, sl *slot, res int32, c *Completion) bool {
	if sl.flags&wantConnect == 0 {
		return false // the connect has failed, and told
	}
	errno := sendErrno(sl.fd, errnoOf(res))
	sl.fault.note(errno)
	sl.flags &^= wantConnect | ackWaits
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s, Errno: errno, Sink: errno != 0}
	return true
}

func (e *uring) Recv(s Sock) {
	e.receive(s, e.receiving(s))
}

// receive waits for the next bytes of s.
func (e *uring) receive(s Sock, sl *slot) {
	if e.bufs == nil {
		e.await(ringInput, s, sl)
		return
	}
	entry := sqe{opcode: opRecv, flags: sqeBufferSelect, length: RecvSize, bufGroup: recvGroup}
	if sl.flags&sawEmpty != 0 {
		entry.ioprio = recvPollFirst
	}
	e.begin(ringRecv, s, sl, entry)
}

// endRecv ends a receive of the kernel's.
func (e *uring) endRecv(s Sock, sl *slot, q cqe, c *Completion) bool {
	n, errno := int(q.res), errnoOf(q.res)
	switch errno {
	case unix.ENOBUFS:
		// All buffers were lent or full. Those of this batch are back before the next one begins.
		e.starved++
		e.bufs.another()
		e.receive(s, sl)
		return false
	case unix.EAGAIN, unix.EINTR:
		e.receive(s, sl)
		return false
	}
	if n <= 0 && q.flags&cqeBuffer != 0 {
		e.bufs.give(uint16(q.flags >> cqeBufShift))
	}
	sl.flags &^= sawEmpty | canRead // a Splice does better to wait first
	if n > 0 && q.flags&cqeNonEmpty == 0 {
		sl.flags |= sawEmpty
	}
	var b []byte
	if n > 0 {
		e.lent = int(q.flags >> cqeBufShift)
		b = e.bufs.at(uint16(e.lent), n)
	}
	e.received(s, sl, b, errno, c)
	return true
}

func (e *uring) awaitInput(s Sock, sl *slot) { e.await(ringInput, s, sl) }

func (e *uring) awaitRoom(s Sock, sl *slot) syscall.Errno {
	e.await(ringRoom, s, sl) // its completion has the errno
	return 0
}

// readable goes on with what has waited for input. An errno says that it cannot be waited for: the kernel has no memory
// for a poll.
func (e *uring) readable(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool {
	switch {
	case sl.flags&wantSplice != 0 && errno != 0:
		return e.spliced(s, sl, c, errno, false)
	case sl.flags&wantSplice != 0:
		return e.splice(s, sl, c)
	case sl.flags&wantRecv != 0 && e.bufs == nil && errno != 0:
		e.received(s, sl, nil, errno, c)
		return true
	case sl.flags&wantRecv != 0 && e.bufs == nil:
		n, errno := sysRecv(sl.fd, e.plain, 0)
		if errno == unix.EAGAIN {
			e.await(ringInput, s, sl)
			return false
		}
		e.received(s, sl, e.plain[:max(n, 0)], errno, c)
		return true
	}
	return false // whoever has waited was closed
}

// writable goes on with what has waited for room; see readable for errno.
func (e *uring) writable(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool {
	switch {
	case sl.flags&wantSend != 0 && errno != 0:
		return e.sent(s, sl, errno, c)
	case sl.flags&wantSend != 0:
		return e.sendRest(s, sl, c)
	case sl.flags&wantSink != 0:
		sl.flags &^= wantSink
		if errno != 0 {
			return e.spliced(sl.peer, e.slots.at(sl.peer), c, errno, true)
		}
		return e.splice(sl.peer, e.slots.at(sl.peer), c)
	}
	return false // the source was closed
}

func (e *uring) Close(s Sock, reset bool) {
	sl := e.closing(s)
	keep := sl.reusable(reset)
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
		e.closes = true
	}
	e.slots.close(s, sl)
}

func (e *uring) HasInput(s Sock) bool {
	sl := e.slots.at(s)
	return e.core.HasInput(s) || sl.flags&hasRecv != 0 && e.hasReceived(userData(ringRecv, sl.gen, s))
}

// hasReceived reports whether the kernel has ended a receive that Next has not handed out.
func (e *uring) hasReceived(data uint64) bool {
	for i, end := e.ring.cqHead, e.ring.end(); i != end; i++ {
		if q := e.ring.at(i); q.data == data {
			return q.res >= 0 || errnoOf(q.res) == unix.ECONNRESET
		}
	}
	return false
}

func (e *uring) relieve() bool {
	spares, closes := e.spares.shut(), e.closes
	if closes {
		e.ring.submit()
		e.closes = false
	}
	return spares || closes
}

// unconnect ends the connection of s, and keeps the socket when all that the kernel does for it has ended. A receive of
// the kernel's ends by it.
func (e *uring) unconnect(s Sock, sl *slot) {
	sl.flags |= kept
	*e.begin(ringDrop, s, sl, sqe{opcode: opConnect, off: unix.SizeofSockaddrInet4}) = sockaddr{} // AF_UNSPEC
}

// done frees a closed slot when the kernel is done with it.
func (e *uring) done(s Sock, sl *slot) {
	if sl.flags&(has|kept) == kept {
		fd := int32(sl.tag)
		if sl.flags&spoilt != 0 {
			sysLingerZero(fd)
			sysClose(fd)
		} else {
			e.spares.put(fd, sl.flags&six != 0, e.now)
		}
	}
	e.slots.release(s, sl)
}
