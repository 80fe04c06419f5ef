//go:build linux

package netio

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSpares bounds the unconnected sockets that are kept of each family: what a batch leaves behind (maxBatch,
// maxEvents). With 64 every second conn of 256 clients at once found none, at 48 us of own CPU each for 44.
const maxSpares = 256

// spares are sockets whose connection was ended by connecting them to nowhere (connect(2), AF_UNSPEC): it sends RST
// where close with SO_LINGER does, and leaves a socket that is as good as new. That spares making and releasing a
// socket with its file, 5 us of the 33 that a connection of one message takes on both sides.
//
// Only sockets of Connect are kept, without a source of their own and without the options of Persist, once the kernel
// is done with everything on them. Epoll's stay registered there, under the name that they had.
type spares struct {
	four, six []int32
	used      Time // when one was taken or put last
}

// reusable says that a socket that connects from src to addr is as good as new afterwards: a source stays bound, and
// the interface of a link-local address too.
func reusable(src Source, addr netip.AddrPort) bool {
	return !src.Addr.IsValid() && addr.Addr().Zone() == ""
}

// reusable reports whether the connection of sl can be ended and its socket kept: when it is to be reset, or is over.
func (sl *slot) reusable(reset bool) bool {
	if sl.flags&(ours|wantConnect) != ours || sl.peer != NoSock {
		return false
	}
	if reset || sl.fault == fault(unix.ECONNRESET) {
		return true
	}
	return sl.flags&(finSent|finSeen) == finSent|finSeen && sysDead(sl.fd)
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

// expire closes them all when none was of use for some time. It returns when it wants to be asked again, at most
// deadline.
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

// sysUnconnect connects fd to nowhere.
func sysUnconnect(fd int32) syscall.Errno {
	var sa sockaddr // AF_UNSPEC
	return sysWithAddr(unix.SYS_CONNECT, fd, unsafe.Pointer(&sa), unix.SizeofSockaddrInet4)
}
