package affinity

import "slices"

// Probed says that backend id issued ticket t to a probe of our own. It teaches the ticket key as IssuedTicket does,
// but no client will ever offer t: there is no exact entry and no hint. Every ticket is looked at, also of a backend
// that seems nameless, for there are few of them. No client takes part in a probe: what one can have by junk is that it
// comes earlier.
func (p *Pool) Probed(t Ident, id, now uint32) {
	if t.Len == 0 || id == 0 {
		return
	}
	d := p.directory.Load()
	known := p.refresh(d, &t, id, now)
	for i := range NumLengths {
		if k := d.at(&t, i); k != nil {
			if m := k.home(id); m != nil {
				m.probed.Store(true)
			}
		}
	}
	if t.Prefix[len4] != 0 && (!known.long || known.other) {
		p.hand(evidence{pool: p, ident: t, probed: true, id: id, now: now})
	}
}

// KeyInfo is what is known of a confirmed ticket key and one of its homes.
type KeyInfo struct {
	Len      int      // bytes of the name
	Homes    []uint32 // all backends that proved to hold it, in the order in which they did
	Since    uint32   // when the home's part became known, by the wall clock
	Last     uint32   // the home's last acceptance or issue, likewise
	Doubtful bool     // the home is
}

// TicketKey finds the longest ticket key of t that backend id is a home of. A constant of the ticket's format is none.
func (p *Pool) TicketKey(t Ident, id, now uint32) (KeyInfo, bool) {
	d := p.directory.Load()
	for i := range NumLengths {
		k := d.at(&t, i)
		if k == nil || d.constant(k) {
			continue
		}
		if m := k.home(id); m != nil {
			return KeyInfo{
				Len: PrefixLen(i), Homes: slices.Clone(k.ids), Doubtful: m.doubt.doubtful(now),
				Since: p.store.onWall(m.since), Last: p.store.onWall(m.last.Load()),
			}, true
		}
	}
	return KeyInfo{}, false
}

// suspectRefusal asks for a probe after backend id has refused t. k is the key that would route t, nil for none; home
// says that id is a home of one of t's keys. A refusal by the home may mean that it has a new key; a name that nobody
// knows may be the new one of any backend: id 0. It is called for each such refusal, junk included: how often a backend
// is probed is the listener's to bound.
func (p *Pool) suspectRefusal(t *Ident, k *ticketKey, id uint32, home bool) {
	if p.store.cfg.Suspect == nil {
		return
	}
	switch {
	case home:
		p.store.cfg.Suspect(p.hash, id, false)
	case k == nil && t.Prefix[len4] != 0: // long enough to carry a name
		p.store.cfg.Suspect(p.hash, 0, false)
	}
}

// suspectDoubtful asks for a probe of a key's homes, once for each time that one becomes doubtful. Called by the owner.
func (p *Pool) suspectDoubtful(k *ticketKey, now uint32) {
	for _, m := range k.homes {
		was := m.doubt.told
		m.doubt.told = m.doubt.doubtful(now)
		if m.doubt.told && !was && p.store.cfg.Suspect != nil {
			p.store.cfg.Suspect(p.hash, m.id, true)
		}
	}
}
