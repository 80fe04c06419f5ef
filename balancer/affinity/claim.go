package affinity

import "slices"

// The name of a ticket key stands in clear in every ticket, so any backend can write that of another one into tickets
// of its own. Where a probe looks at the pool (Watch), what a backend says of a name that others hold is a claim,
// whether it issues under the name or says that it accepted: tickets go to the others, while one of them can be used,
// and no other node hears of it. The probe ends it, see Doubts: by Shown, when the backend resumes a session of another
// home, which takes the key itself, or by Refuted. Who was there first stays. Where nobody looks, or no home of the key
// issues under it to the probe, which then has nothing to ask with, each backend is taken at its word.
//
// Names of 4 bytes are left out: they have a probation of their own, and what several hold is a constant.

// Watch says that a probe looks at the pool's backends, until the function that it returns is called.
func (p *Pool) Watch() (end func()) {
	p.watched.Add(1)
	return func() { p.watched.Add(-1) }
}

// Shown says that backend id resumed a session of our own probe, whose ticket t another backend had issued: it holds
// the key.
func (p *Pool) Shown(t Ident, id, now uint32) {
	if t.Len == 0 || id == 0 {
		return
	}
	p.refresh(p.directory.Load(), &t, id, now)
	p.hand(evidence{pool: p, ident: t, shown: true, id: id, now: now})
}

// Claims reports whether backend id is a home of the key by its own word alone.
func (p *Pool) Claims(key Key, id uint32) bool {
	k := p.directory.Load().keys[key]
	if k == nil {
		return false
	}
	m := k.home(id)
	return m != nil && k.claimed(m)
}

// claims reports whether backend id, by the evidence e, only claims to be a home of k.
func (p *Pool) claims(k *ticketKey, e *evidence) bool {
	return k.length != len4 && !e.shown && p.watched.Load() > 0 &&
		slices.ContainsFunc(k.homes, func(m *member) bool { return m.probed.Load() })
}

// claimed reports whether m is a home of k by its own word alone, and others are not.
func (k *ticketKey) claimed(m *member) bool {
	if k.length == len4 || m.tried.Load() {
		return false
	}
	for _, other := range k.homes {
		if other.tried.Load() {
			return true
		}
	}
	return false // those whose word was better are gone
}

// onlyClaimed is the homes of k that are mere claims, by their positions as in doubted.
func (k *ticketKey) onlyClaimed() (positions uint64) {
	for i, m := range k.homes[:min(len(k.homes), 64)] {
		if k.claimed(m) {
			positions |= 1 << i
		}
	}
	return positions
}

// promoteClaims makes those who claimed to hold k its homes, when nobody is left whose word is better.
func (p *Pool) promoteClaims(k *ticketKey) {
	if k.length == len4 || slices.ContainsFunc(k.homes, func(m *member) bool { return m.tried.Load() }) {
		return
	}
	for _, m := range k.homes {
		m.tried.Store(true)
		p.untold = append(p.untold, k.fact(m))
	}
}
