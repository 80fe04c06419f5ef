//go:build linux

package balancer

import (
	"net/netip"
	"slices"

	"homing/balancer/proxyheader"
)

// speaksFor says whether a peer is one of those that tell in a PROXY header whom they pass on.
func (g *gate) speaksFor(peer netip.AddrPort) bool {
	addr := peer.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(g.AcceptProxy, func(trusted netip.Prefix) bool {
		return trusted.Contains(addr) || !addr.IsValid() && trusted == (netip.Prefix{})
	})
}

// sift judges the first bytes of a client whose hello is not read, before any backend has them: it must not begin with
// a PROXY header, in whatever pieces. It returns what may go on, b with what was held back before, good until the next
// call or that of opening. Not ok: the conn was refused and is gone.
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
