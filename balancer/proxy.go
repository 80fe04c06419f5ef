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
		c.watched = true // it may send one, not two
		if first, ok := l.sift(c, hs.hello); ok {
			hs.hello = hs.hello[:len(first)] // all, or nothing yet
			l.enter(c, c.lane.gate.fallback)
		}
		return false
	case len(hs.hello) == 0:
		l.recv(c)
		return false
	}
	return true
}

// sift judges the first bytes of a client whose hello is not read, before any backend has them: it must not begin with a
// PROXY header, in whatever pieces. It returns what may go on, b with what was held back before, good until the next call
// or that of opening. Not ok: the conn was refused and is gone.
func (l *loop) sift(c *conn, b []byte) (first []byte, ok bool) {
	if !c.watched || len(b) == 0 {
		return b, true
	}
	held := c.watch.Held()
	switch c.watch.Next(b) {
	case proxyheader.Got:
		l.refuse(c, RefusedHeader)
		return nil, false
	case proxyheader.NeedMore:
		if len(held) == 0 {
			c.since = l.now
		}
		l.eng.Ack(c.socks[sideClient]) // or Nagle's algorithm may keep the rest
		return nil, true
	case proxyheader.Invalid:
	}
	c.watched = false
	if len(held) > 0 {
		l.opened = append(append(l.opened[:0], held...), b...)
		return l.opened, true
	}
	return b, true
}

// holds says whether the client's last bytes wait for what makes them a PROXY header, or not.
func (c *conn) holds() bool { return c.watched && len(c.watch.Held()) > 0 }

// unheld is what sift has held back of a client that has ended: it was no header.
func (l *loop) unheld(c *conn) []byte {
	c.watched = false
	l.opened = append(l.opened[:0], c.watch.Held()...)
	return l.opened
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
	if hs.readable && hs.parser.Parse(hs.hello, l.scratch, &l.hello) == tlsparse.Got || !hs.readable && hs.parser.ParsePart(hs.hello, l.scratch, &l.hello) {
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
