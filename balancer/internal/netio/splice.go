//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// spliceBudget bounds the bytes that one Splice moves in a batch, so that a fast flow leaves time to the others.
const spliceBudget = 1 << 20

// Splice makes two sockets each other's, until one is closed: the opposite flow may be spliced at the same time.
func (e *core) Splice(from, to Sock) {
	src, sink := e.slots.at(from), e.slots.at(to)
	switch {
	case src.flags&(wantRecv|wantSplice) != 0:
		panic("netio: Splice while a Recv or Splice is in flight")
	case sink.flags&wantSend != 0:
		panic("netio: Splice while a Send is in flight")
	case (src.peer != NoSock || sink.peer != NoSock) && (src.peer != to || sink.peer != from):
		panic("netio: Splice with a third socket")
	}
	src.peer, sink.peer = to, from
	e.ackNow(src)
	sink.flags &^= ackWaits
	src.flags |= wantSplice
	e.slots.out(src).moved = 0
	if src.flags&canRead != 0 {
		e.enqueue(from, src)
	} else {
		e.own.awaitInput(from, src)
	}
}

// isSink reports whether a Splice to s is in flight.
func (e *core) isSink(s Sock, sl *slot) bool {
	if sl.peer == NoSock {
		return false
	}
	src := e.slots.at(sl.peer)
	return src.peer == s && src.flags&wantSplice != 0
}

// splice moves bytes from src to its sink.
//
// On entry src holds wantSplice, and its pipe is nil or holds exactly the bytes (pipe.n > 0) that the sink had no room
// for. On exit one and only one of these holds:
//   - false: the source is empty, nothing has moved, there is no pipe; input of the source is awaited;
//   - false: the sink is full and the pipe holds bytes; room of the sink, which has wantSink, is awaited;
//   - true: c has the outcome and there is no pipe.
func (e *core) splice(from Sock, src *slot, c *Completion) bool {
	out := src.moves
	if out.pipe == nil {
		// splice(2) does not get past an urgent byte, recv(2) does.
		if src.flags&urgent == 0 {
			out.pipe = e.pipes.get()
		}
		if out.pipe == nil {
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
	}
	most := uint32(spliceBudget)
	if src.flags&urgent != 0 {
		most = 1 // what the sink had no room for
	}
	sink := e.slots.at(src.peer)
	why, errno := out.pipe.move(src.fd, sink.fd, &out.moved, most)
	switch why {
	case stopShare:
		src.flags |= canRead
	case stopEmpty:
		src.flags &^= canRead
		if out.moved > 0 {
			break
		}
		if sysAtMark(src.fd) {
			src.flags |= urgent
			return e.spliced(from, src, c, unix.ENOBUFS, false)
		}
		e.dropPipe(src)
		e.own.awaitInput(from, src)
		return false
	case stopEnd:
		src.fault.note(errno)
		if out.moved == 0 { // else the next Splice meets the end, or fault
			return e.spliced(from, src, c, syscall.Errno(src.fault), false)
		}
	case stopFull:
		if errno = e.own.awaitRoom(src.peer, sink); errno == 0 {
			sink.flags |= wantSink
			return false
		}
		sink.fault.note(errno)
		return e.spliced(from, src, c, errno, true)
	case stopSink:
		errno = sendErrno(sink.fd, errno)
		sink.fault.note(errno)
		return e.spliced(from, src, c, errno, true)
	}
	return e.spliced(from, src, c, 0, false)
}

// spliced ends the Splice from src and gives its pipe back; one that still holds bytes, because the sink failed, is
// destroyed with them.
func (e *core) spliced(from Sock, src *slot, c *Completion, errno syscall.Errno, sink bool) bool {
	moved := src.moves.moved
	*c = Completion{Op: OpSplice, Tag: src.tag, Sock: from, N: int(moved), Errno: errno, Sink: sink}
	if moved >= boundAfter && src.flags&bounded == 0 && boundRoom(src.fd) {
		src.flags |= bounded
	}
	e.dropSplice(src)
	return true
}

// dropSplice ends what a Splice from src holds.
func (e *core) dropSplice(src *slot) {
	e.dropPipe(src)
	src.flags &^= wantSplice
	e.slots.done(src)
}

func (e *core) dropPipe(sl *slot) {
	if p := sl.moves.pipe; p != nil {
		e.pipes.put(p)
		sl.moves.pipe = nil
	}
}
