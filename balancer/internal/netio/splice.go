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
		if src.pipe = e.pipes.get(); src.pipe == nil {
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
	}
	for {
		if src.pipe.n == 0 {
			if src.moved >= spliceBudget {
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
				if src.moved > 0 {
					errno = 0 // an end or an error stays: the next Splice meets it
				}
				return e.spliced(from, src, c, errno, false)
			}
			src.pipe.n = n
		}
		sink := e.slots.at(src.peer)
		n, errno := sysSplice(src.pipe.r, sink.fd, src.pipe.n)
		if errno == unix.EAGAIN {
			// The pipe holds bytes, so it is the sink that has no room.
			sink.flags = sink.flags&^canWrite | wantSink
			errno = e.register(src.peer, sink, bothEvents)
			if errno == 0 {
				return false
			}
		}
		if errno != 0 {
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
	src.flags &^= wantSplice
	*c = Completion{Op: OpSplice, Tag: src.tag, Sock: from, N: int(src.moved), Errno: errno, Sink: sink}
	return true
}
