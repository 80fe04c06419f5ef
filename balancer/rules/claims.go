package rules

import (
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

const (
	// ClaimsPerWindow is how many handshakes the clients of one network (/24, /48) may bring to a backend that is being
	// drained, in each claimWindow and by each loop, on the strength of offers that it has not accepted. Anybody can write
	// the name of its ticket key into an offer, and each such handshake is a full one. As many resumptions may be under way
	// at a time: all clients may stand behind one address.
	ClaimsPerWindow = 64
	claimWindow     = 60 // seconds

	// claimSlots bounds what is remembered of networks, 3 kB. Those that meet in a slot share what they may: what is lost
	// by it is a resumption at a backend that goes.
	claimSlots = 256
)

// Claims counts, by network and backend, the handshakes that were sent to backends which are being drained, less those in
// which the offer was accepted. For one loop and pool. nil: none was.
type Claims [claimSlots]claim

type claim struct {
	open  uint16
	until uint32 // Unix seconds: the end of the window
}

// at is where the claims of a network to a backend are counted.
func (c *Claims) at(network uint32, b *pool.Backend) *claim {
	return &c[affinity.Spread(network, uint32(b.ID))%claimSlots]
}

// May reports whether a client of the network may go to b for the sake of what it offers: a backend that is being drained
// gets its own resumptions, and no more of what a client only says to be one than ClaimsPerWindow.
func (c *Claims) May(network uint32, b *pool.Backend, now uint32) bool {
	if c == nil || b.InService() {
		return true
	}
	one := c.at(network, b)
	return one.until <= now || one.open < ClaimsPerWindow
}

// Made counts a claim to b, which is being drained.
func (c *Claims) Made(network uint32, b *pool.Backend, now uint32) {
	one := c.at(network, b)
	if one.until <= now {
		*one = claim{until: now + claimWindow}
	}
	one.open++
}

// Proved takes a claim back that was no mere claim: b has accepted.
func (c *Claims) Proved(network uint32, b *pool.Backend, now uint32) {
	if c == nil || b.InService() {
		return
	}
	if one := c.at(network, b); one.until > now && one.open > 0 {
		one.open--
	}
}
