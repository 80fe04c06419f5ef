//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// spliceBudget bounds the bytes that one Splice moves in a batch, so that a
// fast flow leaves time to the others.
const spliceBudget = 1 << 20

// stop is why moving bytes through a pipe has stopped.
type stop uint8

const (
	stopShare stop = iota // the flow has had its share
	stopEmpty             // the source has nothing now
	stopEnd               // the source has ended, or failed if there is an errno
	stopFull              // the sink has no room now, and the pipe holds bytes
	stopSink              // the sink has failed, and the pipe holds bytes
)

// move moves bytes from one socket to another until moved, the bytes that have
// reached the sink, is at least most. Unless the reason to stop is the sink, the pipe
// is empty then.
func (p *pipe) move(from, to int32, moved *uint32, most uint32) (stop, syscall.Errno) {
	for {
		if p.n == 0 {
			if *moved >= most {
				return stopShare, 0
			}
			n, errno := sysSplice(from, p.w, p.size)
			switch {
			case errno == unix.EAGAIN:
				return stopEmpty, 0 // the pipe is empty, so it is the socket that has nothing
			case errno != 0 || n == 0:
				return stopEnd, errno
			}
			p.n = n
		}
		n, errno := sysSplice(p.r, to, p.n)
		switch {
		case errno == unix.EAGAIN:
			return stopFull, 0 // the pipe holds bytes, so it is the sink that has no room
		case errno != 0:
			return stopSink, errno
		}
		p.n -= n
		*moved += uint32(n)
	}
}

// pair makes two sockets each other's, until one is closed: the opposite flow may be
// spliced at the same time. It panics where Splice must not be called.
func pair(from, to Sock, sourcePeer, sinkPeer *Sock, reading, sending bool) {
	switch {
	case reading:
		panic("netio: Splice while a Recv or Splice is in flight")
	case sending:
		panic("netio: Splice while a Send is in flight")
	case (*sourcePeer != NoSock || *sinkPeer != NoSock) && (*sourcePeer != to || *sinkPeer != from):
		panic("netio: Splice with a third socket")
	}
	*sourcePeer, *sinkPeer = to, from
}

// fault is the errno that reading ends with, instead of an end; 0: none.
type fault uint16

// note notes the error that ended the connection. The kernel hands it out once, to
// whatever call comes first; a later recv(2) answers 0, and a connection that was reset
// would look like one that ended in order. EPIPE says only that sending has ended, and a
// shortage ends nothing.
func (f *fault) note(errno syscall.Errno) {
	switch errno {
	case 0, unix.EPIPE, unix.ENOBUFS, unix.ENOMEM:
	default:
		*f = fault(errno)
	}
}
