package judge

import "homing/balancer/affinity"

// later is the offers under no known key, until it is known: homing's probe asks each server for tickets, and knows the
// name of a key before clients offer it.
type later struct {
	offers []lateOffer
	looked uint32
}

// maxLate bounds them, 150 bytes each. Those that give way stay unknown.
const maxLate = 16 << 10

// lookEvery is how often the offers are looked at again, in seconds.
const lookEvery = 30

type lateOffer struct {
	pool     *affinity.Pool
	ident    affinity.Ident
	row      *row
	id       uint32
	by       Stratum // where it is counted
	home     bool    // likewise
	accepted bool
	why      Why // of a refused one, likewise
}

func (l *later) add(now uint32, o lateOffer) {
	if len(l.offers) >= maxLate || now-l.looked >= lookEvery && len(l.offers) > 0 {
		l.look(now)
	}
	if len(l.offers) >= maxLate {
		l.offers = append(l.offers[:0], l.offers[maxLate/2:]...)
	}
	l.offers = append(l.offers, o)
}

// look moves what is known by now.
func (l *later) look(now uint32) {
	l.looked = now
	kept := l.offers[:0]
	for i := range l.offers {
		o := &l.offers[i]
		offer := affinity.Offer{Kind: affinity.OfferPSK, N: 1}
		offer.Idents[0] = o.ident
		offer.Idents[0].Exact = 0 // its own acceptance says nothing
		h := o.pool.Look(&offer, now)
		if h.Source != affinity.SourceTicketKey {
			kept = append(kept, *o)
			continue
		}
		home := h.Has(o.id)
		*o.row.By[o.by].at(o.home, o.accepted)--
		o.row.By[ByProbe].add(home, o.accepted)
		if !o.accepted {
			o.row.Why[o.why]--
			if home {
				o.row.Why[WhyExpired]++
			} else {
				o.row.Why[WhyElsewhere]++
			}
		}
	}
	clear(l.offers[len(kept):])
	l.offers = kept
}
