package affinity

import (
	"sync/atomic"
)

// Lost says why backend id refused offer o, which had been sent by home h. Only a backend that was said to be the home
// can have lost something: all else is ReasonUnknown.
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

// renewed reports whether m's backend has a newer ticket key, which it has proved since it last proved m's.
func (d *directory) renewed(m *member) bool {
	n := d.newest[m.id]
	return n != nil && n.since > m.since && n.last.Load() >= m.last.Load()
}

// youngID is for how long after its issue, or its last acceptance, a server that keeps session IDs at all still has
// one, in seconds: the shortest cache time that any of them comes with is 300 s (nginx, Apache, OpenSSL).
const youngID = 60

// forgetful is the backends that have refused a young session ID of their own, and have accepted none since. nginx
// hands out IDs and keeps none unless it is told to: of such a backend no ID has expired. A backend whose place another
// has taken is judged by the age of each ID alone. Any loop may use it.
type forgetful [64]atomic.Uint32 // by ID; 0: none

func (f *forgetful) of(id uint32) *atomic.Uint32 { return &f[id%uint32(len(f))] }

func (f *forgetful) is(id uint32) bool { return f.of(id).Load() == id }

// refused notes the refusal of a young ID.
func (f *forgetful) refused(id uint32) {
	if !f.is(id) {
		f.of(id).Store(id)
	}
}

// accepted notes that an ID was resumed.
func (f *forgetful) accepted(id uint32) {
	if f.is(id) {
		f.of(id).Store(0)
	}
}

// young reports whether the offer's session ID is on record as backend id's, and of late.
func (p *Pool) young(o *Offer, id, now uint32) bool {
	if !o.HasID || o.Kind == OfferPSK {
		return false
	}
	home, expiry, ok := p.store.entries.Lookup(o.ID, now)
	return ok && home == id && expiry-now+youngID > p.store.ttl.session
}
