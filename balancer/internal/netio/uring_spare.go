//go:build linux

package netio

import (
	"time"

	"golang.org/x/sys/unix"
)

// maxSpares bounds the unconnected sockets that are kept of each family: what the
// conns of a few batches leave behind.
const maxSpares = 64

// spares are sockets whose connection was ended by connecting them to nowhere
// (connect(2), AF_UNSPEC): it sends RST where close with SO_LINGER does, and leaves
// a socket that is as good as new. That spares making and releasing a socket with
// its file, 5 us of the 33 that a connection of one message takes on both sides.
//
// Only sockets of Connect are kept, without a source of their own and without the
// options of Persist, once the kernel is done with everything on them.
type spares struct {
	four, six []int32
	used      Time // when one was taken or put last
}

// spareTime is how long sockets are kept that nobody takes.
const spareTime = time.Second

func (p *spares) of(six bool) *[]int32 {
	if six {
		return &p.six
	}
	return &p.four
}

// take returns a kept socket of a family, or -1.
func (p *spares) take(six bool, now Time) int32 {
	all := p.of(six)
	last := len(*all) - 1
	if last < 0 {
		return -1
	}
	p.used = now
	fd := (*all)[last]
	*all = (*all)[:last]
	return fd
}

// put keeps fd, or closes it when there are enough.
func (p *spares) put(fd int32, six bool, now Time) {
	all := p.of(six)
	if len(*all) >= maxSpares {
		sysClose(fd)
		return
	}
	p.used = now
	*all = append(*all, fd)
}

// expire closes them all when none was of use for some time. It returns when it
// wants to be asked again, at most deadline.
func (p *spares) expire(now, deadline Time) Time {
	if len(p.four)+len(p.six) == 0 {
		return deadline
	}
	if end := p.used.Add(spareTime); now < end {
		return min(end, deadline)
	}
	p.shut()
	return deadline
}

// shut closes them all, and reports whether there were any.
func (p *spares) shut() bool {
	all := append(p.four, p.six...)
	for _, fd := range all {
		sysClose(fd)
	}
	p.four, p.six = p.four[:0], p.six[:0]
	return len(all) > 0
}

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
	if reset || sl.fault == uint16(unix.ECONNRESET) {
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
