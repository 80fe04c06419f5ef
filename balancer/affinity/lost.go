package affinity

// Lost says why backend id refused offer o, which had been sent by home h. Only a
// backend that was said to be the home can have lost something: all else is
// ReasonUnknown.
func (p *Pool) Lost(o *Offer, h Home, id, now uint32) Reason {
	if h.Source != SourceSession && h.Source != SourceTicketKey {
		return ReasonUnknown
	}
	if h.Ident < 0 || h.Ident >= o.N { // session IDs have no keys
		if p.forgetful.is(id) || p.young(o, id, now) {
			return ReasonNotKept
		}
		return ReasonExpired
	}
	d := p.directory.Load()
	k := d.find(&o.Idents[h.Ident])
	if k == nil {
		return ReasonExpired
	}
	m := k.home(id)
	renewed := m != nil && d.renewed(m)
	if m != nil && !renewed && !m.doubt.doubtful(now) {
		return ReasonExpired
	}
	for _, n := range k.homes {
		if n != m && !d.renewed(n) && !n.doubt.doubtful(now) {
			return ReasonMoved
		}
	}
	if renewed {
		return ReasonRotated
	}
	return ReasonExpired
}

// renewed reports whether m's backend has a newer ticket key, which it has proved
// since it last proved m's.
func (d *directory) renewed(m *member) bool {
	n := d.newest[m.id]
	return n != nil && n.since > m.since && n.last.Load() >= m.last.Load()
}
