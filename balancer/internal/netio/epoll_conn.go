//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

func (e *epoll) Listen(fd int, tag uint32, shared bool) error {
	errno := e.addListener(int32(fd))
	if errno == unix.EINVAL { // a file may be in a hundred instances that are two levels deep
		e.leaveOuter()
		errno = e.addListener(int32(fd))
	}
	if errno != 0 {
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", fd, errno)
	}
	e.listeners[int32(fd)] = &listener{fd: int32(fd), tag: tag, shared: shared}
	return nil
}

// addListener is level-triggered: what one batch leaves in the queue is reported again. The slot number of a listener is
// its descriptor, mapped below wakeData.
func (e *epoll) addListener(fd int32) syscall.Errno {
	return sysEpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeData - 1 - fd})
}

func (e *epoll) ignoreConns(l *listener) error {
	errno := sysEpollCtl(e.fd, unix.EPOLL_CTL_DEL, l.fd, nil)
	if errno != 0 && !l.shared { // a shared one may have lost its place, see awaitConns
		return fmt.Errorf("netio: epoll_ctl of listener %d: %w", l.fd, errno)
	}
	return nil
}

// awaitConns need not do anything, for the next Wait tells. But who stands first among those that wait for a shared queue
// would be first each time, and get nearly all of its connections where they come one by one: it goes to the other end.
func (e *epoll) awaitConns(l *listener) syscall.Errno {
	if !l.shared {
		return 0
	}
	_ = sysEpollCtl(e.fd, unix.EPOLL_CTL_DEL, l.fd, nil) // fails where the last time was without success
	return e.addListener(l.fd)
}

func (e *epoll) relieve() bool { return e.spares.shut() }

// connect sends nothing of first: the call that would is no other than Send's.
func (e *epoll) connect(s Sock, sl *slot, to netip.AddrPort, _ []byte) (bool, syscall.Errno) {
	errno := sysConnect(sl.fd, to)
	if errno != 0 && errno != unix.EINPROGRESS { // told as the ring does: with the next batch
		sl.fault = fault(errno)
		sl.flags |= canWrite
		e.enqueue(s, sl)
		return false, 0
	}
	if errno := e.register(s, sl, bothEvents); errno != 0 {
		e.Close(s, true)
		return false, errno
	}
	return false, 0
}

// endConnect ends a Connect when epoll has reported the socket writable.
func (e *epoll) endConnect(s Sock, sl *slot, c *Completion) bool {
	if sl.flags&(canWrite|sawEnd) == 0 {
		return false
	}
	errno := syscall.Errno(sl.fault) // of connect(2) itself
	if errno == 0 && sl.flags&sawEnd != 0 {
		errno = sysError(sl.fd)
	}
	return e.connected(s, sl, errno, c)
}

func (e *epoll) Recv(s Sock) {
	sl := e.receiving(s)
	if sl.flags&canRead != 0 {
		e.enqueue(s, sl)
	} else {
		e.awaitInput(s, sl)
	}
}

// recv delivers the next bytes of s.
func (e *epoll) recv(s Sock, sl *slot, c *Completion) bool {
	n, errno := sysRecv(sl.fd, e.lent, 0)
	if errno == unix.EAGAIN {
		sl.flags &^= canRead
		e.awaitInput(s, sl)
		return false
	}
	if errno == 0 && n > 0 && n < len(e.lent) && sl.flags&(sawEnd|urgent) == 0 {
		// The queue was emptied: the next byte or FIN makes an edge of its own, or is told by the registration that the
		// next Recv makes.
		sl.flags &^= canRead
	}
	e.received(s, sl, e.lent[:max(n, 0)], errno, c)
	return true
}

// awaitInput registers a socket that has turned out to have nothing to read.
func (e *epoll) awaitInput(s Sock, sl *slot) {
	if errno := e.register(s, sl, readEvents); errno != 0 {
		// ENOMEM or ENOSPC (epoll's watch limit): the socket cannot be waited for. Reading it now would tell EAGAIN for
		// ever, so it is ended: a read finds the end at once, which fault turns into this error.
		sl.fault = fault(errno)
		sysShutdown(sl.fd, unix.SHUT_RDWR)
		sl.flags |= canRead | sawEnd
		e.enqueue(s, sl)
	}
}

func (e *epoll) awaitRoom(s Sock, sl *slot) syscall.Errno {
	sl.flags &^= canWrite
	return e.register(s, sl, bothEvents)
}

func (e *epoll) Close(s Sock, reset bool) {
	sl := e.closing(s)
	switch {
	// One whose connect failed at once is not known to epoll, as all spares are.
	case sl.flags&registered != 0 && sl.reusable(reset) && sysUnconnect(sl.fd) == 0:
		e.spares.put(sl.fd, sl.flags&six != 0, e.now)
	case reset:
		sysLingerZero(sl.fd)
		fallthrough
	default:
		sysClose(sl.fd)
	}
	e.slots.close(s, sl)
}
