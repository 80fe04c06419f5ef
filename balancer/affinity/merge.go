package affinity

import (
	"context"
	"time"
)

const (
	// mergeSize is how many ticket keys of other nodes wait for the owner. Who brings more waits, which is no loop.
	mergeSize = 1024

	// maxLife is how far ahead an expiry may lie, in seconds. What lies beyond was made by a broken clock.
	maxLife = uint32(MaxTTL / time.Second)

	// maxAhead is how far ahead, in seconds, a refutation may lie: what the clocks of two nodes may differ and a
	// message takes. Beyond, it would outweigh proofs to come.
	maxAhead = 5

	// maxPools bounds the pools that the facts of other nodes can call into being.
	maxPools = 1024
)

// Merge takes over facts of another node, or of this one before it was restarted, and returns how many were news. The
// result does not depend on the order of facts, nor on how often one comes:
//
//	exact entry, client home  the later expiry, but none later than it was to live when
//	                          it was proved, from now on; then the larger backend ID
//	ticket key, key gone      per backend, the latest proof if it is later than the
//	                          latest refutation, else nothing
//
// No client is heard here: who calls it has the facts from a peer that holds the node key, from a state file of its
// own, or from the process before.
//
// Merged facts are not told to Config.Fact. Ticket keys are the owner's to merge: Merge waits while its ring is full,
// until ctx is done, and counts them all as news. No loop may call it.
func (s *Store) Merge(ctx context.Context, facts []Fact, now uint32) (news int) {
	defer func() { s.changes.Add(uint64(news)) }()
	for i := range facts {
		f := &facts[i]
		switch f.Kind {
		case FactEntry:
			if s.mergeEntry(f, now) {
				news++
			}
		case FactClient:
			if s.mergeClient(f, now) {
				news++
			}
		case FactKeyHome, FactKeyGone:
			select {
			case s.merges <- merger{fact: *f, now: now}:
				news++
			case <-ctx.Done():
				return news
			}
		}
	}
	return news
}

func (s *Store) mergeEntry(f *Fact, now uint32) bool {
	if f.Key == 0 || f.ID == 0 || elapsed(now, f.Time) > maxLife {
		return false
	}
	expiry := bounded(f, max(s.ttl.session, s.ttl.ticket, maxTicketTTL), now)
	return s.entries.merge(f.Key.with(f.Span), word1(f.ID, expiry), now, laterEntry)
}

func (s *Store) mergeClient(f *Fact, now uint32) bool {
	if f.Key == 0 || f.ID == 0 || f.ID == AnyID || elapsed(now, f.Time) > maxLife {
		return false
	}
	expiry := bounded(f, s.ttl.client, now)
	return s.clients.merge(f.Key.with(f.Span), word1(f.ID, expiry&^clientBits), now, laterClient)
}

// bounded is the expiry of f, of a kind that lives for most seconds. Whoever said more had a clock that was ahead, and
// would outlive all others.
func bounded(f *Fact, most, now uint32) uint32 {
	if f.Span != 0 {
		most = min(most, spanSeconds(f.Span))
	}
	return min(f.Time, now+most)
}

// laterEntry is what becomes of an entry's word 1 when another is merged into it.
func laterEntry(old, other uint64) uint64 {
	if a, b := uint32(old), uint32(other); a != b {
		if a > b {
			return old
		}
		return other
	}
	return max(old, other)
}

// laterClient is the same for a client's home. The strikes of the home are this node's own experience with it, and no
// other node's word ends them.
func laterClient(old, other uint64) uint64 {
	state := old & clientBits
	if old>>32 == other>>32 {
		if state == clientOut {
			return old
		}
		return laterEntry(old&^clientBits, other) | state
	}
	if laterEntry(old&^clientBits, other) == other {
		return other
	}
	return old
}

// merge sets the entry of k, k with its span, to w1, or to what later makes of it and w1. It reports whether that
// changed anything. Where it would take the place of a younger entry of a pool that holds no more than its own, it is
// w1 that has to go.
func (t *Table) merge(k Key, w1 uint64, now uint32, later func(old, w1 uint64) uint64) bool {
	if uint32(w1) <= now {
		return false
	}
	for {
		p := t.slotFor(k, now)
		next, with := w1, k
		switch {
		case p.bucket == nil:
			t.crowdedOut(k)
			return false
		case p.same && uint32(p.old) > now:
			if next = later(p.old, w1); next == p.old {
				return false
			}
			if uint32(next^w1)&^clientBits != 0 {
				with = p.held // its time is the old one's
			}
		case uint32(p.old) > now && !t.fuller(p.held, k) && age(p.held, uint32(p.old), now) < age(k, uint32(w1), now):
			t.crowdedOut(k)
			return false
		}
		if t.put(with, next, now, p) {
			return true
		}
	}
}

// merger is a ticket key of another node on its way to the owner.
type merger struct {
	fact Fact
	now  uint32
	seen chan struct{} // instead of a fact: closed once those before it are published
}

// takeMerges applies the ticket key given and all that wait.
func (s *Store) takeMerges(first ...merger) {
	var dirty []*Pool
	var seen []chan struct{}
	apply := func(m merger) {
		if m.seen != nil {
			seen = append(seen, m.seen)
			return
		}
		if p := s.pool(m.fact.Pool, maxPools); p != nil {
			clean := !p.dirty
			p.mergeHome(m.fact, m.now)
			if clean && p.dirty {
				dirty = append(dirty, p)
			}
		}
	}
	for i := range first {
		apply(first[i])
	}
	for range len(s.merges) { // nobody else receives
		apply(<-s.merges)
	}
	for _, p := range dirty {
		p.publish()
	}
	for _, ch := range seen {
		close(ch)
	}
}

// mergeHome notes what another node knows of backend f.ID and a ticket key: that it holds it, or that it does not.
func (p *Pool) mergeHome(f Fact, now uint32) {
	length := 0
	for length < NumLengths && PrefixLen(length) != int(f.Length) {
		length++
	}
	if length == NumLengths && f.Kind == FactKeyHome || f.Key == 0 || f.ID == 0 || f.ID == AnyID {
		return
	}
	// A proof cannot lie ahead. A clock that is a little behind sees one there.
	last := min(f.Time, now)
	if now-last >= p.store.ttl.ticket || f.Kind == FactKeyGone && f.Time-last > maxAhead {
		return
	}
	h := holding{f.Key, f.ID}
	if f.Kind == FactKeyGone {
		p.refute(h, last)
		return
	}
	if p.gone[h] >= last {
		return
	}
	delete(p.gone, h)
	k := p.keys[f.Key]
	if k == nil {
		if len(p.keys) >= p.store.cfg.MaxTicketKeys && !p.evictBefore(last) {
			return
		}
		k = newTicketKey(f.Key, length)
	}
	m := k.home(f.ID)
	if m == nil {
		m = &member{id: f.ID, since: last}
		k = k.with(m)
		p.keys[k.key] = k
		p.dirty = true
	}
	m.tried.Store(true) // another node tells what it has looked into
	m.told = max(m.told, last)
	if last > m.last.Load() {
		m.last.Store(last)
		m.doubt.clear()
	}
}
