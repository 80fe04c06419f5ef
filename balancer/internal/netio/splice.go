//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// spliceBudget bounds the bytes that one Splice moves in a batch, so that a
// fast flow leaves time to the others.
const spliceBudget = 1 << 20

func (e *epoll) Splice(from, to Sock) {
	src, sink := e.slots.at(from), e.slots.at(to)
	switch {
	case src.flags&(wantRecv|wantSplice) != 0:
		panic("netio: Splice while a Recv or Splice is in flight")
	case sink.flags&wantSend != 0:
		panic("netio: Splice while a Send is in flight")
	case (src.peer != NoSock || sink.peer != NoSock) && (src.peer != to || sink.peer != from):
		panic("netio: Splice with a third socket")
	}
	e.ackNow(src)
	sink.flags &^= ackWaits
	// The two stay each other's peer until one is closed: the opposite flow may
	// be spliced at the same time.
	src.peer, sink.peer = to, from
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
	for {
		if src.pipe.n == 0 {
			if src.moved >= spliceBudget || src.moved > 0 && src.flags&urgent != 0 {
				return e.spliced(from, src, c, 0, false)
			}
			n, errno := sysSplice(src.fd, src.pipe.w, src.pipe.size)
			if errno == unix.EAGAIN {
				// The pipe is empty, so it is the socket that has nothing.
				src.flags &^= canRead
				e.watch(from, src)
				if src.moved > 0 {
					return e.spliced(from, src, c, 0, false)
				}
				e.pipes.put(src.pipe)
				src.pipe = nil
				return false
			}
			if errno != 0 || n == 0 {
				src.fail(errno)
				if src.moved > 0 {
					return e.spliced(from, src, c, 0, false) // the next Splice meets the end, or fault
				}
				return e.spliced(from, src, c, syscall.Errno(src.fault), false)
			}
			src.pipe.n = n
		}
		sink := e.slots.at(src.peer)
		n, errno := sysSplice(src.pipe.r, sink.fd, src.pipe.n)
		if errno == unix.EAGAIN {
			// The pipe holds bytes, so it is the sink that has no room.
			sink.flags &^= canWrite
			if errno = e.register(src.peer, sink, bothEvents); errno == 0 {
				sink.flags |= wantSink
				return false
			}
		}
		if errno != 0 {
			sink.fail(errno)
			return e.spliced(from, src, c, errno, true)
		}
		src.pipe.n -= n
		src.moved += uint32(n)
	}
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
