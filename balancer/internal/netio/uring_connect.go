//go:build linux

package netio

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

func (e *uring) Connect(src Source, to netaddr.Addr, first []byte, tag uint32) (Sock, bool, syscall.Errno) {
	if to.IsUnix() {
		s, errno := e.connectUnix(to.Path(), tag)
		return s, false, errno
	}
	addr := to.IP()
	fd, flags, errno := e.socket(src, addr)
	if errno != 0 {
		return NoSock, false, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = rWantConnect | rAckWaits | flags
	var sa sockaddr
	entry := sqe{opcode: opConnect, off: uint64(sa.put(addr))}
	piece := int32(0)
	if len(first) > 0 {
		piece = e.firsts.take(first)
	}
	if piece == 0 {
		*e.begin(ringConnect, s, sl, entry) = sa
		return s, false, 0
	}
	e.slots.out(sl).first = piece
	sl.flags |= rHasConnect | rHasFirst
	entry.fd, entry.flags, entry.data = fd, e.quiet(), userData(ringConnect, sl.gen, s)
	e.begun()
	*e.ring.addLinked(entry, sqe{
		opcode: opSend, fd: fd, addr: address(unsafe.Pointer(&e.firsts.at(piece)[0])), length: uint32(len(first)),
		opFlags: unix.MSG_NOSIGNAL | unix.MSG_WAITALL, data: userData(ringFirst, sl.gen, s),
	}) = sa
	return s, true, 0
}

// socket returns a socket that is about to connect, and what is known of it.
func (e *uring) socket(src Source, addr netip.AddrPort) (fd int32, flags ringFlags, errno syscall.Errno) {
	if fd, _, errno = e.spares.socket(src, addr, e.now); errno == unix.EMFILE && e.relieve() {
		fd, _, errno = e.spares.socket(src, addr, e.now)
	}
	if reusable(src, addr) {
		flags = rOurs
	}
	if isSix(addr) {
		flags |= rSix
	}
	return fd, flags, errno
}

// connected ends a Connect that has nothing to send, or one that has failed.
func (e *uring) connected(s Sock, sl *ringSlot, errno syscall.Errno, c *Completion) bool {
	if errno == 0 && sl.flags&rHasFirst != 0 {
		return false // by a kernel that cannot be quiet; the send goes on
	}
	sl.fault.note(errno)
	sl.flags &^= rWantConnect
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s, Errno: errno}
	return true
}

// firstSent ends a Connect that had something to send.
func (e *uring) firstSent(s Sock, sl *ringSlot, res int32, c *Completion) bool {
	if sl.flags&rWantConnect == 0 {
		return false // the connect has failed, and told
	}
	errno := sendErrno(sl.fd, errnoOf(res))
	sl.fault.note(errno)
	sl.flags &^= rWantConnect | rAckWaits
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s, Errno: errno, Sink: errno != 0}
	return true
}
