package judge

import (
	"errors"
	"net/netip"
)

// Endpoint is an address, on one port or, with Port 0, on all.
type Endpoint struct {
	Addr netip.Addr
	Port uint16
}

// ParseEndpoint reads an address with or without a port: 192.0.2.11, 192.0.2.11:443, 2001:db8::1, [2001:db8::1]:443.
func ParseEndpoint(s string) (Endpoint, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return Endpoint{ap.Addr().Unmap(), ap.Port()}, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return Endpoint{}, errors.New("not an address: write it such as 192.0.2.11 or 192.0.2.11:443")
	}
	return Endpoint{Addr: addr.Unmap()}, nil
}

// String is as ParseEndpoint reads it.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.Addr.String()
	}
	return netip.AddrPortFrom(e.Addr, e.Port).String()
}

// Covers reports whether all that o names is part of e.
func (e Endpoint) Covers(o Endpoint) bool {
	return e.Addr == o.Addr && (e.Port == 0 || e.Port == o.Port)
}

// Has reports whether the address is part of e.
func (e Endpoint) Has(ap netip.AddrPort) bool {
	return e.Addr == ap.Addr().Unmap() && (e.Port == 0 || e.Port == ap.Port())
}
