package affinity

import (
	"log/slog"
	"math"
)

// A table is folded while it holds little: it uses its first buckets only, a quarter of them for each fold, so that what
// it holds lies together, and the pages behind are not touched. It unfolds once, to four times as much, when two fifths
// of its slots are taken: Store.Run takes the memory first, so that no loop has to. Where that comes too late, it unfolds
// when a new key finds no free slot: a folded table evicts nothing. It is never folded again.
//
// All entries have another place then. Until Store.Run has moved them, some seconds later, the table is unsettled: what is
// not where it belongs is looked for where it belonged before.
const (
	foldShift = 2 // as many bits less has the number of buckets for each fold: a quarter

	// leastBuckets is how many buckets a folded table has at least: 64 KiB, which hold 1,600 entries before it unfolds.
	leastBuckets = 1024

	// maxFolds is more than the largest table has. One less than a power of two, it bounds an index without a check.
	maxFolds = 15

	// unfoldNum of unfoldDen slots may be taken before the memory for more of them is. Up to that, two choices of a
	// bucket of four leave no entry without a free slot.
	unfoldNum, unfoldDen = 2, 5

	// growBuckets is for how many buckets Store.Run takes memory, or moves the entries, before it looks for other work:
	// 1 MiB, about a millisecond.
	growBuckets = 16_384

	// settleAfter is how many seconds after it has unfolded a table is settled. Until then the writes of those who saw it
	// folded have ended.
	settleAfter = 2
)

// folding is where a table's entries lie, a word of its header, which all its processes see: the number of its folds (low
// byte), and that of the oldest folding that may still have entries (the next), which is the same when it is settled. 0:
// the whole table is in use.
type folding uint64

func foldingOf(folds, oldest int) folding { return folding(folds | oldest<<8) }

func (l folding) folds() int    { return int(l & maxFolds) }
func (l folding) oldest() int   { return int(l >> 8 & maxFolds) }
func (l folding) settled() bool { return l.folds() == l.oldest() }

// valid says whether a table that can be folded most times may have it.
func (l folding) valid(most int) bool {
	return l == foldingOf(l.folds(), l.oldest()) && l.folds() <= l.oldest() && l.oldest() <= most
}

// foldSizes are how many of a table's buckets are in use, by folds, and how often it can be folded.
func foldSizes(buckets uint64) (sizes [maxFolds + 1]uint64, most int) {
	for i := range sizes {
		sizes[i] = buckets
		if less := (buckets-1)>>foldShift + 1; less >= leastBuckets && i < maxFolds {
			buckets, most = less, i+1
		}
	}
	return sizes, most
}

// seen is the folding as it is now.
func (t *Table) seen() folding { return folding(t.folding.Load()) }

// inUse is the number of buckets that may have entries; they are the first.
func (t *Table) inUse() uint64 { return t.sizes[t.seen().folds()] }

// unfold unfolds a table that was seen with folding l, whether its memory is there or not. It reports false if it is whole,
// or if there is no memory.
func (t *Table) unfold(l folding) bool {
	if l.folds() == 0 || t.short.Load() {
		return false
	}
	t.folding.CompareAndSwap(uint64(l), uint64(foldingOf(l.folds()-1, l.oldest()))) // or somebody else has
	return true
}

// takeInUse takes the memory of the buckets in use.
func (t *Table) takeInUse() error {
	n := t.inUse()
	err := t.mem.take(0, t.end(n))
	if err == nil {
		t.taken = n
	}
	return err
}

// end is where the n-th bucket ends in the table's memory, in bytes.
func (t *Table) end(n uint64) int { return len(t.header)*8 + int(n)*bucketBytes }

// grow takes a step towards a table that is settled and has memory for what is to come, and reports whether there is more
// to do at once. An error: there is no memory, and the table stays as it is.
func (t *Table) grow(now uint32) (more bool, err error) {
	l := t.seen()
	if l != t.known {
		t.known, t.knownSince = l, now
	}
	if !l.settled() && elapsed(t.knownSince, now) >= settleAfter {
		return t.settleSlice(now), nil
	}
	want := t.inUse()
	fills := l.folds() > 0 && t.held()*unfoldDen > want*ways*unfoldNum
	if fills {
		want = t.sizes[l.folds()-1]
	}
	if t.taken < want {
		next := min(want, t.taken+growBuckets)
		if err := t.mem.take(t.end(t.taken), t.end(next)); err != nil {
			t.short.Store(true)
			return false, err
		}
		t.taken = next
		return true, nil
	}
	t.short.Store(false)
	if fills {
		t.unfold(l)
	}
	return false, nil
}

// held is the number of entries of all pools.
func (t *Table) held() (n uint64) {
	for i := range t.shares {
		n += uint64(max(t.shares[i].held(), 0))
	}
	return n
}

// settle settles the table, at once. No loop may call it.
func (t *Table) settle(now uint32) {
	for t.settleSlice(now) {
	}
}

// settleSlice moves the entries of some buckets to where they belong and reports whether there are more. Who looks for
// one meanwhile finds it at its old or its new place, and what is written meanwhile stays.
func (t *Table) settleSlice(now uint32) (more bool) {
	t.settling.Lock()
	defer t.settling.Unlock()
	l := t.seen()
	if l.settled() {
		return false
	}
	if t.settles != l {
		t.settles, t.settled = l, 0
	}
	old := t.sizes[l.folds()+1] // where the foldings before have their entries
	for end := min(t.settled+growBuckets, old); t.settled < end; t.settled++ {
		bucket := t.bucket(t.settled)
		for i := 0; i < bucketWords; i += 2 {
			if k, w1 := bucket.entry(i); uint32(w1) > now && t.outgrown(bucket, k, l) {
				t.move(bucket, i, k, w1, now, roomDepth)
			}
		}
	}
	if t.settled < old {
		return true
	}
	t.folding.CompareAndSwap(uint64(l), uint64(foldingOf(l.folds(), l.folds()))) // or it has unfolded once more
	return !t.seen().settled()
}

// outgrown says that a bucket is one of k's in a folding before l, and not in l. Half of a pair belongs nowhere.
func (t *Table) outgrown(in *bucket, k Key, l folding) bool {
	for folds := l.folds(); folds <= l.oldest(); folds++ {
		if a, b := t.candidates(k, folds); in == a || in == b {
			return folds != l.folds()
		}
	}
	return false
}

// roomDepth is how many entries may have to make room for one another.
const roomDepth = 8

// makeRoom moves an entry that is in one of k's buckets, and belongs elsewhere. It reports false if there is none.
func (t *Table) makeRoom(k Key, l folding, now uint32, depth int) bool {
	if l.settled() || depth == 0 {
		return false
	}
	a, b := t.candidates(k, l.folds())
	for _, bucket := range [2]*bucket{a, b} {
		for i := 0; i < bucketWords; i += 2 {
			if held, w1 := bucket.entry(i); uint32(w1) > now && t.outgrown(bucket, held, l) {
				t.move(bucket, i, held, w1, now, depth-1)
				return true
			}
		}
	}
	return false
}

// catchUp moves the entry of k from where it belonged before l, and reports false if there is none. It is written where it
// belongs: who settles the table would pass by what is written behind its back.
func (t *Table) catchUp(k Key, l folding, now uint32) bool {
	for folds := l.folds() + 1; folds <= l.oldest(); folds++ {
		if old, _ := t.slotIn(k, now, folds); old.bucket != nil {
			t.move(old.bucket, old.slot, old.held, old.old, now, roomDepth)
			return true
		}
	}
	return false
}

// move writes the entry of k that is in a slot of from where it belongs, and frees the slot.
func (t *Table) move(from *bucket, slot int, k Key, w1 uint64, now uint32, depth int) {
	for {
		l := t.seen()
		same, p := t.slotIn(k, now, l.folds())
		switch {
		case same.bucket == from && same.slot == slot: // unfolded once more, and it belongs here
			return
		case same.bucket != nil: // written since
			t.free(&from[slot+1], w1, k)
			return
		case p.bucket == nil && (t.makeRoom(k, l, now, depth) || t.unfold(l)):
			if from[slot+1].Load() != w1 { // it was in the way, and has moved
				return
			}
			continue
		case p.bucket == nil:
			if p = t.victim(k, l.folds(), now); p.bucket == nil {
				if t.free(&from[slot+1], w1, k) {
					t.crowdedOut(k)
				}
				return
			}
		}
		if t.put(k, w1, now, p) {
			t.inserts.Add(math.MaxUint64) // less one: it is not new
			// If it was written meanwhile, that counts. If it is gone, somebody else who moves it has, as likely as not, seen it
			// where it is now.
			if !t.free(&from[slot+1], w1, k) {
				if held, written := from.entry(slot); written != 0 && (held^k)&^spanMask == 0 {
					t.free(&p.bucket[p.slot+1], w1, k)
				}
			}
			return
		}
	}
}

// grow has the tables grow as they fill, and reports whether there is more to do at once.
func (s *Store) grow(now uint32) (more bool) {
	for _, p := range s.specs() {
		t := *p.table
		was := t.short.Load()
		again, err := t.grow(now)
		more = more || again
		if err != nil && !was {
			s.cfg.Log.Warn("a table does not grow: there is no memory", slog.String("table", p.name), slog.Any("error", err))
		}
	}
	return more
}
