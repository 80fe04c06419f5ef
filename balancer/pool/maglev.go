package pool

import "slices"

// maglevSlots is the size of a table, a prime, so that every step from 1 to maglevSlots-1 visits all slots.
const maglevSlots = 65537

// maglevEmpty marks a slot without owner while a table is built. Indexes stay below MaxBackends.
const maglevEmpty = 0xffff

// maglevTable maps a hash to a backend: slot hash%maglevSlots holds an index into the live list. Its slots are as wide
// as the indexes need: 128 KiB, 64 KiB for up to 256 backends, and none for one, since a machine may have a pool for
// each of a thousand names.
//
// Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4.
type maglevTable struct {
	narrow []uint8
	wide   []uint16
}

// at is the index in a slot.
func (t *maglevTable) at(slot uint32) int {
	switch {
	case t.narrow != nil:
		return int(t.narrow[slot])
	case t.wide != nil:
		return int(t.wide[slot])
	}
	return 0
}

// tableOf makes the slots as wide as the indexes of n backends need.
func tableOf(slots []uint16, n int) *maglevTable {
	if n > 1<<8 {
		return &maglevTable{wide: slots}
	}
	t := &maglevTable{narrow: make([]uint8, len(slots))}
	for i, owner := range slots {
		t.narrow[i] = uint8(owner)
	}
	return t
}

// buildMaglev lets the backends take slots in turns, each along its own permutation of the table. A backend takes part
// in weight out of maxWeight turns, so that its share of the slots is its share of the weights, give or take two slots,
// and never nothing. The table depends on the set of backends and their weights only, given that live is sorted.
func buildMaglev(live []*Backend) *maglevTable {
	switch len(live) {
	case 0:
		return nil
	case 1:
		return new(maglevTable)
	}
	type taker struct{ pos, step, weight, credit uint32 }
	takers := make([]taker, len(live))
	var heaviest uint32
	for i, b := range live {
		takers[i] = taker{
			pos:    uint32((b.perm >> 32) % maglevSlots),
			step:   uint32((b.perm&0xffffffff)%(maglevSlots-1) + 1),
			weight: uint32(b.Weight()),
		}
		heaviest = max(heaviest, takers[i].weight)
	}
	for i := range takers { // everyone takes a slot in the first turn
		takers[i].credit = heaviest - takers[i].weight
	}

	table := make([]uint16, maglevSlots)
	for i := range table {
		table[i] = maglevEmpty
	}
	for left := maglevSlots; ; {
		for i := range takers {
			t := &takers[i]
			t.credit += t.weight
			if t.credit < heaviest {
				continue
			}
			t.credit -= heaviest
			for table[t.pos] != maglevEmpty {
				t.pos = advance(t.pos, t.step)
			}
			table[t.pos] = uint16(i)
			if left--; left == 0 {
				return tableOf(table, len(live))
			}
			t.pos = advance(t.pos, t.step)
		}
	}
}

// advance is (pos + step) % maglevSlots without the division.
func advance(pos, step uint32) uint32 {
	pos += step
	if pos >= maglevSlots {
		pos -= maglevSlots
	}
	return pos
}

// maxWalk bounds a walk from slot to slot. A set of one in 16 backends is met within it but once in 4,000 times.
const maxWalk = 128

// walk visits slots of a table: first the hash's own, then others by a stride that the hash gives as well. Neighbours
// would not do: a backend's slots lie at regular distances, so that the slots before them are not any backend's alike.
// Measured over sets of 2 in 100, walking by 1 gave one of the two 67 % of the hashes.
type walk struct{ slot, stride uint32 }

func startWalk(hash uint64) walk {
	return walk{slot: uint32(hash % maglevSlots), stride: uint32(mix(hash)%(maglevSlots-1) + 1)}
}

func (w *walk) next() { w.slot = advance(w.slot, w.stride) }

// Maglev picks a live backend by consistent hashing: the owner of the hash's slot or, when that is skipped or cannot
// take a conn, the owner of the next slot of the hash's walk who can. Backends above their bound of load are passed
// over while another will do. It returns nil when no live backend can take the conn. Every node that sees the same live
// backends answers the same, but for load and max conns, which are each node's own.
//
// The work is bounded by maxWalk slots and then one pass over the live list.
func (s *Snapshot) Maglev(hash uint64, skip Skip) *Backend {
	if s.table == nil {
		return nil
	}
	w := startWalk(hash)
	for range maxWalk {
		b := s.live[s.table.at(w.slot)]
		if !skip.Has(b.ID) && b.live() && s.Usable(b) == UsableOK {
			return b
		}
		w.next()
	}
	// The walk met only a few of many backends, or few are left: the live list, from a place given by the hash.
	var overloaded *Backend
	for i := range s.live {
		b := s.live[(hash+uint64(i))%uint64(len(s.live))]
		if skip.Has(b.ID) || !b.live() {
			continue
		}
		switch s.Usable(b) {
		case UsableOK:
			return b
		case UsableOverloaded:
			if overloaded == nil {
				overloaded = b
			}
		case UsableDown, UsableFull, UsableHardDrained:
		}
	}
	return overloaded
}

// MaglevOf picks among the backends of set (IDs, of a home with several members) by consistent hashing: from the hash's
// slot of the same table it walks, as Maglev does, to the first member that is usable and not skipped. A member that is
// being drained softly is taken only when no other will do. It returns nil when no member is usable: unlike Maglev it
// never takes an overloaded one.
//
// Every node agrees: the answer depends on the hash, the set and the live backends, not on the order of the set nor on
// who asks; only load and max conns are a node's own.
//
// The work is bounded by maxWalk slots and then one pass over the set: a small set in a large pool may not be met by
// the walk, and drained members never are. The pass takes the member with the highest hash beside the given one
// (rendezvous hashing), which every node computes alike too.
func (s *Snapshot) MaglevOf(hash uint64, set []uint32, skip Skip) *Backend {
	if len(set) == 0 {
		return nil
	}
	if s.table != nil {
		w := startWalk(hash)
		for range maxWalk {
			b := s.live[s.table.at(w.slot)]
			if slices.Contains(set, uint32(b.ID)) && !skip.Has(b.ID) && b.live() && s.Usable(b) == UsableOK {
				return b
			}
			w.next()
		}
	}
	var best *Backend
	var bestScore uint64
	for _, id := range set {
		b := s.byID[ID(id)]
		if b == nil || skip.Has(b.ID) || s.Usable(b) != UsableOK {
			continue
		}
		score := mix(hash^b.perm) >> 1
		if b.Draining() == DrainOff {
			score |= 1 << 63 // before any that is drained
		}
		if best == nil || score > bestScore {
			best, bestScore = b, score
		}
	}
	return best
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit changes half of the output bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
