package affinity

import (
	"slices"
	"sync/atomic"
)

// ticketKey is a confirmed key name and its homes. It never changes but for the counts behind its pointers; the owner
// replaces it to add or drop a home, and the successor takes the pointers over.
type ticketKey struct {
	key    Key
	length int            // index: PrefixLen(length) bytes
	ids    []uint32       // the homes
	homes  []*member      // in the order of ids
	asked  *atomic.Uint32 // offers seen while a home was doubtful
}

// member is one backend that proved to hold a ticket key.
type member struct {
	id    uint32
	since uint32        // when that became known
	last  atomic.Uint32 // last acceptance or issue
	count atomic.Uint64 // acceptances and issues
	// tried: a 4-byte name stands only once one of the next sixteen tickets of the backend has shown it again; a longer
	// one that others hold, see claim.go. Set by the owner.
	tried  atomic.Bool
	probed atomic.Bool // it issued under the key to a probe of our own
	doubt  doubt

	told uint32 // owned by Store.Run: the value of last that the last Fact carried
}

// seen notes an acceptance or issue by m, which ends all doubt.
func (m *member) seen(now uint32) {
	m.count.Add(1)
	m.doubt.clear()
	if m.last.Load() < now {
		m.last.Store(now)
	}
}

// fact is what the other nodes are told of m's part in k. A 4-byte name on probation, or a claim, is no fact yet:
// nobody else could take it back.
func (k *ticketKey) fact(m *member) Fact {
	return Fact{Kind: FactKeyHome, Length: uint8(PrefixLen(k.length)), Key: k.key, ID: m.id, Time: m.last.Load()}
}

// newer orders the keys of one backend by the time of their confirmation.
func (m *member) newer(n *member) bool {
	if m.since != n.since {
		return m.since > n.since
	}
	return m.last.Load() > n.last.Load()
}

func newTicketKey(k Key, length int) *ticketKey {
	return &ticketKey{key: k, length: length, asked: new(atomic.Uint32)}
}

// home is backend id's part in the key, nil if it has none.
func (k *ticketKey) home(id uint32) *member {
	if i := slices.Index(k.ids, id); i >= 0 {
		return k.homes[i]
	}
	return nil
}

// last is the time of the last proof by any home.
func (k *ticketKey) last() (t uint32) {
	for _, m := range k.homes {
		t = max(t, m.last.Load())
	}
	return t
}

// with is k with one more home.
func (k *ticketKey) with(m *member) *ticketKey {
	c := *k
	c.ids = append(slices.Clone(k.ids), m.id)
	c.homes = append(slices.Clone(k.homes), m)
	return &c
}

// without is k with the homes for which drop says true left out, k itself if there are none, nil if no home is left.
func (k *ticketKey) without(drop func(*member) bool) *ticketKey {
	if !slices.ContainsFunc(k.homes, drop) {
		return k
	}
	c := *k
	c.homes = slices.DeleteFunc(slices.Clone(k.homes), drop)
	if len(c.homes) == 0 {
		return nil
	}
	c.ids = nil
	for _, m := range c.homes {
		c.ids = append(c.ids, m.id)
	}
	return &c
}

// directory is what the loops read of a pool's ticket keys: an immutable snapshot but for the atomics behind it.
type directory struct {
	keys   map[Key]*ticketKey
	count  [NumLengths]int    // keys of each length: a length without keys costs nothing
	four   int                // backends that hold a 4-byte key
	newest map[uint32]*member // the last key confirmed for each backend
	rooms  map[uint32]*room
	gone   map[holding]uint32 // see Pool.gone
}

// newDirectory derives a snapshot. The maps are not copied.
func newDirectory(keys map[Key]*ticketKey, rooms map[uint32]*room, gone map[holding]uint32) *directory {
	d := &directory{keys: keys, rooms: rooms, gone: gone, newest: make(map[uint32]*member)}
	four := make(map[uint32]bool)
	for _, k := range keys {
		d.count[k.length]++
		for _, m := range k.homes {
			if n := d.newest[m.id]; n == nil || m.newer(n) {
				d.newest[m.id] = m
			}
			if k.length == len4 {
				four[m.id] = true
			}
		}
	}
	d.four = len(four)
	return d
}

// at is the confirmed key of t's prefix of length index i, nil for none.
func (d *directory) at(t *Ident, i int) *ticketKey {
	if d.count[i] == 0 || t.Prefix[i] == 0 {
		return nil
	}
	return d.keys[t.Prefix[i]]
}

// find is the longest key of t that has a home to offer. A length that has none never blocks a shorter one.
func (d *directory) find(t *Ident) *ticketKey {
	for i := range NumLengths {
		if k := d.at(t, i); k != nil && !d.constant(k) {
			return k
		}
	}
	return nil
}

// constant reports whether k is a constant of a ticket format and tells nothing: four bytes that two or more backends
// hold, and every backend of which any 4-byte name is known. (Real 4-byte names are random: two backends share one in
// four billion. Where all of them do hold one real key, each accepts the others' tickets, and the next rule is as
// good.)
func (d *directory) constant(k *ticketKey) bool {
	return k.length == len4 && len(k.ids) >= 2 && len(k.ids) == d.four
}
