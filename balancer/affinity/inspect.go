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
