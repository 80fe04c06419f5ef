package affinity

// suspectRefusal asks for a probe after backend id has refused t. k is the key
// that would route t, nil for none; home says that id is a home of one of t's keys.
// A refusal by the home may mean that it has a new key; a name that nobody knows
// may be the new one of any backend: id 0. It is called for each such refusal, junk
// included: how often a backend is probed is the listener's to bound.
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

// suspectDoubtful asks for a probe of a key's homes, once for each time that one
// becomes doubtful. Called by the owner.
func (p *Pool) suspectDoubtful(k *ticketKey, now uint32) {
	for _, m := range k.homes {
		was := m.doubt.told
		m.doubt.told = m.doubt.doubtful(now)
		if m.doubt.told && !was && p.store.cfg.Suspect != nil {
			p.store.cfg.Suspect(p.hash, m.id, true)
		}
	}
}
