//go:build linux

package balancer

import (
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// tallyBytes counts for its backend what the conn has just received: f.bytes has it already.
func (c *conn) tallyBytes(from side, n int) {
	if c.backend != nil && n > 0 {
		after := c.flows[from].bytes
		c.backend.CountBytes(from == sideClient, after-uint64(n), after)
	}
}

// tallyRest counts at the conn's end what tallyBytes has left.
func (c *conn) tallyRest() {
	c.backend.CountRest(true, c.flows[sideClient].bytes)
	c.backend.CountRest(false, c.flows[sideBackend].bytes)
}

// tallyVerdict counts the verdict for the backend that gave it, and what was lost for the one that should have had it.
func (c *conn) tallyVerdict() {
	hs := c.hs
	if hs.verdict == VerdictAccepted || hs.verdict == VerdictRefused {
		c.backend.CountVerdict(hs.verdict == VerdictAccepted)
	}
	if hs.verdict == VerdictAccepted || hs.lost == LostNone {
		return
	}
	if !hs.home.Known() {
		return // nobody's, as far as is known
	}
	if hs.source == hs.home.Source {
		c.backend.CountLost() // it was sent home, and refused there
	} else if home := c.lane.pool.Snapshot().ByID(pool.ID(hs.home.ID)); home != nil {
		home.CountLost()
	}
}

// uncount counts what accepted and enter have begun as over.
func (l *loop) uncount(c *conn) {
	if c.network != 0 { // else no networks may be counted, and a reload may be making the first count of them
		l.b.networks.give(c.network)
	}
	l.count.open.Add(^uint64(0))
	dec(&c.lane.gate.count.Open)
	if share := c.lane.share; share != nil {
		dec(&share.count.Open)
		atomic.AddUint64(&share.count.BytesIn, c.flows[sideClient].bytes)
		atomic.AddUint64(&share.count.BytesOut, c.flows[sideBackend].bytes)
	}
}

// terminations is where the end of the lane's conns is counted.
func (ln *lane) terminations() *[NumCauses][NumPhases]uint64 {
	if ln.share == nil {
		return &ln.gate.count.Terminations
	}
	return &ln.share.count.Terminations
}

// countDecision counts by which rule the decision was made, once its backend is final.
func (l *loop) countDecision(c *conn) {
	inc(&c.lane.share.count.Decisions[c.hs.source])
	c.lane.share.count.ConnectTimes.count(c.hs.connectTime())
	c.backend.CountConn(!c.hs.offered())
}

// connectTime is from the hello to its having been sent, but for the time in the queue.
func (hs *handshake) connectTime() time.Duration {
	return hs.sentAt.Sub(hs.helloAt) - hs.turn.waitedFor()
}

// countVerdict counts the verdict on the offer, once.
func (l *loop) countVerdict(c *conn) {
	hs := c.hs
	if hs.counted || hs.offer.Kind == affinity.OfferNone {
		return
	}
	hs.counted = true
	if !hs.offered() {
		// A random-looking ID that a server knew after all.
		dec(&c.lane.share.count.Offers[affinity.OfferNone])
		inc(&c.lane.share.count.Offers[hs.offer.Kind])
	}
	inc(&c.lane.share.count.Verdicts[hs.offer.Kind][hs.verdict])
	if hs.verdict != VerdictAccepted && hs.lost != LostNone {
		inc(&c.lane.share.count.Lost[hs.lost])
	}
	c.tallyVerdict()
}

func (l *loop) countHello(c *conn, o HelloOutcome) {
	inc(&c.lane.gate.count.Hellos[o])
	if c.record != nil {
		c.record.Hello = o
	}
}
