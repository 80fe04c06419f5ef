//go:build linux

package balancer

import (
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

const (
	// claimsPerWindow is how many handshakes the clients of one network (/24, /48) may
	// bring to a backend that is being drained, in each claimWindow and by each loop, on
	// the strength of offers that it has not accepted. Anybody can write the name of its
	// ticket key into an offer, and each such handshake is a full one. As many resumptions
	// may be under way at a time: all clients may stand behind one address.
	claimsPerWindow = 64
	claimWindow     = 60 // seconds

	// claimSlots bounds what is remembered of networks, 3 kB. Those that meet in a slot
	// share what they may: what is lost by it is a resumption at a backend that goes.
	claimSlots = 256
)

// claims counts, by network and backend, the handshakes that were sent to backends
// which are being drained, less those in which the offer was accepted.
type claims [claimSlots]claim

type claim struct {
	open  uint16
	until uint32 // Unix seconds: the end of the window
}

// slot is where the claims of the conn's network to backend b are counted, in a window
// that is not over.
func (s *share) slot(hs *handshake, b *pool.Backend, now uint32) *claim {
	if s.claims == nil {
		s.claims = new(claims) // once per pool: nobody drains, as a rule
	}
	c := &s.claims[affinity.Spread(hs.offer.Network, uint32(b.ID))%claimSlots]
	if c.until <= now {
		*c = claim{until: now + claimWindow}
	}
	return c
}

// mayClaim reports whether the conn may go to b for the sake of what it offers, and
// counts it if b is being drained: such a backend gets its own resumptions, and no more
// of what a client only says to be one than claimsPerWindow.
func (l *loop) mayClaim(c *conn, b *pool.Backend) bool {
	if b.InService() {
		return true
	}
	s := c.lane.share.slot(c.hs, b, l.unix)
	if s.open >= claimsPerWindow {
		return false
	}
	s.open++
	return true
}

// claimProved takes a claim back that was no mere claim: the backend has accepted.
func (l *loop) claimProved(c *conn) {
	if c.backend.InService() {
		return
	}
	if s := c.lane.share.slot(c.hs, c.backend, l.unix); s.open > 0 {
		s.open--
	}
}
