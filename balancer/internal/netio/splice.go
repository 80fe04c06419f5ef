//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func (e *epoll) Splice(from, to Sock) {
	src, sink := e.slots.at(from), e.slots.at(to)
	pair(from, to, &src.peer, &sink.peer, src.flags&(wantRecv|wantSplice) != 0, sink.flags&wantSend != 0)
	e.ackNow(src)
	sink.flags &^= ackWaits
	src.flags |= wantSplice
	src.moved = 0
	switch {
	case src.flags&canRead != 0:
		e.enqueue(from, src)
	case src.flags&registered == 0:
		e.watch(from, src)
	}
}

// isSink reports whether a Splice to s is in flight.
func (e *epoll) isSink(s Sock, sl *slot) bool {
	if sl.peer == NoSock {
		return false
	}
	src := e.slots.at(sl.peer)
	return src.peer == s && src.flags&wantSplice != 0
}

// splice moves bytes from src to its sink.
//
// On entry src holds wantSplice, and src.pipe is nil or holds exactly the bytes
// (pipe.n > 0) that the sink had no room for.
// On exit one and only one of these holds:
//   - false: the source is empty, nothing has moved, src.pipe is nil; an edge of
//     the source goes on;
//   - false: the sink is full and src.pipe holds bytes; an edge of the sink,
//     which has wantSink, goes on;
//   - true: c has the outcome and src.pipe is nil.
func (e *epoll) splice(from Sock, src *slot, c *Completion) bool {
	if src.pipe == nil {
		// splice(2) does not get past an urgent byte, recv(2) does.
		if src.flags&urgent == 0 {
			src.pipe = e.pipes.get()
		}
		if src.pipe == nil {
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
	}
	most := uint32(spliceBudget)
	if src.flags&urgent != 0 {
		most = 1 // what the sink had no room for
	}
	sink := e.slots.at(src.peer)
	why, errno := src.pipe.move(src.fd, sink.fd, &src.moved, most)
	switch why {
	case stopEmpty:
		src.flags &^= canRead
		e.watch(from, src)
		if src.moved == 0 {
			e.pipes.put(src.pipe)
			src.pipe = nil
			return false
		}
	case stopEnd:
		src.fault.note(errno)
		if src.moved == 0 { // else the next Splice meets the end, or fault
			return e.spliced(from, src, c, syscall.Errno(src.fault), false)
		}
	case stopFull:
		sink.flags &^= canWrite
		if errno = e.register(src.peer, sink, bothEvents); errno == 0 {
			sink.flags |= wantSink
			return false
		}
		sink.fault.note(errno)
		return e.spliced(from, src, c, errno, true)
	case stopSink:
		errno = sendErrno(sink.fd, errno)
		sink.fault.note(errno)
		return e.spliced(from, src, c, errno, true)
	case stopShare:
	}
	return e.spliced(from, src, c, 0, false)
}

// spliced ends the Splice from src and gives its pipe back; one that still
// holds bytes, because the sink failed, is destroyed with them.
func (e *epoll) spliced(from Sock, src *slot, c *Completion, errno syscall.Errno, sink bool) bool {
	if src.pipe != nil {
		e.pipes.put(src.pipe)
		src.pipe = nil
	}
	if src.moved >= settleAfter && src.flags&settled == 0 && settleRoom(src.fd) {
		src.flags |= settled
	}
	src.flags &^= wantSplice
	*c = Completion{Op: OpSplice, Tag: src.tag, Sock: from, N: int(src.moved), Errno: errno, Sink: sink}
	return true
}
