package affinity

// surveySlice is the number of buckets that a survey looks at in one go, at least: 1 MiB of memory, a fraction of a
// millisecond. A table of any size is through within surveySteps of them.
const (
	surveySlice = 16_384
	surveySteps = 256
)

// survey walks through tables, for ever: it frees what has expired and puts the pools' counts right, which go wrong
// where a slot was read while it was written, or when another process writes to the table too. Owned by Store.Run.
type survey struct {
	table int
	next  uint64  // bucket
	seen  folding // of the table when the walk began
	began [1 << shareBits]struct{ in, out uint32 }
	found [1 << shareBits]uint32
}

// step looks at the next slice of one of the tables.
func (v *survey) step(tables []*Table, now uint32) {
	t := tables[v.table%len(tables)]
	if v.slice(t, max(surveySlice, t.inUse()/surveySteps), now) {
		v.table = (v.table + 1) % len(tables)
	}
}

// whole looks at all of a table at once.
func (v *survey) whole(t *Table, now uint32) {
	for !v.slice(t, t.buckets, now) { // it has unfolded
	}
}

// slice looks at n buckets and reports whether they were the table's last. When entries get other places it begins anew.
func (v *survey) slice(t *Table, n uint64, now uint32) (done bool) {
	l := t.seen()
	if l != v.seen {
		v.seen, v.next = l, 0
	}
	buckets := t.sizes[l.folds()]
	if v.next == 0 {
		clear(v.found[:])
		for i := range t.shares {
			if in, out := t.shares[i].in.Load(), t.shares[i].out.Load(); in != v.began[i].in || out != v.began[i].out {
				v.began[i].in, v.began[i].out = in, out
			}
		}
	}
	for end := min(v.next+n, buckets); v.next < end; v.next++ {
		bucket := t.bucket(v.next)
		for i := 0; i < bucketWords; i += 2 {
			k, w1 := bucket.entry(i)
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
	if v.next < buckets || t.seen() != l {
		return false
	}
	v.next = 0
	for i := range t.shares {
		t.shares[i].correct(v.found[i], v.began[i].in, v.began[i].out)
	}
	return true
}

// aheadSlack is by how many seconds an expiry may be later than it can be: loops read their clocks at slightly
// different times, and those of nodes differ a little.
const aheadSlack = 10

// bound brings the expiry of an entry forward that was written by a clock ahead of ours: nothing else would, for it is
// younger than all others.
func (t *Table) bound(bucket *bucket, slot int, w1 uint64, k Key, expiry uint32) {
	if a, b := t.candidates(k, t.seen().folds()); bucket != a && bucket != b {
		return // half of a pair
	}
	next := word1(uint32(w1>>32), expiry&^clientBits|uint32(w1)&clientBits)
	t.put(k, next, 0, tableSlot{bucket: bucket, slot: slot, old: w1, held: k, same: true})
}

// correct puts the count right, if it cannot be: found entries were seen one after another since in and out were what
// is given, so that there are as many now, but for those that came and went meanwhile.
func (s *share) correct(found, in, out uint32) {
	came, went := s.in.Load()-in, s.out.Load()-out
	held := s.held()
	if least := int32(found - went); held < least {
		s.in.Add(uint32(least - held))
	} else if most := int32(found + came); held > most {
		s.out.Add(uint32(held - most))
	}
}
