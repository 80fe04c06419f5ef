package affinity

import (
	"context"
	"maps"
	"math"
	"time"
)

// ringSize is how many pieces of evidence wait for the owner: at 100,000 new tickets a second, 80 ms. Known keys send
// none.
const ringSize = 8192

// toNextSecond is how long the owner waits before it looks for keys without proof again. It does so on whole seconds, as what
// else looks once a second does: an idle process wakes once for all of them.
func toNextSecond(now time.Time) time.Duration {
	return now.Round(time.Second).Add(time.Second).Sub(now)
}

// evidence is one ticket that a backend issued or, in TLS 1.3, accepted; or a key that it was found not to hold.
type evidence struct {
	pool    *Pool
	ident   Ident
	refuted Key  // instead of ident
	shown   bool // see Pool.Shown
	probed  bool // by a probe of our own
	id      uint32
	now     uint32
}

// submit hands a ticket to the owner.
func (p *Pool) submit(t *Ident, id, now uint32) {
	p.hand(evidence{pool: p, ident: *t, id: id, now: now})
}

// hand hands evidence to the owner. Never blocks: what does not fit is counted, and the next ticket under the same
// name, or the next probe, says it again. A pool may have as much waiting as there is room left, so that there is some
// for the others.
func (p *Pool) hand(e evidence) {
	ring := p.store.ring
	if int(p.waiting.Add(1)) > cap(ring)-len(ring) {
		p.waiting.Add(-1)
		p.store.overflow.Add(1)
		return
	}
	select {
	case ring <- e:
	default:
		p.waiting.Add(-1)
		p.store.overflow.Add(1)
	}
}

// Run is the one owner of every pool's directory: it takes evidence as it comes, with no timer in the way, and lets
// keys die of age, and tables grow. It returns when ctx is done. The loops work without it, but learn no ticket key.
func (s *Store) Run(ctx context.Context) {
	s.nameFiles()
	tick := time.NewTimer(toNextSecond(time.Now()))
	defer tick.Stop()
	always := make(chan struct{})
	close(always)
	var grows chan struct{} // always, while there is more to do
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.ring:
			e.pool.waiting.Add(-1)
			s.takeEvidence(e)
		case m := <-s.merges:
			s.takeMerges(m)
		case r := <-s.reseeds:
			s.reseed(r.seed)
			close(r.done)
		case now := <-tick.C:
			tick.Reset(toNextSecond(now))
			s.age(s.Now())
			s.survey.step(s.tables(), s.Now())
			grows = always
		case <-grows:
			if !s.grow(s.Now()) {
				grows = nil
			}
		}
	}
}

// Step does at once what Run would do by and by: it takes all evidence that waits, lets keys die of age as of now, and
// grows tables that are full. It is for who has the store to itself, in place of Run and never beside it, so that what
// was told is known at the next question, and time is what the caller says it is. It is cheap when nothing waits and now
// is the second of the call before.
func (s *Store) Step(now uint32) {
	if len(s.ring) > 0 {
		s.takeEvidence()
	}
	if now == s.stepped {
		return
	}
	s.stepped = now
	s.age(now)
	for s.grow(now) { // until no table wants more
	}
}

// takeEvidence applies the evidence given and all that waits, then publishes one snapshot per pool that changed.
func (s *Store) takeEvidence(first ...evidence) {
	var dirty []*Pool
	apply := func(e *evidence) {
		clean := !e.pool.dirty
		e.pool.absorb(e)
		if clean && e.pool.dirty {
			dirty = append(dirty, e.pool)
		}
	}
	for i := range first {
		apply(&first[i])
	}
	for range len(s.ring) { // nobody else receives
		e := <-s.ring
		e.pool.waiting.Add(-1)
		apply(&e)
	}
	for _, p := range dirty {
		p.publish()
	}
}

// publish shows the loops the directory as the owner has it.
func (p *Pool) publish() {
	p.directory.Store(newDirectory(maps.Clone(p.keys), maps.Clone(p.rooms), maps.Clone(p.gone)))
	p.dirty = false
	for _, f := range p.untold {
		p.tell(f)
	}
	p.untold = p.untold[:0]
}

// absorb applies one piece of evidence to the owner's state.
func (p *Pool) absorb(e *evidence) {
	t := &e.ident
	if e.refuted != 0 {
		if p.refute(holding{e.refuted, e.id}, e.now) {
			p.untold = append(p.untold, Fact{Kind: FactKeyGone, Key: e.refuted, ID: e.id, Time: e.now})
		}
		return
	}
	r := p.rooms[e.id]
	if r == nil {
		r = new(room)
		p.rooms[e.id] = r
		p.dirty = true
	}
	r.last = e.now
	r.try(t, func(k Key) { p.stand(k, e.id) }, func(k Key) { p.drop(p.keys[k], e.id) })

	named := false
	for i, prefix := range t.Prefix {
		k := p.keys[prefix]
		if k == nil {
			continue
		}
		switch m := k.home(e.id); {
		case m != nil && e.shown:
			p.stand(prefix, e.id)
		case m == nil && p.gone[holding{prefix, e.id}] < e.now:
			// One proof is enough here: the name is confirmed, and it is this one.
			p.join(k, e.id, e.now, !p.claims(k, e))
		}
		named = named || i != len4
	}
	if named {
		return
	}
	// Four bytes alone do not end the search for a longer name.
	if i := r.add(t); i >= 0 && p.keys[t.Prefix[i]] == nil {
		p.confirm(i, t.Prefix[i], e)
	}
}

// confirm makes a prefix a ticket key of backend id, and of every other backend in whose room it waits.
func (p *Pool) confirm(length int, prefix Key, e *evidence) {
	id, now := e.id, e.now
	if len(p.keys) >= p.store.cfg.MaxTicketKeys {
		p.evict()
	}
	k := p.join(newTicketKey(prefix, length), id, now, length != len4)
	k.home(id).probed.Store(e.probed)
	if length == len4 {
		r := p.rooms[id]
		r.trials = append(r.trials, trial{key: prefix})
	}
	for other, r := range p.rooms {
		if other != id && r.holds(length, prefix) {
			k = p.join(k, other, now, !p.claims(k, &evidence{}))
		}
	}
}

// join adds a home to a key. tried is false for a 4-byte name on probation, and for a claim, which the probe is asked
// to look into: at once, unless it has found before that there is nothing in it.
func (p *Pool) join(k *ticketKey, id, now uint32, tried bool) *ticketKey {
	m := &member{id: id, since: now, told: now}
	m.tried.Store(tried)
	m.seen(now)
	_, again := p.gone[holding{k.key, id}]
	delete(p.gone, holding{k.key, id}) // what is told of it from now on is later
	k = k.with(m)
	p.keys[k.key] = k
	p.dirty = true
	if tried {
		p.untold = append(p.untold, k.fact(m))
	} else if k.length != len4 && !again && p.store.cfg.Suspect != nil {
		p.store.cfg.Suspect(p.hash, id, true)
	}
	return k
}

// stand ends the probation of a 4-byte name of backend id, or its claim.
func (p *Pool) stand(prefix Key, id uint32) {
	if k := p.keys[prefix]; k != nil {
		if m := k.home(id); m != nil && !m.tried.Swap(true) {
			p.tell(k.fact(m))
		}
	}
}

// drop takes a home from a key, which goes with its last one.
func (p *Pool) drop(k *ticketKey, id uint32) {
	if k != nil {
		p.dropIf(k, func(m *member) bool { return m.id == id })
	}
}

func (p *Pool) dropIf(k *ticketKey, gone func(*member) bool) {
	rest := k.without(gone)
	if rest == k {
		return
	}
	p.dirty = true
	if rest == nil {
		delete(p.keys, k.key)
		return
	}
	p.keys[k.key] = rest
	p.promoteClaims(rest)
}

// evict makes room for a new key: the one whose last proof is the oldest goes.
func (p *Pool) evict() { p.evictBefore(math.MaxUint32) }

// evictBefore is evict if that proof is older than now. It reports whether there is room.
func (p *Pool) evictBefore(now uint32) bool {
	var oldest *ticketKey
	for _, k := range p.keys {
		if oldest == nil || k.last() < oldest.last() {
			oldest = k
		}
	}
	if oldest == nil || oldest.last() >= now {
		return false
	}
	p.dropIf(oldest, func(*member) bool { return true })
	return true
}

// age drops what has had no proof for the ticket's time to live.
func (s *Store) age(now uint32) {
	ttl := s.ttl.ticket
	for _, p := range s.allPools() {
		for _, k := range p.keys {
			p.dropIf(k, func(m *member) bool { return elapsed(m.last.Load(), now) >= ttl })
		}
		for _, k := range p.keys {
			p.retell(k)
			p.suspectDoubtful(k, now)
		}
		for h, at := range p.gone {
			if elapsed(at, now) >= ttl {
				delete(p.gone, h) // what could bring it back is as old
				p.dirty = true
			}
		}
		for id, r := range p.rooms {
			if elapsed(r.last, now) >= ttl {
				delete(p.rooms, id)
				p.dirty = true
			}
		}
		if p.dirty {
			p.publish()
		}
	}
}

// retell tells of the proofs that the loops noted without the owner.
func (p *Pool) retell(k *ticketKey) {
	for _, m := range k.homes {
		if last := m.last.Load(); m.tried.Load() && worthwhile(m.told, last, p.store.ttl.ticket) {
			m.told = last
			p.tell(k.fact(m))
		}
	}
}
