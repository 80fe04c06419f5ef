package judge

import (
	"net/netip"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// versionTLS13 is its number (RFC 9846, Section 4.2.1).
const versionTLS13 = 0x0304

// Verdict is what the server's answer says of an offer.
type Verdict uint8

// The verdicts.
const (
	VerdictNone     Verdict = iota // nothing was offered, or nothing is known yet
	VerdictAccepted                // the session is resumed
	VerdictRefused                 // a full handshake follows
	VerdictUnknown                 // an alert, an unreadable answer, or none
)

// conn is what is kept of a conn from its hello until the handshake is over: what balancer.handshake is there.
type conn struct {
	pool *affinity.Pool
	name string
	size int // of the hello, in bytes

	// The offer, and what homing would have done with it at the time of the hello.
	offer     affinity.Offer
	home      affinity.Home
	hint      uint32 // the server that proved one ticket that begins like the one offered; 0: none
	sessionID affinity.Key
	client    affinity.Key
	addr      netip.Addr // of the client, in front of the balancer if that was seen
	psks      int
	passed    *passing // on to a server behind this one; nil: not as far as was seen
	early     bool
	unread    bool // it is a second hello that counts, and that offers nothing to be read

	// The answer.
	service *service // nil until a ServerHello
	version uint16
	verdict Verdict
	judged  bool // TLS <= 1.2: the message behind the ServerHello was seen
	full    bool // the server makes a full handshake
	issued  affinity.Key
	digest  affinity.Digest
	ticket  bool   // digest is in use
	row     *row   // where it is counted
	root    uint32 // when, with homing, the session would have begun that is issued here, if another is; 0: here
}

// offered says whether the client offers something: not the random session ID of every TLS 1.3 client.
func (st *conn) offered() bool {
	return st.offer.Kind != affinity.OfferNone && (!st.offer.Fake || st.home.Source == affinity.SourceSession)
}

// kind is what the offer is counted as.
func (st *conn) kind() affinity.OfferKind {
	if !st.offered() {
		return affinity.OfferNone
	}
	return st.offer.Kind
}

// Hello implements flow.Handler.
func (j *Judge) Hello(c *flow.Conn, h *tlsparse.Hello, size int) {
	j.tick(c)
	if c.Hellos > 1 {
		if st, ok := c.Data.(*conn); ok {
			j.readSecond(st, h)
		}
		return
	}
	if !j.twice(j.services[c.Server]) {
		j.hellos.add(h, size)
		j.clients.address(c.Client.Addr())
	}
	st := &conn{
		pool: j.poolOf(c.Server), name: j.nameOf(h), size: size, early: h.EarlyData, psks: h.PSKCount(), addr: c.Client.Addr(),
	}
	if !st.addr.IsValid() {
		st.addr = netip.IPv6Unspecified()
	}
	c.Data = st
	if h.ManyNames || h.NoHostName { // homing would not go by them
		j.conns.Nameless++
		return
	}
	if len(h.SessionID) > 0 {
		st.sessionID = st.pool.HashID(h.SessionID)
	}
	st.offer = offerOf(st.pool, h, st.sessionID)
	j.noteClient(c, st, h)
	st.offer.Network = affinity.HashNetwork(st.addr)
	if st.offer.Kind != affinity.OfferNone {
		st.home = st.pool.Look(&st.offer, j.now)
		if !st.home.Known() {
			st.hint = st.pool.Hint(&st.offer, j.now)
		}
	}
}

// noteClient notes whose home a handshake that h begins speaks of once it has completed. Behind a balancer that hides its
// clients' addresses, its own other side tells who they are, if it was captured too.
func (j *Judge) noteClient(c *flow.Conn, st *conn, h *tlsparse.Hello) {
	if outer, ok := j.pairs.meet(j, c, st, h); ok {
		st.addr = outer
	}
	st.client = st.pool.HashClient(st.addr, h.ServerName(), h.Shape)
	st.offer.Client = st.client
}

// readSecond makes the hello that answers a HelloRetryRequest the one that counts, as balancer/secondhello.go does.
func (j *Judge) readSecond(st *conn, h *tlsparse.Hello) {
	if h.ManyNames || h.NoHostName {
		st.unread = true
		return
	}
	if st.offer.Kind == affinity.OfferPSK {
		st.psks, st.offer.N = h.PSKCount(), 0
		if h.HasPSK {
			o := offerOf(st.pool, h, 0)
			st.offer.Idents, st.offer.N = o.Idents, o.N
		}
	}
	st.early = h.EarlyData
	st.client = st.pool.HashClient(st.addr, h.ServerName(), h.Shape)
	st.offer.Client = st.client
}

// offerOf hashes what h offers to resume, as balancer/hello.go does: PSKs before a ticket before an ID, as servers prefer
// them (RFC 9846 4.2.11, RFC 5077 3.4).
func offerOf(known *affinity.Pool, h *tlsparse.Hello, id affinity.Key) affinity.Offer {
	var o affinity.Offer
	switch {
	case h.HasPSK:
		o.Kind = affinity.OfferPSK
		for i := range min(h.PSKCount(), affinity.MaxIdents, tlsparse.MaxPSK) {
			o.Add(known.HashIdent(h.PSK(i)))
		}
		return o
	case len(h.Ticket) > 0:
		o.Kind = affinity.OfferTicket
		o.Add(known.HashIdent(h.Ticket))
	case len(h.SessionID) > 0:
		o.Kind = affinity.OfferID
		o.Fake = h.TLS13
	}
	o.ID, o.HasID = id, len(h.SessionID) > 0
	return o
}
