package affinity

import (
	"cmp"
	"slices"
)

// HeldKey is one confirmed ticket key of a pool, for people to look at.
type HeldKey struct {
	// Key is the hash of its name: the same on every node of a cluster, and of no use to anybody else.
	Key      Key
	Len      int       // bytes of the name
	Homes    []KeyHome // in the order in which they proved to hold it
	Doubtful bool      // a home of it is
}

// KeyHome is one backend's part in a ticket key.
type KeyHome struct {
	ID    uint32
	Since uint32 // when it became known, in Unix seconds by the wall clock
	Last  uint32 // last acceptance or issue, likewise
	Count uint64 // acceptances and issues that this node saw

	Refused  uint32 // offers that it refused since then, up to the 8th or a little more
	Doubtful bool   // it has only refused for a while, clients of several networks
}

// HeldKeys is the pool's ticket keys, the most lately used first. Constants of a ticket's format are none.
func (p *Pool) HeldKeys(now uint32) []HeldKey {
	d := p.directory.Load()
	var all []HeldKey
	for _, k := range d.keys {
		if d.constant(k) {
			continue
		}
		held := HeldKey{Key: k.key, Len: PrefixLen(k.length)}
		for _, m := range k.homes {
			home := KeyHome{
				ID: m.id, Since: p.store.onWall(m.since), Last: p.store.onWall(m.last.Load()), Count: m.count.Load(),
				Refused: m.doubt.refusals.Load(), Doubtful: m.doubt.doubtful(now),
			}
			held.Doubtful = held.Doubtful || home.Doubtful
			held.Homes = append(held.Homes, home)
		}
		all = append(all, held)
	}
	last := func(k *HeldKey) (t uint32) {
		for _, h := range k.Homes {
			t = max(t, h.Last)
		}
		return t
	}
	slices.SortFunc(all, func(a, b HeldKey) int { return cmp.Or(cmp.Compare(last(&b), last(&a)), cmp.Compare(a.Key, b.Key)) })
	return all
}

// Known is what is known of one identifier.
type Known struct {
	Source  Source // the rule that speaks: session, ticket_key or explore; fresh: nothing is known of a session ID
	Homes   []uint32
	Doubted []uint32 // ticket_key: of them, those that are doubtful; the others are preferred
	Any     bool     // session: any live backend
	Expires uint32   // session: when it is forgotten, in Unix seconds by the wall clock

	Key      Key  // ticket_key
	KeyLen   int  // ticket_key: bytes of the name
	Doubtful bool // ticket_key: all homes are

	Hint uint32 // explore: the backend that is asked first, 0 for none
	Hash uint64 // by which one of several is chosen
}

// Inspect says what is known of a session ID (of at most 32 bytes), or of a ticket or identity. It changes nothing and
// keeps nothing of it.
func (p *Pool) Inspect(kind OfferKind, identifier []byte, now uint32) Known {
	if kind == OfferID {
		if k, ok := p.inspectExact(p.HashID(identifier), now); ok {
			return k
		}
		return Known{Source: SourceFresh}
	}
	t := p.HashIdent(identifier)
	if k, ok := p.inspectExact(t.Exact, now); ok {
		return k
	}
	d := p.directory.Load()
	if k := d.find(&t); k != nil {
		return Known{
			Source: SourceTicketKey, Homes: slices.Clone(k.ids), Hash: uint64(t.Exact),
			Key: k.key, KeyLen: PrefixLen(k.length), Doubted: k.doubtedIDs(now), Doubtful: k.doubtful(now),
		}
	}
	return Known{Source: SourceExplore, Hint: p.hint(&t, now), Hash: uint64(t.First)}
}

func (p *Pool) inspectExact(k Key, now uint32) (Known, bool) {
	if k == 0 {
		return Known{}, false
	}
	id, expiry, ok := p.store.entries.Lookup(k, now)
	expiry = p.store.onWall(expiry)
	switch {
	case !ok:
		return Known{}, false
	case id == AnyID:
		return Known{Source: SourceSession, Any: true, Expires: expiry, Hash: uint64(k)}, true
	}
	return Known{Source: SourceSession, Homes: []uint32{id}, Expires: expiry, Hash: uint64(k)}, true
}
