package diagnose

import (
	"context"
	"slices"
	"time"

	"homing/bench/tlscore"
)

// course is the way through one kind at one address: full handshakes, to see who gives what; offers of the newest session,
// as clients make them; and where some are refused, offers of one and the same session in a row.
type course struct {
	*examiner
	a       *Address
	kind    tlscore.Kind
	p       *Probe
	newest  *tlscore.Session
	renewed bool             // newest is of a resumed conn
	used    *tlscore.Session // accepted last
	refused *tlscore.Session // refused last
	rival   *tlscore.Session // given by who refused it
	answers []answer
	ids     [][]byte // session IDs given where no ticket was asked for
	noRoute bool     // this machine has no way to the address
	final   bool     // what failed would fail for the other kinds too
}

// maxFailures is how many conns in a row may come to no end before the rest is not tried.
const maxFailures = 3

func (c *course) run(ctx context.Context) {
	defer c.sumUp()
	failures := 0
	for i := 0; i <= 2*c.options.Tries && ctx.Err() == nil; i++ {
		census := i <= c.options.Tries
		if !census && c.newest == nil {
			break // nothing is given
		}
		offered, renewed := c.newest, c.renewed
		if census {
			offered = nil
		}
		v, ok := c.offer(ctx, offered)
		if !ok {
			failures++
			c.noRoute, c.final = v.noRoute, v.final && c.p.Fresh == 0
			if failures == maxFailures || c.p.Fresh == 0 && (v.refused || v.noRoute || late(v.err)) {
				return
			}
			continue
		}
		failures, c.final = 0, false
		if offered != nil {
			c.count(offered, renewed, &v)
		}
		if n := len(v.sessions); n > 0 {
			if v.sessions[n-1] != c.newest {
				c.renewed = v.resumed
			}
			c.newest = v.sessions[n-1]
		}
	}
	c.why(ctx)
}

// count counts an offer of the newest session.
func (c *course) count(offered *tlscore.Session, renewed bool, v *visit) {
	c.p.Offered++
	if renewed {
		c.p.RenewedOffered++
	}
	switch {
	case v.resumed:
		c.p.Accepted++
		if renewed {
			c.p.RenewedAccepted++
		}
		c.used = offered
	case len(v.sessions) > 0:
		c.refused, c.rival = offered, v.sessions[len(v.sessions)-1]
	default:
		c.refused = offered
	}
}

// maxRounds bounds the rounds of offers that find out why others were refused.
const maxRounds = 4

// why makes the further conns that tell why offers were refused, or how good those accepted are. A session that was refused
// is offered again and again, and then one that came with the refusal. Where two servers refuse each other's sessions, a
// conn that is good for the one is bad for the other: together no more than half are accepted. A server that refused for
// once accepts nearly all.
func (c *course) why(ctx context.Context) {
	if c.p.Accepted == c.p.Offered {
		if c.used != nil && c.kind != tlscore.OfferID {
			again := Offers{}
			c.series(ctx, c.used, 2, &again.Offered, &again.Accepted)
			c.p.SingleUse = again.Offered > 0 && again.Accepted == 0
		}
		return
	}
	if c.rival == nil { // who refuses gives nothing
		c.rival = c.newest
	}
	for round := 1; round <= maxRounds && ctx.Err() == nil; round++ {
		n := c.options.Tries + round - 1 // not in step with backends in turn each time
		c.series(ctx, c.refused, n, &c.p.RefusedAgainOffered, &c.p.RefusedAgainAccepted)
		c.series(ctx, c.rival, n, &c.p.AgainOffered, &c.p.AgainAccepted)
		if l := c.p.loss(); l != unsure && (l != momentary || round > 1) {
			return
		}
	}
}

// series offers one session n times in a row.
func (c *course) series(ctx context.Context, s *tlscore.Session, n int, offered, accepted *int) {
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if v, ok := c.offer(ctx, s); ok {
			*offered++
			if v.resumed {
				*accepted++
			}
		}
	}
}

// offer makes one conn and notes what it gave.
func (c *course) offer(ctx context.Context, s *tlscore.Session) (visit, bool) {
	v := c.visitor.visit(ctx, c.a, c.kind, s)
	if v.err != nil {
		if c.p.Fresh == 0 && c.p.Error == "" {
			c.p.Error, c.p.Refused = v.err.Error(), v.refused
		}
		c.p.Failed++
		return v, false
	}
	c.a.AsksClient = c.a.AsksClient || v.asked
	// A server may give a session ID to a client that asked for a ticket: that is another kind.
	v.sessions = slices.DeleteFunc(v.sessions, func(got *tlscore.Session) bool {
		return c.kind == tlscore.OfferID && len(got.ID) == 0 || c.kind != tlscore.OfferID && len(got.Ticket) == 0
	})
	seen := answer{resumed: v.resumed, cut: v.cut}
	if s != nil {
		seen.offered = s.Ticket
	}
	for _, got := range v.sessions {
		switch {
		case got == s: // not given, but resumed
		case c.kind == tlscore.OfferID:
			c.ids = append(c.ids, got.ID)
		default:
			seen.given = append(seen.given, got.Ticket)
			c.p.TicketBytes, c.p.LifetimeSeconds = max(c.p.TicketBytes, len(got.Ticket)), int(got.Lifetime/time.Second)
			c.p.EarlyDataBytes = got.MaxEarlyData
		}
	}
	c.answers = append(c.answers, seen)
	if !v.resumed {
		c.p.Fresh++
		if len(v.sessions) > 0 {
			c.p.Issued++
			c.p.PerHandshake = len(v.sessions)
		}
	}
	return v, true
}

// sumUp derives what the probe says.
func (c *course) sumUp() {
	if c.p.Fresh > 0 {
		c.p.Error, c.p.Refused = "", false // it came and went: Failed counts it
	} else {
		c.p.Failed = 0
	}
	c.p.Verdict = c.p.verdict()
	if c.kind == tlscore.OfferID {
		c.p.PerHandshake = 0
	}
}
