//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/internal/netio"
)

// dial asks the conn's backend for a connection, from the source that its pool
// wants. An address without a free port is a reason for the next address, not for
// another backend.
func (l *loop) dial(c *conn) netio.Errno {
	opt, hs, to := c.lane.pool.Snapshot().Options(), c.hs, c.backend.Addr
	for {
		src := netio.Source{}
		switch {
		case to.IsUnix(): // that there are no sources is checked by the pool
		case opt.Transparent:
			// A link-local client's address means nothing beyond its own link.
			if client := hs.peer.Addr().Unmap(); client.IsValid() && client.Is4() == to.IP().Addr().Is4() && (client.Is4() || !client.IsLinkLocalUnicast()) {
				src = netio.Source{Addr: client, Foreign: true}
			}
		case len(opt.Sources) > 0:
			src.Addr = l.nextAddress(opt.Sources, to.IP().Addr().Is4())
		}
		first := l.entrusted(c)
		hs.opening = len(first)
		sock, given, errno := l.eng.Connect(src, to, first, c.tag(sideBackend))
		switch {
		case errno == 0:
			c.socks[sideBackend], hs.given = sock, given
			return 0
		case errno != netio.ErrNoPort || hs.addresses+1 >= len(opt.Sources):
			return errno
		}
		inc(&c.lane.share.count.NoPorts)
		hs.addresses++
	}
}

// entrusted is what the engine may send as soon as it has a connection: the opening,
// unless the client may add to it meanwhile. Early data must not have reached a
// backend whose connect was given up at the same moment: it goes to another then.
func (l *loop) entrusted(c *conn) []byte {
	if c.flows[sideClient].is(reading) || c.hs.early {
		return nil
	}
	return l.opening(c)
}

// redial tries the next source address after one had no port left for the backend,
// which shows in the completion of the connect. It reports whether there was one.
func (l *loop) redial(c *conn) bool {
	hs := c.hs
	if hs.addresses+1 >= len(c.lane.pool.Snapshot().Options().Sources) {
		return false
	}
	inc(&c.lane.share.count.NoPorts)
	hs.addresses++
	l.eng.Close(c.socks[sideBackend], true)
	c.socks[sideBackend] = netio.NoSock
	if errno := l.dial(c); errno != 0 {
		l.cannotConnect(c, errno)
	}
	return true
}

// nextAddress takes the addresses of the family in turn; not valid when there is none.
func (l *loop) nextAddress(all []netip.Addr, four bool) netip.Addr {
	for range all {
		l.address++
		if a := all[l.address%len(all)]; a.Unmap().Is4() == four {
			return a
		}
	}
	return netip.Addr{}
}
