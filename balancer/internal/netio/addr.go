//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// sockaddrLen is the room for either family's address: sockaddr_in6 is the larger of the two.
const sockaddrLen = unix.SizeofSockaddrInet6

// sockaddr is an address as the kernel reads it.
type sockaddr [sockaddrLen]byte

// put writes ap in the kernel's form and returns its length. The family is in host order, the rest as on the wire
// (ip(7), ipv6(7)).
func (sa *sockaddr) put(ap netip.AddrPort) (length uintptr) {
	*sa = sockaddr{}
	binary.BigEndian.PutUint16(sa[2:], ap.Port())
	addr := ap.Addr().Unmap()
	if addr.Is4() {
		binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET)
		a := addr.As4()
		copy(sa[4:8], a[:])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET6)
	a := addr.As16()
	copy(sa[8:24], a[:])
	if zone := addr.Zone(); zone != "" {
		binary.NativeEndian.PutUint32(sa[24:], scope(zone))
	}
	return unix.SizeofSockaddrInet6
}

// scope is the number that the interface of a zone has now, or 0, which the kernel refuses for a link-local address
// (EINVAL): there is none of that name. It is asked each time, for the number changes with the interface; calls that
// cannot block.
func scope(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	request, err := unix.NewIfreq(zone)
	if err != nil {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer sysClose(int32(fd))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0
	}
	return request.Uint32()
}

// get reads what the kernel wrote, but for the zone, which would be an allocation for each conn of a link-local client;
// an address of another family reads as the zero AddrPort. A mapped IPv4 address, as a dual-stack listener reports it,
// is given as IPv4.
func (sa *sockaddr) get() netip.AddrPort {
	port := binary.BigEndian.Uint16(sa[2:])
	switch binary.NativeEndian.Uint16(sa[0:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(sa[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}
