package affinity

// Lost says why backend id refused offer o, which had been sent by home h. Only a
// backend that was said to be the home can have lost something: all else is
// ReasonUnknown.
func (p *Pool) Lost(o *Offer, h Home, id, _ uint32) Reason {
	if h.Source != SourceSession && h.Source != SourceTicketKey {
		return ReasonUnknown
	}
	if h.Ident < 0 || h.Ident >= o.N {
		return ReasonExpired // session IDs have no keys
	}
	d := p.directory.Load()
	k, newest := d.find(&o.Idents[h.Ident]), d.newest[id]
	if k == nil || newest == nil {
		return ReasonExpired
	}
	m := k.home(id)
	if m != nil && newest.since > m.since && newest.last.Load() >= m.last.Load() {
		return ReasonRotated
	}
	return ReasonExpired
}
