//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/balancer/proxyheader"
	"homing/tlsparse"
)

// dial asks the conn's backend for a connection, from the source that its pool wants. An address without a free port is
// a reason for the next address, not for another backend.
func (l *loop) dial(c *conn) netio.Errno {
	opt, hs, to := c.lane.pool.Snapshot().Options(), c.hs, c.backend.Addr
	for {
		src := netio.Source{}
		switch {
		case to.IsUnix(): // that there are no sources is checked by the pool
		case opt.Transparent:
			// A link-local client's address means nothing beyond its own link.
			client := hs.peer.Addr().Unmap()
			local := !client.Is4() && client.IsLinkLocalUnicast()
			if client.IsValid() && client.Is4() == to.IP().Addr().Is4() && !local {
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

// entrusted is what the engine may send as soon as it has a connection: the opening, unless the client may add to it
// meanwhile. Early data must not have reached a backend whose connect was given up at the same moment: it goes to
// another then.
func (l *loop) entrusted(c *conn) []byte {
	if c.flows[sideClient].is(reading) || c.hs.early {
		return nil
	}
	return l.opening(c)
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

// opening is what a backend gets first: the hello, behind a PROXY header if its pool wants one. It is valid until the
// next call.
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
	read := !hs.readable && hs.parser.ParsePart(hs.hello, l.scratch, &l.hello)
	if read || hs.readable && hs.parser.Parse(hs.hello, l.scratch, &l.hello) == tlsparse.Got {
		h.Name = l.hello.ServerName()
		if list := l.hello.ALPN; len(list) > 0 && int(list[0]) < len(list) {
			h.ALPN = list[1 : 1+int(list[0])]
		}
	}
	var err error
	l.opened, err = proxyheader.Append(l.opened[:0], proxyheader.Version(version), &h)
	if err != nil { // a value is too long; none that was parsed can be
		h.Name, h.ALPN = nil, nil
		l.opened, _ = proxyheader.Append(l.opened[:0], proxyheader.Version(version), &h) // nothing is left to be too long
	}
	l.opened = append(l.opened, hs.hello...)
	return l.opened
}
