//go:build linux

package netio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ringListener is a listening descriptor that the ring polls. Connections are
// taken by calls of our own: the peer's address would need one anyway, which a
// multishot accept does not tell, and none is taken that nobody asked for.
type ringListener struct {
	fd  int32
	tag uint32
	gen uint32 // tells a completion of an earlier Listen
}

func (e *uring) Listen(fd int, tag uint32) error {
	if e.listeners[int32(fd)] != nil {
		return fmt.Errorf("netio: listener %d: %w", fd, unix.EEXIST)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return fmt.Errorf("netio: listener %d: %w", fd, err)
	}
	e.listens++
	l := &ringListener{fd: int32(fd), tag: tag, gen: e.listens & genMask}
	e.listeners[l.fd] = l
	e.awaitConn(l)
	return nil
}

// awaitConn polls l until a connection waits.
func (e *uring) awaitConn(l *ringListener) {
	e.add(sqe{opcode: opPollAdd, fd: l.fd, opFlags: pollEvents(unix.POLLIN), data: l.data()})
}

func (l *ringListener) data() uint64 { return userData(ringAccept, l.gen, Sock(l.fd)) }

func (e *uring) Unlisten(fd int) error {
	l := e.listeners[int32(fd)]
	if l == nil {
		return nil
	}
	delete(e.listeners, l.fd)
	if e.taking == l {
		e.taking = nil
	}
	e.cancel(l.data())
	// At once: the caller may close the descriptor, and a poll would keep its
	// queue open.
	_ = e.ring.poll() // what it does not take goes with the next call
	return nil
}

// acceptable begins to take connections from a listener whose queue has some.
func (e *uring) acceptable(fd int32, gen uint32, res int32, c *Completion) bool {
	l := e.listeners[fd]
	if l == nil || l.gen != gen {
		return false
	}
	if res < 0 {
		e.awaitConn(l)
		*c = Completion{Op: OpAccept, Errno: errnoOf(res), Tag: l.tag, Sock: NoSock}
		return true
	}
	e.taking, e.accepts = l, 0
	return false
}

// accept takes one connection; false means that the listener has had its share,
// or that one was passed over.
func (e *uring) accept(c *Completion) bool {
	l := e.taking
	if e.accepts >= maxAccepts {
		e.untake()
		return false
	}
	e.accepts++
	var sa sockaddr
	fd, errno := sysAccept(l.fd, &sa)
	if errno == unix.EMFILE && e.relieve() {
		fd, errno = sysAccept(l.fd, &sa)
	}
	switch errno {
	case 0:
	case unix.EAGAIN:
		e.untake()
		return false
	case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH, unix.ENONET, unix.EHOSTDOWN, unix.EHOSTUNREACH:
		return false // the connection died in the queue (accept(2)); take the next
	default:
		e.untake()
		*c = Completion{Op: OpAccept, Errno: errno, Tag: l.tag, Sock: NoSock}
		return true
	}
	s, _ := e.slots.take(fd, 0)
	*c = Completion{Op: OpAccept, Tag: l.tag, Sock: s, Peer: sa.get()}
	return true
}

// untake goes on to wait for connections.
func (e *uring) untake() {
	e.awaitConn(e.taking)
	e.taking = nil
}
