//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/tlsparse"
)

// helloStreamFactor bounds the bytes kept while a hello is incomplete, as a
// multiple of the hello limit: records of one byte cost five bytes each around it.
const helloStreamFactor = 6

// becomeHello begins a conn: nothing is known but the client's address.
func (l *loop) becomeHello(c *conn, peer netip.AddrPort) {
	c.state = stateHello
	c.hs = l.takeHandshake()
	c.hs.peer = peer
	l.count.handshakes.Add(1)
	l.setDue(c, c.opened.Add(l.cfg.HelloTimeout))
	if l.listeners[c.listener].TLS == TLSOff {
		l.countHello(c, HelloSkipped)
		l.depart(c)
		return
	}
	c.hs.parser.Reset(l.cfg.HelloLimit)
	l.recv(c, sideClient)
}

// helloReceived gathers the client's first bytes until they are a hello or
// cannot become one.
func (l *loop) helloReceived(c *conn, done *netio.Completion) {
	if done.Errno != 0 || done.N == 0 {
		l.countHello(c, HelloClosed)
		l.becomeClosing(c, CauseClient, done.Errno != 0)
		return
	}
	hs := c.hs
	if !l.gather(c, done.Buf) {
		l.countHello(c, HelloShed)
		l.count.shed.Add(1)
		l.becomeClosing(c, CauseResource, true)
		return
	}
	switch hs.parser.Next(hs.hello) {
	case tlsparse.NeedMore:
		if len(hs.hello) > helloStreamFactor*l.cfg.HelloLimit+1024 {
			l.helloUnread(c, HelloTooLong)
			return
		}
		l.eng.Ack(c.socks[sideClient]) // or Nagle's algorithm may keep the rest at the client
		l.recv(c, sideClient)
	case tlsparse.Got:
		if hs.parser.Parse(hs.hello, l.scratch, &l.hello) != tlsparse.Got {
			l.helloUnread(c, HelloInvalid)
			return
		}
		l.helloRead(c)
	case tlsparse.Opaque:
		outcome := HelloOpaque
		if hs.parser.SSLv2() {
			outcome = HelloSSLv2
		}
		l.helloUnread(c, outcome)
	case tlsparse.Invalid:
		outcome := HelloInvalid
		if hs.parser.TooLong() {
			outcome = HelloTooLong
		}
		l.helloUnread(c, outcome)
	}
}

// helloUnread goes on with a client whose hello cannot be read: as fresh, or not
// at all.
func (l *loop) helloUnread(c *conn, o HelloOutcome) {
	l.countHello(c, o)
	if l.listeners[c.listener].TLS == TLSRequire {
		l.becomeClosing(c, CauseRefused, true)
		return
	}
	l.depart(c)
}

// helloRead turns the parsed hello into an offer. The hello itself stays in the
// buffer; of its identifiers only hashes are kept.
func (l *loop) helloRead(c *conn) {
	hs, h := c.hs, &l.hello
	known := l.listeners[c.listener].affinity
	hs.readable = true
	hs.later = len(hs.hello) > hs.parser.End()
	hs.early = h.EarlyData
	hs.psks = h.PSKCount()
	if c.record != nil {
		c.record.SNI = string(h.ServerName())
	}
	if len(h.SessionID) > 0 {
		hs.sessionID = known.HashID(h.SessionID)
	}
	if h.ManyNames {
		// Which name the server will take is its secret: unknown must not mean weaker.
		if l.listeners[c.listener].TLS == TLSRequire {
			l.countHello(c, HelloNames)
			l.becomeClosing(c, CauseRefused, true)
			return
		}
		hs.readable = false
		l.countHello(c, HelloNames)
		l.depart(c)
		return
	}
	if h.ECH {
		l.countHello(c, HelloECH)
	} else {
		l.countHello(c, HelloTLS)
	}
	c.name = l.listeners[c.listener].Pool.Names().Offer(h.ServerName())
	addr := hs.peer.Addr()
	hs.client = known.HashClient(addr, h.ServerName(), h.Shape)
	hs.offer = offerOf(known, h, hs.sessionID)
	hs.offer.Client = hs.client
	hs.offer.RefreshOnly = h.ECH && l.cfg.ECH
	hs.offer.Network = affinity.HashNetwork(addr)
	l.depart(c)
}

// offerOf hashes what h offers to resume: PSKs before a ticket before an ID, as
// servers prefer them (RFC 9846 4.2.11, RFC 5077 3.4).
func offerOf(known *affinity.Pool, h *tlsparse.Hello, id affinity.Key) affinity.Offer {
	var o affinity.Offer
	switch {
	case h.HasPSK:
		o.Kind = affinity.OfferPSK
		for i := range min(h.PSKCount(), affinity.MaxIdents, tlsparse.MaxPSK) {
			o.Idents[i] = known.HashIdent(h.PSK(i))
			o.N++
		}
		return o
	case len(h.Ticket) > 0:
		o.Kind = affinity.OfferTicket
		o.Idents[0] = known.HashIdent(h.Ticket)
		o.N = 1
	case len(h.SessionID) > 0:
		o.Kind = affinity.OfferID
		o.Fake = h.TLS13 // every TLS 1.3 client sends a random ID: looked up, but no offer if unknown
	}
	o.ID, o.HasID = id, len(h.SessionID) > 0
	return o
}

func (l *loop) countHello(c *conn, o HelloOutcome) {
	l.count.hellos[o].Add(1)
	if c.record != nil {
		c.record.Hello = o
	}
}

// depart ends stateHello: the first backend is chosen.
func (l *loop) depart(c *conn) {
	hs := c.hs
	l.unlist(hs)
	hs.helloAt = l.now
	hs.deadline = l.now.Add(l.cfg.ConnectTimeout)
	known := l.listeners[c.listener].affinity
	if hs.offer.Kind != affinity.OfferNone {
		hs.home = known.Find(&hs.offer, l.unix)
	}
	if hs.offered() {
		l.count.offers[hs.offer.Kind].Add(1)
		hs.holding = true
	} else {
		l.count.offers[affinity.OfferNone].Add(1)
	}
	l.budget = min(l.budget+l.cfg.SecondChance.Budget, budgetBurst)
	l.becomeConnect(c, l.route(c))
}
