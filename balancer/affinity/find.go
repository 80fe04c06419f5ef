package affinity

import (
	"math/bits"
	"slices"
)

// Home is the answer to an offer: the rule that spoke, and what it says. Whether the backends live and have room is not
// looked at here.
type Home struct {
	Source   Source
	Doubtful bool // every home of the ticket key is doubtful

	// One of these is set for the sources session, ticket_key and client, none for the others.
	Any bool     // any live backend
	ID  uint32   // the home
	Set []uint32 // several, any of which will do; a snapshot: not to be modified

	Hash    uint64 // of the whole identifier, for the consistent hash over Set or Any
	Doubted uint64 // members of Set that others are to be preferred to: bit i is that of Set[i]. Never all of them

	Key     Key    // source ticket_key: the hash of its name
	KeyLen  int    // source ticket_key: bytes of the name
	Ident   int    // the identity that was known; -1: the session ID
	Expires uint32 // source session: when it is forgotten, in Unix seconds by the store's clock
}

// Has says whether a backend is the home, or one of the set.
func (h *Home) Has(id uint32) bool { return h.Any || h.ID == id || slices.Contains(h.Set, id) }

// Known says that backends proved to be able to accept the offer: it is no guess.
func (h *Home) Known() bool { return h.Source == SourceSession || h.Source == SourceTicketKey }

// Find answers by rules 1 to 3 of DESIGN.md section 3.3: exact, ticket key, client. If nothing is known its Source is
// SourceExplore for a ticket or identity and SourceFresh otherwise. Of the offers under a key with doubtful homes some
// go another way, by turns: it takes one.
func (p *Pool) Find(o *Offer, now uint32) (h Home) {
	if k := p.look(&h, o, now); k != nil {
		k.takeTurn(&h)
	}
	return h
}

// Look is Find for people to look at: it takes no turn, says where most go, and Expires is by the wall clock.
func (p *Pool) Look(o *Offer, now uint32) (h Home) {
	p.look(&h, o, now)
	if h.Expires != 0 {
		h.Expires = p.store.onWall(h.Expires)
	}
	return h
}

// look fills in h, and returns the ticket key that spoke if one of its homes is doubted.
func (p *Pool) look(h *Home, o *Offer, now uint32) (doubted *ticketKey) {
	if o.Kind == OfferNone || p.session(h, o, now) {
		return nil
	}
	if k := p.ticketKey(h, o, now); k != nil {
		if h.Doubtful || h.Doubted != 0 {
			return k
		}
		return nil
	}
	// A TLS 1.3-capable client sends a random ID with every fresh hello: not known as a session, it offers nothing.
	if id := p.clientHome(o.Client, now); id != 0 && (o.Kind != OfferID || !o.Fake) {
		h.Source, h.ID = SourceClient, id
	} else if o.N > 0 {
		h.Source = SourceExplore
	}
	return nil
}

// session is rule 1.
func (p *Pool) session(h *Home, o *Offer, now uint32) bool {
	for i := range o.N {
		if p.exact(h, o.Idents[i].Exact, now) {
			h.Ident = i
			return true
		}
	}
	if o.HasID && o.Kind != OfferPSK && p.exact(h, o.ID, now) {
		h.Ident = -1
		return true
	}
	return false
}

func (p *Pool) exact(h *Home, k Key, now uint32) bool {
	if k == 0 {
		return false
	}
	id, expiry, ok := p.store.entries.Lookup(k, now)
	if !ok {
		return false
	}
	h.Source, h.Hash, h.Expires = SourceSession, uint64(k), expiry
	if h.Any = id == AnyID; !h.Any {
		h.ID = id
	}
	return true
}

// ticketKey is rule 2. It returns the key that spoke.
func (p *Pool) ticketKey(h *Home, o *Offer, now uint32) *ticketKey {
	d := p.directory.Load()
	for i := range o.N {
		t := &o.Idents[i]
		k := d.find(t)
		if k == nil {
			continue
		}
		h.Source, h.Key, h.KeyLen, h.Ident, h.Hash = SourceTicketKey, k.key, PrefixLen(k.length), i, uint64(t.Exact)
		if doubted := k.doubted(now); doubted != 0 {
			if h.Doubtful = bits.OnesCount64(doubted) == len(k.ids); !h.Doubtful {
				h.Doubted = doubted
			}
		}
		if len(k.ids) == 1 {
			h.ID = k.ids[0]
		} else {
			h.Set = k.ids
		}
		return k
	}
	return nil
}

// takeTurn has some of the offers under a key with doubted homes go another way than h.
func (k *ticketKey) takeTurn(h *Home) {
	switch asked := k.asked.Add(1); {
	case h.Doubtful && asked%exploreEvery == 0:
		*h = Home{Source: SourceExplore, Doubtful: true, Ident: h.Ident}
	case !h.Doubtful && asked%returnEvery == 0:
		h.Doubted = k.onlyClaimed()
	}
}

// Explore is the hash by which an unknown ticket or identity chooses among the live backends: the same for all tickets
// that begin with the same 16 bytes.
func (p *Pool) Explore(o *Offer) uint64 {
	if o.N == 0 {
		return uint64(o.ID)
	}
	return uint64(o.Idents[0].First)
}

// Hint is the backend that issued or accepted one ticket with the same first 16 bytes as one offered, which no second
// one has confirmed yet; 0 for none. To be tried before the consistent hash, with source explore: it bounds the refused
// offers of a ticket key by the number of the other backends.
func (p *Pool) Hint(o *Offer, now uint32) uint32 {
	d := p.directory.Load()
	for i := range o.N {
		t := &o.Idents[i]
		if id := p.hint(t, now); id != 0 && d.find(t) == nil {
			return id
		}
	}
	return 0
}

func (p *Pool) hint(t *Ident, now uint32) uint32 {
	id, _, _ := p.store.hints.Lookup(t.First, now)
	return id
}

// WasRefused reports whether backend id refused, within the last 60 s, an offer with the same first 16 bytes, and
// nothing tells their home.
func (p *Pool) WasRefused(o *Offer, id, now uint32) bool {
	if o.N == 0 {
		return false
	}
	t := &o.Idents[0]
	if _, _, ok := p.store.refusals.Lookup(pair(t.First, id), now); !ok {
		return false
	}
	k := p.directory.Load().find(t)
	return k == nil || k.doubtful(now)
}

// pair is the key of (first 16 bytes, backend) in the memory of refusals.
func pair(first Key, id uint32) Key {
	return makeKey(mix(uint64(first)^uint64(id)<<32), first&shareMask)
}
