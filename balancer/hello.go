//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/proxyheader"
	"homing/tlsparse"
)

// manyRecords is the longest hello that may come in records of one byte, five bytes of header around each; a longer one
// may take half of its length more. Either is 96 KiB for the default limit: the room of one buffer of 128 KiB.
const manyRecords = 16 << 10 // bytes

// helloStream bounds the bytes that are kept while a hello is incomplete.
func (c *Config) helloStream() int {
	return max(6*min(c.HelloLimit, manyRecords), c.HelloLimit/2*3) + 1024
}

// becomeHello begins a conn: nothing is known but the client's address.
func (l *loop) becomeHello(c *conn, peer netip.AddrPort) {
	c.state = stateHello
	c.hs = l.takeHandshake()
	c.hs.peer = peer
	l.count.handshakes.Add(1)
	l.setDue(c, c.opened.Add(c.lane.cfg.HelloTimeout))
	c.hs.heading = c.lane.gate.speaksFor(peer)
	if !c.hs.heading && !l.admits(c) {
		return
	}
	if c.lane.gate.TLS == TLSOff && !c.hs.heading {
		c.watched = len(c.lane.gate.AcceptProxy) > 0
		l.countHello(c, HelloSkipped)
		l.enter(c, c.lane.gate.fallback)
		return
	}
	c.hs.parser.Reset(c.lane.cfg.HelloLimit)
	c.hs.conn = c.index
	l.young.add(c.hs)
	l.count.young.Add(1)
	l.recv(c)
}

// helloReceived gathers the client's first bytes until they are a hello or cannot become one.
func (l *loop) helloReceived(c *conn, done *netio.Completion) {
	hs := c.hs
	if done.Errno == 0 && done.N == 0 && !hs.heading && hs.parser.Next(hs.hello) == tlsparse.Opaque {
		c.flows[sideClient].flags |= ended // with the begin of a PROXY header that is none
		l.opaque(c)
		return
	}
	if done.Errno != 0 || done.N == 0 {
		l.countHello(c, HelloClosed)
		l.becomeClosing(c, CauseClient, done.Errno != 0)
		return
	}
	if !l.gather(c, done.Buf) {
		l.countHello(c, HelloShed)
		l.count.shed.Add(1)
		l.becomeClosing(c, CauseResource, true)
		return
	}
	if hs.heading && !l.headerRead(c) {
		return
	}
	switch hs.parser.Next(hs.hello) {
	case tlsparse.NeedMore:
		if len(hs.hello) > c.lane.cfg.helloStream() {
			l.helloTooLong(c)
			return
		}
		l.eng.Ack(c.socks[sideClient]) // or Nagle's algorithm may keep the rest at the client
		l.recv(c)
	case tlsparse.Got:
		if hs.parser.Parse(hs.hello, l.scratch, &l.hello) != tlsparse.Got {
			l.helloUnread(c, HelloInvalid)
			return
		}
		l.helloRead(c)
	case tlsparse.Opaque:
		l.opaque(c)
	case tlsparse.Invalid:
		if hs.parser.TooLong() {
			l.helloTooLong(c)
			return
		}
		l.helloUnread(c, HelloInvalid)
	}
}

// helloTooLong sends a conn whose hello is too long to be waited for, or to be read, where the name in its first bytes
// says. What it offers to resume stays unread: it is fresh there.
func (l *loop) helloTooLong(c *conn) {
	hs, h := c.hs, &l.hello
	if !hs.parser.ParsePart(hs.hello, l.scratch, h) {
		l.helloUnread(c, HelloTooLong)
		return
	}
	l.countHello(c, HelloTooLong)
	if c.record != nil {
		c.record.SNI = string(h.ServerName())
	}
	to := c.lane.gate.latest().route(h.ServerName(), h.ALPN)
	if addr := hs.peer.Addr(); to != nil && addr.IsValid() {
		hs.client = to.known.HashClient(addr, h.ServerName(), h.Shape) // for the policy
	}
	l.enter(c, to)
}

// opaque goes on with a client that does not speak TLS, once it is sure that it does not begin with a PROXY header
// either, which it may not send.
func (l *loop) opaque(c *conn) {
	outcome := HelloOpaque
	if c.hs.parser.SSLv2() {
		outcome = HelloSSLv2
	}
	if len(c.lane.gate.latest().AcceptProxy) > 0 {
		var w proxyheader.Watch
		switch w.Next(c.hs.hello) {
		case proxyheader.NeedMore:
			if !c.flows[sideClient].is(ended) {
				l.eng.Ack(c.socks[sideClient])
				l.recv(c)
				return
			}
		case proxyheader.Got:
			l.countHello(c, outcome)
			l.refuse(c, RefusedHeader)
			return
		case proxyheader.Invalid:
		}
	}
	l.helloUnread(c, outcome)
}

// helloUnread goes on with a client whose hello cannot be read, or not be gone by: as fresh in the default pool, or not
// at all. Unknown must not mean weaker.
func (l *loop) helloUnread(c *conn, o HelloOutcome) {
	l.countHello(c, o)
	g := c.lane.gate.latest()
	if g.TLS == TLSRequire {
		l.refuse(c, RefusedNoTLS)
		return
	}
	l.oweAck(c, sideClient)
	l.enter(c, g.fallback)
}

// enter puts the conn into a pool, for good; nil is none.
func (l *loop) enter(c *conn, to *lane) {
	if to == nil {
		l.refuse(c, RefusedNoRoute)
		return
	}
	c.lane = to
	inc(&to.share.count.Routed)
	inc(&to.share.count.Open)
	if c.record != nil {
		c.record.Pool = to.pool.Name()
	}
	if c.hs.readable {
		l.readOffer(c)
	}
	l.depart(c)
}

// helloRead sends the conn where the parsed hello says.
func (l *loop) helloRead(c *conn) {
	hs, h := c.hs, &l.hello
	hs.later = len(hs.hello) > hs.parser.End()
	if c.record != nil {
		c.record.SNI = string(h.ServerName())
	}
	switch {
	case h.ManyNames: // which name the server will take is its secret
		l.helloUnread(c, HelloNames)
		return
	case h.NoHostName: // nor what it makes of this
		l.helloUnread(c, HelloNoName)
		return
	case h.ECH:
		l.countHello(c, HelloECH)
	default:
		l.countHello(c, HelloTLS)
	}
	hs.readable = true
	l.enter(c, c.lane.gate.latest().route(h.ServerName(), h.ALPN))
}

// readOffer turns the parsed hello into an offer to the conn's pool. The hello itself stays in the buffer; of its
// identifiers only hashes are kept, which no other pool would make of them.
func (l *loop) readOffer(c *conn) {
	hs, h := c.hs, &l.hello
	known := c.lane.known
	hs.early = h.EarlyData
	hs.psks = h.PSKCount()
	if len(h.SessionID) > 0 {
		hs.sessionID = known.HashID(h.SessionID)
	}
	hs.offer = offerOf(known, h, hs.sessionID)
	hs.offer.RefreshOnly = l.mayHide(c, h)
	hs.offer.Network = affinity.HashNetwork(hs.peer.Addr())
	l.noteClient(c, h)
}

// noteClient notes whose home, and which server name, a handshake that h begins speaks of once it has completed.
func (l *loop) noteClient(c *conn, h *tlsparse.Hello) {
	hs := c.hs
	c.name = c.lane.pool.Names().Offer(h.ServerName())
	if addr := hs.peer.Addr(); addr.IsValid() { // those of a unix socket are not one client
		hs.client = c.lane.known.HashClient(addr, h.ServerName(), h.Shape)
	}
	hs.offer.Client = hs.client
}

// mayHide reports whether the server may find another hello in h, by ECH, whose identities it accepts.
func (l *loop) mayHide(c *conn, h *tlsparse.Hello) bool {
	return h.ECH && c.lane.pool.Snapshot().Options().ECH
}

// offerOf hashes what h offers to resume: PSKs before a ticket before an ID, as servers prefer them (RFC 9846 4.2.11,
// RFC 5077 3.4).
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

// depart ends stateHello: the first backend is chosen.
func (l *loop) depart(c *conn) {
	hs := c.hs
	l.unlist(hs)
	hs.helloAt = l.now
	hs.deadline = l.now.Add(c.lane.cfg.ConnectTimeout)
	known := c.lane.known
	if hs.offer.Kind != affinity.OfferNone {
		hs.home = known.Find(&hs.offer, l.unix)
	}
	if hs.offered() {
		inc(&c.lane.share.count.Offers[hs.offer.Kind])
		hs.holding = true
	} else {
		inc(&c.lane.share.count.Offers[affinity.OfferNone])
	}
	share := c.lane.share
	if !hs.offered() && l.memoryTight() {
		l.refuse(c, RefusedMemory)
		return
	}
	share.budget = min(share.budget+c.lane.pool.Snapshot().Options().SecondChance.Budget, budgetBurst)
	l.becomeConnect(c, l.decide(c))
}

// admits asks whether a client may come in, now that its address is known, and counts it. Otherwise the conn is refused
// and gone.
func (l *loop) admits(c *conn) bool {
	g := c.lane.gate
	addr := c.hs.peer.Addr().Unmap().WithZone("")
	if g.denied.has(addr) || len(g.Allow) > 0 && !g.allowed.has(addr) {
		l.refuse(c, RefusedDenied)
		return false
	}
	limits := &g.cfg.Clients
	if limits.MaxConns == 0 && limits.Rate == 0 || !addr.IsValid() { // those of a unix socket are not one source
		return true
	}
	ref, why := l.b.networks.take(addr, limits)
	if why != RefusedNone {
		l.refuse(c, why)
		return false
	}
	c.network = ref
	return true
}

// headerRead takes the PROXY header off the client's first bytes. It reports whether there is more to be read as a
// hello; otherwise the conn goes on by itself, or is refused.
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
