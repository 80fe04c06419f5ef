//go:build linux

package balancer

import (
	"math/rand/v2"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// route picks the backend for c's hello by the rules of DESIGN.md section 3.3,
// passing over those that were tried already, and notes by which rule. It is
// asked again for every replay. nil: no backend is left.
func (l *loop) route(c *conn) *pool.Backend {
	hs := c.hs
	s := c.lane.pool.Snapshot()
	hs.source = hs.home.Source
	if b := l.routeHome(c, s); b != nil {
		if l.mayClaim(c, b) {
			return b
		}
		l.notClaimed(hs)
	}
	if hs.source == affinity.SourceExplore {
		if b := l.explore(c, s); b != nil {
			return b
		}
		// Every live backend has refused its like, which may have been junk under the name
		// of a key of one of them. By chance, not by turns: whoever sends junk could have
		// the turn always come to the wrong one, and the name never be learned.
		if b := s.Maglev(rand.Uint64(), hs.skip); b != nil {
			hs.source = affinity.SourceFresh
			return b
		}
	}
	hs.source = affinity.SourceFresh
	if b := s.Fresh(s.Options().Policy, uint64(hs.client), hs.skip); b != nil {
		return b
	}
	// Every backend is down, full or tried: the one marked last may be back.
	if b := s.LastDown(); b != nil && !hs.skip.Has(b.ID) {
		return b
	}
	if hs.late { // it waits at whoever has room next, for as long as connects may take
		hs.late, hs.skip = false, pool.Skip{}
		return l.route(c)
	}
	return nil
}

// notClaimed goes on to the next rule from a home that is being drained and gets no more
// of the client's network.
func (l *loop) notClaimed(hs *handshake) {
	if hs.source == affinity.SourceClient && hs.offer.N > 0 {
		hs.source = affinity.SourceExplore // it may still be somebody else's
		return
	}
	hs.lost, hs.source = LostDrained, affinity.SourceFresh
}

// routeHome is rules 1 to 3: the backend, or one of the set, that is known to be
// able to accept the offer. nil sets hs.source to the rule that comes next, and
// hs.lost to the reason why the home could not be used.
func (l *loop) routeHome(c *conn, s *pool.Snapshot) *pool.Backend {
	hs := c.hs
	switch home := &hs.home; home.Source {
	case affinity.SourceSession, affinity.SourceTicketKey:
		var b *pool.Backend
		switch {
		case home.Any:
			b = s.Maglev(home.Hash, hs.skip)
		case len(home.Set) > 0:
			b = ofSet(home, s, hs.skip)
		default:
			return l.single(c, s)
		}
		if b == nil {
			hs.lost = LostDown
			hs.source = affinity.SourceFresh
		}
		return b
	case affinity.SourceClient:
		b := s.ByID(pool.ID(home.ID))
		// A session ID that nobody knows may be none: it is a guess too many for a
		// backend that is to get no fresh handshakes.
		guess := hs.offer.N > 0 || b != nil && b.InService()
		if guess && b != nil && s.Usable(b) == pool.UsableOK && !hs.skip.Has(b.ID) {
			return b
		}
		// What is offered may still be somebody else's.
		hs.source = affinity.SourceExplore
		if hs.offer.N == 0 {
			hs.source = affinity.SourceFresh
		}
	case affinity.SourceFresh, affinity.SourceExplore:
	}
	return nil
}

// ofSet is one of the homes of a ticket key: of those that are not doubted, while one
// of them can be used.
func ofSet(home *affinity.Home, s *pool.Snapshot, skip pool.Skip) *pool.Backend {
	if home.Doubted != 0 {
		trusted := skip
		for i, id := range home.Set[:min(len(home.Set), 64)] {
			if home.Doubted>>i&1 != 0 && !trusted.Add(pool.ID(id)) {
				break // so many doubts are none
			}
		}
		if b := s.MaglevOf(home.Hash, home.Set, trusted); b != nil {
			return b
		}
	}
	return s.MaglevOf(home.Hash, home.Set, skip)
}

// single is the one home of the offer, or nil when it cannot be used; then
// nobody else can accept the offer and it goes on as fresh.
func (l *loop) single(c *conn, s *pool.Snapshot) *pool.Backend {
	hs := c.hs
	b := s.ByID(pool.ID(hs.home.ID))
	if b != nil && !hs.skip.Has(b.ID) {
		switch s.Usable(b) {
		case pool.UsableOK:
			return b
		case pool.UsableDown:
			hs.lost = LostDown
		case pool.UsableFull, pool.UsableOverloaded:
			hs.lost = LostOverloaded
		case pool.UsableHardDrained:
			hs.lost = LostDrained
		}
	} else {
		hs.lost = LostDown
	}
	hs.source = affinity.SourceFresh
	return nil
}

// explore is rule 4: a backend that may have issued the unknown identifier, the
// same on every node, passing over those that have refused its kind.
func (l *loop) explore(c *conn, s *pool.Snapshot) *pool.Backend {
	hs := c.hs
	known := c.lane.known
	if id := pool.ID(known.Hint(&hs.offer, l.unix)); id != pool.NoID && !hs.skip.Has(id) {
		if b := s.ByID(id); b != nil && s.Usable(b) == pool.UsableOK && l.mayClaim(c, b) {
			return b
		}
	}
	skip := hs.skip
	for {
		b := s.Maglev(known.Explore(&hs.offer), skip)
		if b == nil {
			return nil // all have refused it, or none is live
		}
		if !known.WasRefused(&hs.offer, uint32(b.ID), l.unix) {
			return b
		}
		if !skip.Add(b.ID) {
			return b // enough looked at: one more refusal costs less than a longer walk
		}
	}
}
