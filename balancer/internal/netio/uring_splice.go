//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func (e *uring) Splice(from, to Sock) {
	src, sink := e.slots.at(from), e.slots.at(to)
	pair(from, to, &src.peer, &sink.peer, src.flags&(rWantRecv|rWantSplice) != 0, sink.flags&rWantSend != 0)
	e.ackNow(src)
	sink.flags &^= rAckWaits
	src.flags |= rWantSplice
	e.slots.out(src).moved = 0
	if src.flags&rMore != 0 {
		e.enqueue(from, src)
	} else {
		e.await(ringInput, from, src)
	}
}

// isSink reports whether a Splice to s is in flight.
func (e *uring) isSink(s Sock, sl *ringSlot) bool {
	if sl.peer == NoSock {
		return false
	}
	src := e.slots.at(sl.peer)
	return src.peer == s && src.flags&rWantSplice != 0
}

// splice moves bytes from src to its sink.
//
// On entry src holds wantSplice, and its pipe is nil or holds exactly the bytes
// (pipe.n > 0) that the sink had no room for.
// On exit one and only one of these holds:
//   - false: the source is empty, nothing has moved, there is no pipe; a poll of
//     the source goes on;
//   - false: the sink is full and the pipe holds bytes; a poll of the sink, which
//     has wantSink, goes on;
//   - true: c has the outcome and there is no pipe.
func (e *uring) splice(from Sock, src *ringSlot, c *Completion) bool {
	out := src.moves
	if out.pipe == nil {
		// splice(2) does not get past an urgent byte, recv(2) does.
		if src.flags&rUrgent == 0 {
			out.pipe = e.pipes.get()
		}
		if out.pipe == nil {
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
	}
	src.flags &^= rMore
	sink := e.slots.at(src.peer)
	why, errno := out.pipe.move(src.fd, sink.fd, &out.moved, spliceBudget)
	switch why {
	case stopShare:
		src.flags |= rMore
	case stopEmpty:
		if out.moved > 0 {
			break
		}
		if sysAtMark(src.fd) {
			src.flags |= rUrgent
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
		e.dropPipe(src)
		e.await(ringInput, from, src)
		return false
	case stopEnd:
		src.fault.note(errno)
		if out.moved == 0 { // else the next Splice meets the end, or fault
			return e.spliced(from, src, c, syscall.Errno(src.fault), false)
		}
	case stopFull:
		sink.flags |= rWantSink
		e.await(ringRoom, src.peer, sink)
		return false
	case stopSink:
		errno = sendErrno(sink.fd, errno)
		sink.fault.note(errno)
		return e.spliced(from, src, c, errno, true)
	}
	return e.spliced(from, src, c, 0, false)
}

// spliced ends the Splice from src and gives its pipe back; one that still
// holds bytes, because the sink failed, is destroyed with them.
func (e *uring) spliced(from Sock, src *ringSlot, c *Completion, errno syscall.Errno, sink bool) bool {
	*c = Completion{Op: OpSplice, Tag: src.tag, Sock: from, N: int(src.moves.moved), Errno: errno, Sink: sink}
	if src.moves.moved >= settleAfter && src.flags&rSettled == 0 && settleRoom(src.fd) {
		src.flags |= rSettled
	}
	e.dropPipe(src)
	src.flags &^= rWantSplice
	e.slots.done(src)
	return true
}
