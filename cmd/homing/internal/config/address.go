//go:build linux

package config

import (
	"net"
	"net/netip"
	"strings"

	"homing/balancer"
)

// overlap says that of two listening addresses the system lets only one be had. A port that the system chooses overlaps
// with nothing.
func overlap(a, b string) bool {
	one, errOne := balancer.ParseListenAddr(a)
	other, errOther := balancer.ParseListenAddr(b)
	if errOne != nil || errOther != nil || one.Port() == 0 || one.Port() != other.Port() {
		return false
	}
	return covers(one.Addr(), other.Addr()) || covers(other.Addr(), one.Addr())
}

// covers says that who listens on all takes the conns of addr too. All addresses of IPv6 are those of IPv4 as well.
func covers(all, addr netip.Addr) bool {
	all, addr = all.Unmap(), addr.Unmap()
	return all == addr || all == netip.IPv6Unspecified() || all == netip.IPv4Unspecified() && addr.Is4()
}

// sameBackend says that two addresses of backends are one, however they are written.
func sameBackend(a, b string) bool { return plainBackend(a) == plainBackend(b) }

func plainBackend(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
}
