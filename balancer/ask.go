//go:build linux

package balancer

import (
	"errors"
	"math/rand/v2"
	"net/netip"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/balancer/rules"
	"homing/tlsparse"
)

// OfferOf is what a ClientHello offers in a pool, as a loop reads it: for who asks where it would go. stream is all
// that the client has sent, from the first record on; from is the client's address, not valid where it is not known. It
// fails for what is no whole hello.
func OfferOf(known *affinity.Pool, stream []byte, from netip.Addr) (affinity.Offer, error) {
	var parser tlsparse.Client
	var h tlsparse.Hello
	parser.Reset(tlsparse.MaxHelloLimit)
	if parser.Next(stream) != tlsparse.Got || parser.Parse(stream, make([]byte, len(stream)), &h) != tlsparse.Got {
		return affinity.Offer{}, errors.New("is no whole TLS ClientHello")
	}
	offer := offerOf(known, &h, known.HashID(h.SessionID))
	if from.IsValid() {
		offer.Client, offer.Network = known.HashClient(from, h.ServerName(), h.Shape), affinity.HashNetwork(from)
	}
	return offer, nil
}

// ask fills in q, which is empty, with what package rules is asked about c.
func (l *loop) ask(c *conn, q *rules.Question) {
	hs := c.hs
	q.Offer, q.Home, q.Client, q.Tried, q.Late = &hs.offer, &hs.home, uint64(hs.client), &hs.skip, hs.late
	q.Claims, q.Now = c.lane.share.claims, l.unix
	if q.Guesses() {
		q.Chance = rand.Uint64()
	}
}

// decide says where c's hello goes, passing over the backends that were tried already. It is asked again for every
// replay.
func (l *loop) decide(c *conn) rules.Decision {
	var q rules.Question
	l.ask(c, &q)
	s := c.lane.pool.Snapshot()
	d := rules.Decide(&q, c.lane.known, s)
	for !d.Take(s) {
		d = rules.Decide(&q, c.lane.known, s)
	}
	if d.Anew {
		c.hs.late, c.hs.skip = false, pool.Skip{}
	}
	return d
}

// note keeps by which rule the conn goes where, and why not home. Without a home it has only what a backend has told by
// refusing, which stays.
func (hs *handshake) note(d rules.Decision) {
	hs.source = d.Rule
	if hs.home.Known() {
		hs.lost = lostHome(d.Why)
	}
}

// decided says that the conn has a place at d's backend, acquired, and counts it if it is one for what it claims to be.
func (l *loop) decided(c *conn, d rules.Decision) {
	c.hs.note(d)
	if d.Claims() {
		if c.lane.share.claims == nil {
			c.lane.share.claims = new(rules.Claims) // once per pool: nobody drains, as a rule
		}
		c.lane.share.claims.Made(c.hs.offer.Network, d.Backend, l.unix)
	}
}

// lostHome translates why a home could not be used.
func lostHome(why pool.Unusable) Lost {
	return [...]Lost{
		pool.UsableOK: LostNone, pool.UsableDown: LostDown,
		pool.UsableFull: LostOverloaded, pool.UsableOverloaded: LostOverloaded,
		pool.UsableHardDrained: LostDrained,
	}[why]
}
