package affinity

import (
	"math"
	"sync/atomic"
)

// What a table holds is shared out among the pools by use: any pool may take free slots, all of them; where there is
// none, the pool that holds the most gives its oldest entry, and if that is the one that wants to write, and it has
// nothing to give there, it is not written. So no pool's table is emptied by another: of n that want more than there
// is, each keeps an n-th.

// share is one pool's part of a table: in less out is what it holds.
type share struct {
	in, out atomic.Uint32
	evicted atomic.Uint64 // live entries that gave way, and new ones that were not written
}

func newShares() *[1 << shareBits]share { return new([1 << shareBits]share) }

// held is the number of entries, expired ones included until the survey has freed them. While others write it may be
// off by what they write.
func (s *share) held() int32 { return int32(s.in.Load() - s.out.Load()) }

// empty says that the table was cleared.
func (s *share) empty() {
	if in := s.in.Load(); in != s.out.Load() {
		s.out.Store(in)
	}
}

// crowdedOut counts an entry that was not written.
func (t *Table) crowdedOut(k Key) {
	t.evicted.Add(1)
	t.shares[k.share()].evicted.Add(1)
}

// victim chooses which of the entries in k's two buckets gives way to k: the oldest of the pool that holds the most. It
// is none if k's own pool holds more than that one.
//
// Age is the time since an entry was last written, which is when a server last proved it: how long a server says that
// its tickets live gains nothing. What was written by a clock ahead of ours counts as old as that clock is ahead. An
// entry of a pool that holds nothing is one whose words are torn: it goes first.
func (t *Table) victim(k Key, folds int, now uint32) (p tableSlot) {
	a, b := t.candidates(k, folds)
	most, oldest := int32(0), uint32(0)
	for _, bucket := range [2]*bucket{a, b} {
		for i := 0; i < bucketWords; i += 2 {
			held, w1 := bucket.entry(i)
			n := t.shares[held.share()].held()
			if n <= 0 {
				n = math.MaxInt32
			}
			if old := age(held, uint32(w1), now); n > most || n == most && old > oldest {
				most, oldest = n, old
				p = tableSlot{bucket: bucket, slot: i, old: w1, held: held}
			}
		}
	}
	if most < t.shares[k.share()].held() {
		return tableSlot{}
	}
	return p
}

// fuller reports whether a's pool holds more than b's.
func (t *Table) fuller(a, b Key) bool { return t.shares[a.share()].held() > t.shares[b.share()].held() }

// age is the seconds since an entry was written, or the seconds that are left until then by our clock.
func age(k Key, expiry, now uint32) uint32 {
	d := int32(now - (expiry - spanSeconds(k.span())))
	return uint32(max(d, -d))
}
