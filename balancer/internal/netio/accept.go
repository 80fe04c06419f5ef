//go:build linux

package netio

import (
	"slices"

	"golang.org/x/sys/unix"
)

// maxAccepts bounds the connections taken from one listener in a batch, so that a flood of them does not starve the
// conns that are open.
const maxAccepts = 64

// listener is a listening descriptor from which connections are taken.
type listener struct {
	fd     int32
	tag    uint32
	shared bool   // other engines take from its queue
	gen    uint32 // of io_uring: tells a completion of an earlier Listen
}

func (e *core) Unlisten(fd int) error {
	l := e.listeners[int32(fd)]
	if l == nil {
		return nil
	}
	delete(e.listeners, l.fd)
	e.unready(l)
	return e.own.ignoreConns(l)
}

// hasConns begins to take connections from a listener whose queue has some.
func (e *core) hasConns(l *listener) {
	if !slices.Contains(e.ready, l) {
		e.ready = append(e.ready, l)
	}
}

// nextConn takes one connection, or tells an error; false means that all listeners have had their share.
func (e *core) nextConn(c *Completion) bool {
	for len(e.ready) > 0 {
		l := e.ready[0]
		// Where there was nothing else to do a second one has hardly come, and the next Wait tells of it.
		if e.accepts >= maxAccepts || e.alone && e.accepts > 0 {
			if e.await(l, c) {
				return true
			}
			continue
		}
		e.accepts++
		var sa sockaddr
		fd, errno := sysAccept(l.fd, &sa)
		if errno == unix.EMFILE && e.own.relieve() {
			fd, errno = sysAccept(l.fd, &sa)
		}
		switch errno {
		case 0:
			s, sl := e.slots.take(fd, 0)
			sl.flags = canRead | canWrite // try first, wait when it would block
			*c = Completion{Op: OpAccept, Tag: l.tag, Sock: s, Peer: sa.get()}
			return true
		case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH, unix.ENONET,
			unix.EHOSTDOWN, unix.EHOSTUNREACH:
			continue // the connection died in the queue (accept(2)); take the next
		}
		if e.await(l, c) {
			return true
		}
		if errno != unix.EAGAIN {
			*c = Completion{Op: OpAccept, Errno: errno, Tag: l.tag, Sock: NoSock}
			return true
		}
	}
	return false
}

// await ends the taking from l until it has connections again. It tells when that is not to be had.
func (e *core) await(l *listener, c *Completion) (told bool) {
	e.unready(l)
	errno := e.own.awaitConns(l)
	if errno != 0 {
		*c = Completion{Op: OpAccept, Errno: errno, Tag: l.tag, Sock: NoSock}
	}
	return errno != 0
}

// unready takes nothing from l.
func (e *core) unready(l *listener) {
	if i := slices.Index(e.ready, l); i >= 0 {
		e.ready = slices.Delete(e.ready, i, i+1)
		if i == 0 {
			e.accepts = 0
		}
	}
}
