//go:build linux

package netio

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

func (e *epoll) Listen(fd int, tag uint32) error {
	// Level-triggered: what one batch leaves in the queue is reported again.
	// The slot number of a listener is its descriptor, mapped below wakeData.
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData - 1 - int32(fd)}
	if errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_ADD, int32(fd), &ev); errno != 0 {
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", fd, errno)
	}
	e.listeners[int32(fd)] = &listener{fd: int32(fd), tag: tag}
	return nil
}

func (e *epoll) Unlisten(fd int) error {
	l := e.listeners[int32(fd)]
	if l == nil {
		return nil
	}
	delete(e.listeners, l.fd)
	if i := slices.Index(e.ready, l); i >= 0 {
		e.ready = slices.Delete(e.ready, i, i+1)
		if i == 0 {
			e.accepts = 0
		}
	}
	if errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_DEL, l.fd, nil); errno != 0 {
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", fd, errno)
	}
	return nil
}

// accept takes one connection; false means that l has had its share.
func (e *epoll) accept(l *listener, c *Completion) bool {
	if e.accepts >= maxAccepts {
		e.unready()
		return false
	}
	var sa sockaddr
	fd, errno := sysAccept(l.fd, &sa)
	if errno == unix.EMFILE && e.spares.shut() {
		fd, errno = sysAccept(l.fd, &sa)
	}
	switch errno {
	case 0:
	case unix.EAGAIN:
		e.unready()
		return false
	case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH, unix.ENONET, unix.EHOSTDOWN, unix.EHOSTUNREACH:
		// The connection died in the queue (accept(2)); take the next.
		e.accepts++
		return false
	default:
		e.unready()
		*c = Completion{Op: OpAccept, Errno: errno, Tag: l.tag, Sock: NoSock}
		return true
	}
	e.accepts++
	s, sl := e.slots.take(fd, 0)
	sl.flags = canRead | canWrite // try first, register when it would block
	*c = Completion{Op: OpAccept, Tag: l.tag, Sock: s, Peer: sa.get()}
	return true
}

// unready takes the first listener off the list until the next Wait.
func (e *epoll) unready() {
	e.ready[0].ready = false
	e.ready = slices.Delete(e.ready, 0, 1)
	e.accepts = 0
}
