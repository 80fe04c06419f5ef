//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sockaddrLen is the room for either family's address: sockaddr_in6 is the
// larger of the two.
const sockaddrLen = unix.SizeofSockaddrInet6

// sockaddr is an address as the kernel reads it.
type sockaddr [sockaddrLen]byte

// put writes ap in the kernel's form and returns its length. The family is in
// host order, the rest as on the wire (ip(7), ipv6(7)).
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
	return unix.SizeofSockaddrInet6
}

// get reads what the kernel wrote; an address of another family reads as the
// zero AddrPort. A mapped IPv4 address, as a dual-stack listener reports it, is
// given as IPv4.
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
