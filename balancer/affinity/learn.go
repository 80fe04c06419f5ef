package affinity

// What a server accepted, for Pool.Accepted.
const (
	SelTicket = -1 // TLS <= 1.2: an offer with a ticket
	SelID     = -2 // TLS <= 1.2: a session ID, no ticket in the offer
)

// Accepted says that backend id resumed a session of offer o. sel is the index of the selected identity (RFC 8446,
// 4.2.11), SelTicket or SelID.
//
// In TLS 1.3 the selected identity alone is learned: the server has opened it, and no client can make one. Acceptance
// of a TLS <= 1.2 offer with a ticket proves the session, not the ticket's bytes, for the server may have resumed by
// ID: it refreshes what is known of this backend and creates nothing. Where the ID beside the ticket is on record, it
// says nothing of the ticket: a client that has an ID could keep any key alive with junk under its name.
func (p *Pool) Accepted(o *Offer, sel int, tls13 bool, id, now uint32) {
	if id == 0 {
		return
	}
	p.clientAccepted(o.Client, id, now)
	switch {
	case tls13:
		if o.Kind == OfferPSK && sel >= 0 && sel < o.N {
			p.provedIdent(&o.Idents[sel], p.store.ttl.ticket, id, now, !o.RefreshOnly)
		}
	case sel == SelID:
		if o.HasID {
			p.forgetful.accepted(id)
			p.proved(o.ID, p.store.ttl.session, id, now, !o.RefreshOnly, !o.RefreshOnly)
		}
	case sel == SelTicket:
		if o.HasID {
			if _, _, issued := p.store.entries.Lookup(o.ID, now); issued {
				p.forgetful.accepted(id)
				p.proved(o.ID, p.store.ttl.session, id, now, false, false)
				return
			}
		}
		if o.Kind != OfferTicket {
			return // the identities are of TLS 1.3, which the server did not speak
		}
		for i := range o.N {
			p.provedIdent(&o.Idents[i], p.store.ttl.ticket, id, now, false)
		}
	}
}

// Refused says that backend id, where source src had sent offer o, made a full handshake of it. That speaks of the
// ticket, never of its key: nothing is removed. What has no home, or a doubtful one, is remembered as refused for 60 s.
// Any client can bring that about with junk, and no more by it: an offer under a name that nobody has proved goes to a
// backend that comes next, and the first acceptance anywhere ends it. Whatever the source was, a refusal by the
// client's home is a strike.
func (p *Pool) Refused(o *Offer, _ Source, id, now uint32) {
	if id == 0 {
		return
	}
	p.clientRefused(o.Client, id, now)
	if p.young(o, id, now) {
		p.forgetful.refused(id)
	}
	d := p.directory.Load()
	for i := range o.N {
		t := &o.Idents[i]
		home := false
		for length := range NumLengths {
			k := d.at(t, length)
			if k == nil {
				continue
			}
			if m := k.home(id); m != nil {
				m.doubt.refused(o.Network, now)
				home = true
			}
		}
		k := d.find(t)
		p.suspectRefusal(t, k, id, home)
		switch {
		case t.First == 0, k != nil && !k.doubtful(now):
		case k == nil && p.hint(t, now) == id: // it proved a ticket that begins like this one
		default:
			p.store.refusals.Insert(pair(t.First, id), id, now+refusedTTL, now)
		}
	}
}

// IssuedID says that backend id issued the session ID with key k in a completed full handshake of TLS <= 1.2. It is the
// server's choice: an echo of the client's is none.
func (p *Pool) IssuedID(k Key, id, now uint32) {
	if k == 0 || id == 0 {
		return
	}
	p.put(k, id, now+p.store.ttl.session, now)
}

// IssuedTicket says that backend id issued ticket t in a TLS <= 1.2 handshake. hint is its lifetime in seconds, 0 =
// unspecified (RFC 5077, 5.6). No byte of it is the client's.
func (p *Pool) IssuedTicket(t Ident, hint uint32, id, now uint32) {
	if t.Len == 0 || id == 0 {
		return
	}
	ttl := min(hint, maxTicketTTL)
	if hint == 0 {
		ttl = p.store.ttl.ticket
	}
	if p.touch(&t, id, now, true) {
		p.put(t.Exact, id, now+ttl, now)
	}
}

// provedIdent says that backend id accepted t. Without create, known pairs are refreshed and that is all.
func (p *Pool) provedIdent(t *Ident, ttl, id, now uint32, create bool) {
	// A ticket that is on record as this backend's was evidence when it came here: only a different one says more.
	old, _, ok := p.store.entries.Lookup(t.Exact, now)
	exact := p.touch(t, id, now, create && (!ok || old != id))
	p.proved(t.Exact, ttl, id, now, create && exact, create)
}

// proved says that backend id accepted the identifier with key k: its entry is refreshed, made if create, or, if merge
// and it names another backend, becomes good for any.
func (p *Pool) proved(k Key, ttl, id, now uint32, create, merge bool) {
	if k == 0 {
		return
	}
	old, expiry, ok := p.store.entries.Lookup(k, now)
	switch {
	case !ok:
		if create {
			p.put(k, id, now+ttl, now)
		}
	case old == id || old == AnyID:
		if worthwhile(expiry, now+ttl, ttl) {
			p.put(k, old, now+ttl, now)
		}
	case merge:
		p.put(k, AnyID, max(expiry, now+ttl), now)
	}
}

func (p *Pool) put(k Key, id, expiry, now uint32) {
	if p.store.entries.Insert(k, id, expiry, now) {
		p.tell(Fact{Kind: FactEntry, Span: spanOf(expiry - now), Key: k, ID: id, Time: expiry})
	}
}

// touch applies the proof that backend id holds t's ticket key, whatever it is: confirmed keys of that backend are
// refreshed in place; the rest is evidence for the owner, if create. It returns whether t needs an exact entry: no
// confirmed ticket key of the backend covers it.
func (p *Pool) touch(t *Ident, id, now uint32, create bool) (exact bool) {
	d := p.directory.Load()
	known := p.refresh(d, t, id, now)
	exact = !known.long && !known.four
	if !create || t.Prefix[len4] == 0 || known.long && !known.other {
		return exact
	}
	if r := d.rooms[id]; !known.other && r != nil && !r.look(known.four) {
		return exact
	}
	if exact { // a hint is as good as what it comes from: an issue, or an accepted identity of TLS 1.3
		p.store.hints.Insert(t.First, id, now+p.store.ttl.ticket, now)
	}
	p.submit(t, id, now)
	return exact
}

// standing is what confirmed keys say of a ticket and a backend.
type standing struct {
	long  bool // a name of 12 bytes or more, with the backend among its homes
	four  bool // a 4-byte name that has proved itself, likewise
	other bool // the key has other homes only: this backend joins them
}

// refresh notes, in place, the proof that backend id holds t's ticket key.
func (p *Pool) refresh(d *directory, t *Ident, id, now uint32) (known standing) {
	p.store.refusals.Delete(pair(t.First, id))
	for i := range NumLengths {
		k := d.at(t, i)
		if k == nil {
			continue
		}
		m := k.home(id)
		if m == nil {
			known.other = true
			continue
		}
		m.seen(now)
		if i != len4 {
			known.long = known.long || !k.claimed(m)
		} else if m.tried.Load() && !d.constant(k) {
			known.four = true
		}
	}
	return known
}
