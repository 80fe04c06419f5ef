package affinity

import "math/bits"

// Home is the answer to an offer: the rule that spoke, and what it says. Whether
// the backends live and have room is not looked at here.
type Home struct {
	Source Source

	// Exactly one of ID, Set and Any is set for the sources session, ticket_key and
	// client, none for the others.
	ID  uint32   // the home
	Set []uint32 // several, any of which will do; a snapshot: not to be modified
	Any bool     // any live backend

	// Hash of the whole identifier, for the consistent hash over Set or Any.
	Hash uint64

	// Doubted are the members of Set that others are to be preferred to: bit i is that
	// of Set[i]. Never all of them.
	Doubted uint64

	KeyLen   int  // source ticket_key: bytes of the name
	Doubtful bool // every home of the ticket key is doubtful
	Ident    int  // the identity that was known; -1: the session ID
}

// Find answers by rules 1 to 3 of DESIGN.md section 3.3: exact, ticket key, client. If
// nothing is known its Source is SourceExplore for a ticket or identity and
// SourceFresh otherwise.
func (p *Pool) Find(o *Offer, now uint32) Home {
	if o.Kind == OfferNone {
		return Home{}
	}
	if h, ok := p.session(o, now); ok {
		return h
	}
	return p.NextAfter(o, Home{Source: SourceSession}, now)
}

// NextAfter answers by the rules that follow the one h came from, for a home that
// cannot be used.
func (p *Pool) NextAfter(o *Offer, h Home, now uint32) Home {
	if h.Source == SourceSession {
		if h, ok := p.ticketKey(o, now); ok {
			return h
		}
	}
	if h.Source == SourceSession || h.Source == SourceTicketKey {
		// A TLS 1.3-capable client sends a random ID with every fresh hello: not known
		// as a session, it offers nothing.
		if id := p.clientHome(o.Client, now); id != 0 && (o.Kind != OfferID || !o.Fake) {
			return Home{Source: SourceClient, ID: id}
		}
	}
	if o.N > 0 && h.Source != SourceFresh {
		return Home{Source: SourceExplore}
	}
	return Home{}
}

// session is rule 1.
func (p *Pool) session(o *Offer, now uint32) (Home, bool) {
	for i := range o.N {
		if h, ok := p.exact(o.Idents[i].Exact, now); ok {
			h.Ident = i
			return h, true
		}
	}
	if o.HasID && o.Kind != OfferPSK {
		if h, ok := p.exact(o.ID, now); ok {
			h.Ident = -1
			return h, true
		}
	}
	return Home{}, false
}

func (p *Pool) exact(k Key, now uint32) (Home, bool) {
	if k == 0 {
		return Home{}, false
	}
	id, _, ok := p.store.entries.Lookup(k, now)
	switch {
	case !ok:
		return Home{}, false
	case id == AnyID:
		return Home{Source: SourceSession, Any: true, Hash: uint64(k)}, true
	default:
		return Home{Source: SourceSession, ID: id, Hash: uint64(k)}, true
	}
}

// ticketKey is rule 2.
func (p *Pool) ticketKey(o *Offer, now uint32) (Home, bool) {
	d := p.directory.Load()
	for i := range o.N {
		t := &o.Idents[i]
		k := d.find(t)
		if k == nil {
			continue
		}
		h := Home{
			Source: SourceTicketKey, KeyLen: PrefixLen(k.length), Ident: i,
			Hash: uint64(t.Exact),
		}
		if doubted := k.doubted(now); doubted != 0 {
			asked := k.asked.Add(1)
			switch h.Doubtful = bits.OnesCount64(doubted) == len(k.ids); {
			case h.Doubtful && asked%exploreEvery == 0:
				return Home{Source: SourceExplore, Doubtful: true, Ident: i}, true
			case h.Doubtful:
			case asked%returnEvery != 0:
				h.Doubted = doubted
			default:
				h.Doubted = k.onlyClaimed()
			}
		}
		if len(k.ids) == 1 {
			h.ID = k.ids[0]
		} else {
			h.Set = k.ids
		}
		return h, true
	}
	return Home{}, false
}

// Explore is the hash by which an unknown ticket or identity chooses among the
// live backends: the same for all tickets that begin with the same 16 bytes.
func (p *Pool) Explore(o *Offer) uint64 {
	if o.N == 0 {
		return uint64(o.ID)
	}
	return uint64(o.Idents[0].First)
}

// Hint is the backend that issued or accepted one ticket with the same first 16
// bytes as one offered, which no second one has confirmed yet; 0 for none. To be
// tried before the consistent hash, with source explore: it bounds the refused
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
	id, _, ok := p.store.hints.Lookup(t.First, now)
	if !ok {
		return 0
	}
	return id
}

// WasRefused reports whether backend id refused, within the last 60 s, an offer
// with the same first 16 bytes, and nothing tells their home.
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
