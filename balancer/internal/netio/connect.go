//go:build linux

package netio

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

func (e *core) Connect(src Source, to netaddr.Addr, first []byte, tag uint32) (Sock, bool, syscall.Errno) {
	if to.IsUnix() {
		s, errno := e.connectUnix(to.Path(), tag)
		return s, false, errno
	}
	addr := to.IP()
	fd, used, errno := e.socket(src, addr)
	if errno != 0 {
		return NoSock, false, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = wantConnect | ackWaits
	if used {
		sl.flags |= registered // under the name of the socket that it was
	}
	if reusable(src, addr) {
		sl.flags |= ours
	}
	if isSix(addr) {
		sl.flags |= six
	}
	given, errno := e.own.connect(s, sl, addr, first)
	if errno != 0 {
		return NoSock, false, errno
	}
	return s, given, 0
}

// socket returns a socket that is about to connect from src to addr, and whether it was kept of another connection.
func (e *core) socket(src Source, addr netip.AddrPort) (fd int32, used bool, errno syscall.Errno) {
	if !src.Addr.IsValid() {
		if fd = e.spares.take(isSix(addr), e.now); fd >= 0 {
			_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) // it forgets; see setFast
			return fd, true, 0
		}
	}
	family := uintptr(unix.AF_INET)
	if isSix(addr) {
		family = unix.AF_INET6
	}
	if fd, errno = e.newSocket(family); errno != 0 {
		return -1, false, errno
	}
	setFast(fd)
	if errno = bindSource(fd, src); errno != 0 {
		sysClose(fd)
		return -1, false, errno
	}
	return fd, false, 0
}

func (e *core) newSocket(family uintptr) (int32, syscall.Errno) {
	fd, errno := sysSocket(family)
	if errno == unix.EMFILE && e.own.relieve() {
		fd, errno = sysSocket(family)
	}
	return fd, errno
}

func isSix(addr netip.AddrPort) bool { return !addr.Addr().Unmap().Is4() }

// setFast sets what a connection needs before its first packet: no Nagle delay, since a relay adds no small writes of
// its own; and no quick ACK, so that the one that ends the handshake rides on the hello (it saves a packet). Neither
// can fail on a TCP socket.
func setFast(fd int32) {
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

// connected ends a Connect; errno is connect(2)'s.
func (e *core) connected(s Sock, sl *slot, errno syscall.Errno, c *Completion) bool {
	sl.fault.note(errno)
	sl.flags &^= wantConnect
	*c = Completion{Op: OpConnect, Tag: sl.tag, Sock: s, Errno: errno}
	return true
}
