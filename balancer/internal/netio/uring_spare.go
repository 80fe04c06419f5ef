//go:build linux

package netio

import "golang.org/x/sys/unix"

// relieve gives back descriptors that are of no use now, and reports whether there
// were any.
func (e *uring) relieve() bool {
	kept, closing := e.spares.shut(), e.closing
	if closing {
		e.ring.submit()
		e.closing = false
	}
	return kept || closing
}

// reusable reports whether the connection of s can be ended and its socket kept:
// when it is to be reset, or is over.
func (e *uring) reusable(sl *ringSlot, reset bool) bool {
	if sl.flags&rOurs == 0 || sl.flags&rWantConnect != 0 || sl.peer != NoSock {
		return false
	}
	if reset || sl.fault == fault(unix.ECONNRESET) {
		return true
	}
	return sl.flags&rFinSent != 0 && sl.flags&rFinSeen != 0 && sysDead(sl.fd)
}

// unconnect ends the connection of s, and keeps the socket when all that the kernel
// does for it has ended. A receive of the kernel's ends by it.
func (e *uring) unconnect(s Sock, sl *ringSlot) {
	sl.flags |= rKept
	*e.begin(ringDrop, s, sl, sqe{opcode: opConnect, off: unix.SizeofSockaddrInet4}) = sockaddr{} // AF_UNSPEC
}

// settle frees a closed slot when the kernel is done with it.
func (e *uring) settle(s Sock, sl *ringSlot) {
	if sl.flags&(rHas|rKept) == rKept {
		fd := int32(sl.tag)
		if sl.flags&rSpoilt != 0 {
			sysLingerZero(fd)
			sysClose(fd)
		} else {
			e.spares.put(fd, sl.flags&rSix != 0, e.now)
		}
	}
	e.slots.settle(s, sl)
}
