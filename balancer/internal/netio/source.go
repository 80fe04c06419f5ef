//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Source is where a connection comes from. The zero value leaves address and port to the kernel.
type Source struct {
	Addr netip.Addr // of the destination's family
	// Foreign says that the address is not this machine's: the peer sees another's as its client (IP_TRANSPARENT,
	// ip(7)). It takes CAP_NET_ADMIN, and the peer's answers must be routed to this machine and be taken in by it.
	Foreign bool
}

// bindSource binds a socket that is about to connect. The port is left to connect(2), which knows the destination and
// so has the whole range for each.
func bindSource(fd int32, src Source) syscall.Errno {
	if !src.Addr.IsValid() {
		return 0
	}
	if src.Foreign {
		level, name := uintptr(unix.SOL_IP), uintptr(unix.IP_TRANSPARENT)
		if !src.Addr.Unmap().Is4() {
			level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		if errno := sysSetInt(fd, level, name, 1); errno != 0 {
			return errno
		}
	}
	_ = sysSetInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // without it ports run out sooner
	return sysBind(fd, netip.AddrPortFrom(src.Addr, 0))
}

func sysBind(fd int32, ap netip.AddrPort) syscall.Errno {
	var sa sockaddr
	length := sa.put(ap)
	return sysWithAddr(unix.SYS_BIND, fd, unsafe.Pointer(&sa), length)
}

// CanBeForeign says in one line why this process cannot use foreign sources; nil: it can.
func CanBeForeign() error {
	fd, errno := sysSocket(unix.AF_INET)
	if errno != 0 {
		return fmt.Errorf("netio: socket: %w", errno)
	}
	defer sysClose(fd)
	if errno := sysSetInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1); errno != 0 {
		return fmt.Errorf("netio: IP_TRANSPARENT: %w", errno)
	}
	return nil
}

// sysLocal is the address that a connected socket has here; not valid when the connection is gone.
func sysLocal(fd int32) netip.AddrPort {
	var sa sockaddr
	length := uint32(sockaddrLen)
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return sa.get()
}
