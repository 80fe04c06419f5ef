//go:build linux

package config

import (
	"net"
	"net/netip"
	"strings"

	"homing/balancer"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// overlap says that of two listening addresses the system lets only one be had. A port that the system chooses overlaps
// with nothing.
func overlap(a, b string) bool {
	one, errOne := balancer.ParseListenAddr(a)
	other, errOther := balancer.ParseListenAddr(b)
	if errOne != nil || errOther != nil {
		return false
	}
	if one.IsUnix() || other.IsUnix() {
		return one == other
	}
	if one.IP().Port() == 0 || one.IP().Port() != other.IP().Port() {
		return false
	}
	return covers(one.IP().Addr(), other.IP().Addr()) || covers(other.IP().Addr(), one.IP().Addr())
}

// covers says that who listens on all takes the conns of addr too. All addresses of IPv6 are those of IPv4 as well.
func covers(all, addr netip.Addr) bool {
	all, addr = all.Unmap(), addr.Unmap()
	return all == addr || all == netip.IPv6Unspecified() || all == netip.IPv4Unspecified() && addr.Is4()
}

// unlikeUnix says what the pool wants of a backend that a unix socket has not; "": nothing. The text names settings as
// --tls=require.
func (p *PoolSettings) unlikeUnix(b *pool.Spec) string {
	const orByPort = "or give the backend as HOST:PORT"
	switch {
	case !strings.HasPrefix(b.Addr, netaddr.Prefix):
	case p.Transparent:
		return "a unix socket is connected to from no address, so it cannot be the client's: " +
			"leave out --transparent, and tell by --proxy-protocol=v2"
	case len(p.Sources) > 0:
		return "a unix socket is connected to from no address: leave out --source, " + orByPort
	case p.Checks.Port != 0:
		return "a unix socket has no other port to check: leave out --check-port, " + orByPort
	case p.Agent.Port != 0:
		return "a unix socket has no port where an agent could answer: leave out --agent-port, " + orByPort
	}
	return ""
}

// itself is the listener that takes the conns to a backend's address, nil: none does. Which addresses beyond loopback are
// this machine's, no file says.
func (c *Config) itself(backend string) *Listener {
	addr, err := netaddr.Parse(backend)
	if err != nil {
		return nil // a name
	}
	return c.TakenBy(addr, netip.Addr.IsLoopback)
}

// TakenBy is the listener that takes the conns to an address, nil: none does. own says of an address that it is this
// machine's; it is asked only where a listener on all addresses has that port.
func (c *Config) TakenBy(addr netaddr.Addr, own func(netip.Addr) bool) *Listener {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		at, err := balancer.ParseListenAddr(l.Address)
		switch {
		case err != nil:
		case at == addr:
			return l
		case at.IsUnix() || addr.IsUnix() || at.IP().Port() != addr.IP().Port() || !at.IP().Addr().IsUnspecified():
		case covers(at.IP().Addr(), addr.IP().Addr()) && own(addr.IP().Addr()):
			return l
		}
	}
	return nil
}

// plainBackend is the one form of a backend's address, however it is written.
func plainBackend(s string) string {
	if strings.HasPrefix(s, netaddr.Prefix) {
		return s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
}
