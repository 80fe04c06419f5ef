//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/internal/netio"
	"homing/balancer/internal/proxyheader"
	"homing/balancer/pool"
	"homing/tlsparse"
)

// speaksFor says whether a peer is one of those that tell in a PROXY header whom
// they pass on.
func (g *gate) speaksFor(peer netip.AddrPort) bool {
	addr := peer.Addr().Unmap().WithZone("")
	for _, trusted := range g.AcceptProxy {
		if trusted.Contains(addr) || !addr.IsValid() && trusted == (netip.Prefix{}) {
			return true
		}
	}
	return false
}

// headerRead takes the PROXY header off the client's first bytes. It reports
// whether there is more to be read as a hello; otherwise the conn goes on by
// itself, or is refused.
func (l *loop) headerRead(c *conn) bool {
	hs := c.hs
	n, h, status := proxyheader.Read(hs.hello)
	switch status {
	case proxyheader.NeedMore:
		l.eng.Ack(c.socks[sideClient]) // or Nagle's algorithm may keep the rest
		l.recv(c)
		return false
	case proxyheader.Invalid:
		l.countHello(c, HelloInvalid)
		l.refuse(c, RefusedHeader)
		return false
	case proxyheader.Got:
	}
	hs.heading = false
	hs.hello = hs.hello[:copy(hs.hello, hs.hello[n:])]
	if h.Client.IsValid() {
		hs.peer, hs.local = h.Client, h.Local
		if c.record != nil {
			c.record.Client = h.Client
		}
	}
	if !l.admits(c) {
		return false
	}
	switch {
	case c.lane.gate.TLS == TLSOff:
		l.countHello(c, HelloSkipped)
		l.enter(c, c.lane.gate.fallback)
		return false
	case len(hs.hello) == 0:
		l.recv(c)
		return false
	}
	return true
}

// opening is what a backend gets first: the hello, behind a PROXY header if its
// pool wants one. It is valid until the next call.
func (l *loop) opening(c *conn) []byte {
	hs := c.hs
	version := c.lane.pool.Snapshot().Options().ProxyHeader
	if version == pool.ProxyOff {
		return hs.hello
	}
	h := proxyheader.Header{Client: hs.peer, Local: hs.local}
	if !h.Local.IsValid() && c.socks[sideClient] != netio.NoSock {
		h.Local = l.eng.Local(c.socks[sideClient])
	}
	// What was parsed from it has been overwritten by other conns' hellos.
	if hs.readable && hs.parser.Parse(hs.hello, l.scratch, &l.hello) == tlsparse.Got {
		h.Name = l.hello.ServerName()
		if list := l.hello.ALPN; len(list) > 0 && int(list[0]) < len(list) {
			h.ALPN = list[1 : 1+int(list[0])]
		}
	}
	var err error
	l.opened, err = proxyheader.Append(l.opened[:0], proxyheader.Version(version), &h)
	if err != nil { // a value is too long; none that was parsed can be
		h.Name, h.ALPN = nil, nil
		l.opened, _ = proxyheader.Append(l.opened[:0], proxyheader.Version(version), &h) // there is nothing left to be too long
	}
	l.opened = append(l.opened, hs.hello...)
	return l.opened
}
