package affinity

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// What a table holds is shared out among the pools by use: any pool may take free
// slots, all of them; where there is none, the pool that holds the most gives its
// oldest entry, and if that is the one that wants to write, and it has nothing to
// give there, it is not written. So no pool's table is emptied by another: of n that
// want more than there is, each keeps an n-th.

// share is one pool's part of a table: in less out is what it holds.
type share struct {
	in, out atomic.Uint32
	evicted atomic.Uint64 // live entries that gave way, and new ones that were not written
}

func newShares() *[1 << shareBits]share { return new([1 << shareBits]share) }

// held is the number of entries, expired ones included until the survey has freed
// them. While others write it may be off by what they write.
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

// victim chooses which of the entries in k's two buckets gives way to k: the oldest of
// the pool that holds the most. It is none if k's own pool holds more than that one.
//
// Age is the time since an entry was last written, which is when a server last proved
// it: how long a server says that its tickets live gains nothing. What was written by
// a clock ahead of ours counts as old as that clock is ahead. An entry of a pool that
// holds nothing is one whose words are torn: it goes first.
func (t *Table) victim(k Key, a, b *[bucketWords]atomic.Uint64, now uint32) (p tableSlot) {
	most, oldest := int32(0), uint32(0)
	for _, bucket := range [2]*[bucketWords]atomic.Uint64{a, b} {
		for i := 0; i < bucketWords; i += 2 {
			w0, w1 := bucket[i].Load(), bucket[i+1].Load()
			held := Key(w0 ^ w1)
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

// age is the seconds since an entry was written, or the seconds that are left until
// then by our clock.
func age(k Key, expiry, now uint32) uint32 {
	d := int32(now - (expiry - spanSeconds(k.span())))
	return uint32(max(d, -d))
}

// spanOf is a time to live in 8 bits: below 16 the seconds, else 8 to 15 in the low
// three bits, and above them how often that is doubled, plus 1. It is rounded up, by an
// eighth at most: no entry looks younger than it is, and all that are given the same
// time keep their order.
func spanOf(seconds uint32) uint8 {
	if seconds < 16 {
		return uint8(seconds)
	}
	shift := bits.Len32(seconds) - 4
	m := (uint64(seconds) + 1<<shift - 1) >> shift
	if m == 16 {
		m, shift = 8, shift+1
	}
	return uint8(shift+1)<<3 | uint8(m-8)
}

// spanSeconds is what spanOf has made of it.
func spanSeconds(span uint8) uint32 {
	if span < 16 {
		return uint32(span)
	}
	return uint32(span&7|8) << (span>>3 - 1)
}

// with is k with a span in it, for a table.
func (k Key) with(span uint8) Key { return k&^spanMask | Key(span)<<spanShift }

func (k Key) span() uint8 { return uint8(k >> spanShift) }

// surveySlice is the number of buckets that a survey looks at in one go, at least: 1
// MiB of memory, a fraction of a millisecond. A table of any size is through within
// surveySteps of them.
const (
	surveySlice = 16_384
	surveySteps = 256
)

// survey walks through tables, for ever: it frees what has expired and puts the pools'
// counts right, which go wrong where a slot was read while it was written, or when
// another process writes to the table too. Owned by Store.Run.
type survey struct {
	table int
	next  uint64 // bucket
	began [1 << shareBits]struct{ in, out uint32 }
	found [1 << shareBits]uint32
}

// step looks at the next slice of one of the tables.
func (v *survey) step(tables []*Table, now uint32) {
	t := tables[v.table%len(tables)]
	if v.slice(t, max(surveySlice, t.buckets/surveySteps), now) {
		v.table = (v.table + 1) % len(tables)
	}
}

// whole looks at all of a table at once.
func (v *survey) whole(t *Table, now uint32) { v.slice(t, t.buckets, now) }

// slice looks at n buckets and reports whether they were the table's last.
func (v *survey) slice(t *Table, n uint64, now uint32) (done bool) {
	if v.next == 0 {
		clear(v.found[:])
		for i := range t.shares {
			if in, out := t.shares[i].in.Load(), t.shares[i].out.Load(); in != v.began[i].in || out != v.began[i].out {
				v.began[i].in, v.began[i].out = in, out
			}
		}
	}
	for end := min(v.next+n, t.buckets); v.next < end; v.next++ {
		bucket := (*[bucketWords]atomic.Uint64)(t.words[v.next*bucketWords:])
		for i := 0; i < bucketWords; i += 2 {
			w0, w1 := bucket[i].Load(), bucket[i+1].Load()
			k := Key(w0 ^ w1)
			switch {
			case w1 == 0:
			case uint32(w1) <= now:
				t.free(&bucket[i+1], w1, k)
			default:
				v.found[k.share()]++
				if left := spanSeconds(k.span()); uint32(w1) > now+left+aheadSlack {
					t.bound(bucket, i, w1, k, now+left)
				}
			}
		}
	}
	if v.next < t.buckets {
		return false
	}
	v.next = 0
	for i := range t.shares {
		t.shares[i].correct(v.found[i], v.began[i].in, v.began[i].out)
	}
	return true
}

// aheadSlack is by how many seconds an expiry may be later than it can be: loops read
// their clocks at slightly different times, and those of nodes differ a little.
const aheadSlack = 10

// bound brings the expiry of an entry forward that was written by a clock ahead of
// ours: nothing else would, for it is younger than all others.
func (t *Table) bound(bucket *[bucketWords]atomic.Uint64, slot int, w1 uint64, k Key, expiry uint32) {
	if a, b := t.candidates(k); bucket != a && bucket != b {
		return // half of a pair
	}
	next := word1(uint32(w1>>32), expiry&^clientBits|uint32(w1)&clientBits)
	t.put(k, next, 0, tableSlot{bucket: bucket, slot: slot, old: w1, held: k, same: true})
}

// correct puts the count right, if it cannot be: found entries were seen one after
// another since in and out were what is given, so that there are as many now, but for
// those that came and went meanwhile.
func (s *share) correct(found, in, out uint32) {
	came, went := s.in.Load()-in, s.out.Load()-out
	held := s.held()
	if least := int32(found - went); held < least {
		s.in.Add(uint32(least - held))
	} else if most := int32(found + came); held > most {
		s.out.Add(uint32(held - most))
	}
}
