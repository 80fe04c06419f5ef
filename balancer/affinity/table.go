package affinity

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
)

const (
	ways        = 4
	bucketWords = 2 * ways // 64 bytes, one cache line
	bucketBytes = 8 * bucketWords

	// A Table's entries are 60 % of its slots. Filled to that, two choices of a bucket of four leave one entry in 3,000
	// without a free slot.
	loadNum, loadDen = 3, 5

	// MaxEntries is how many a table may have at most: it keeps the arithmetic of sizes from overflow: 57 GB, and 895
	// MB where an int has 32 bits.
	MaxEntries = min(1<<31-1, math.MaxInt/64)
)

// Table maps keys to backends: a fixed-size array of 16-byte entries in buckets of four, in memory outside the Go heap, of
// which it uses as much as it needs; see fold.go. There is no chain and nothing for the garbage collector to look at. All
// exported methods but Close may be called by any number of goroutines at once; none of them locks, allocates or makes a
// system call.
//
// An entry is two 64-bit words:
//
//	word 0  key with the span in it, XOR word 1
//	word 1  backend ID (high 32 bits) | expiry in Unix seconds (low 32 bits); 0 = free
//
// The span is how long it was to live when it was written, so that its age is known: see spanOf. When there is no free
// slot the pool that holds the most gives its oldest; see share.go.
//
// A reader that meets half of a write computes a key that is not the one it looks for: a torn pair is a miss, here and
// in any process that maps the memory later.
//
// Invariants: a writer owns a slot from the moment its compare-and-swap of word 1 succeeds until it has stored word 0.
// Two writers of one key at the same instant may leave it in two slots; both say what a server proved, and the next
// Insert of the key mends it.
type Table struct {
	// Static after NewTable.
	mem     mapping
	header  header          // mem's; empty in memory that ends with the process
	words   []atomic.Uint64 // mem's
	buckets uint64
	sizes   [maxFolds + 1]uint64 // of its buckets in use, by folds
	folding *atomic.Uint64       // a folding: in header, or whole
	whole   atomic.Uint64        // 0
	entries int

	found    bool // it may have entries from the start
	imported bool // of them, those of a process that may still be there

	shares *[1 << shareBits]share // by Key.share

	// Owned by who makes the store, then by Store.Run.
	renames    string // the file at that path, with ".heir", is to get its name
	taken      uint64 // buckets whose memory is there
	known      folding
	knownSince uint32 // Unix seconds

	settling sync.Mutex // no loop's
	settles  folding    // guarded by settling: the one that is being settled
	settled  uint64     // guarded by settling: buckets

	// Atomic.
	short   atomic.Bool   // there is no memory to unfold into
	inserts atomic.Uint64 // new keys since the start
	evicted atomic.Uint64 // live entries that gave way to new keys, and new keys for which none did
}

// NewTable makes a table for about entries live entries and takes all the memory it will ever need, 26.7 bytes per
// entry, at once.
func NewTable(entries int) (*Table, error) {
	if entries < 1 || entries > MaxEntries {
		return nil, fmt.Errorf("affinity: table of %d entries: want 1 to %d", entries, MaxEntries)
	}
	buckets := bucketsFor(entries)
	mem, err := newMapping(buckets * bucketWords)
	if err != nil {
		bytes := buckets * bucketBytes
		return nil, fmt.Errorf("affinity: map %d bytes for a table of %d entries: %w", bytes, entries, err)
	}
	return wholeTable(mem, entries, uint64(buckets)), nil
}

// wholeTable is a table that is in use as a whole.
func wholeTable(mem mapping, entries int, buckets uint64) *Table {
	t := &Table{mem: mem, words: mem.words, buckets: buckets, entries: entries, shares: newShares()}
	t.sizes, _ = foldSizes(buckets)
	t.folding = &t.whole
	return t
}

// bucketsFor is how many buckets hold about entries.
func bucketsFor(entries int) int {
	slots := (entries*loadDen + loadNum - 1) / loadNum
	return (slots + ways - 1) / ways
}

// clear frees every slot.
func (t *Table) clear() {
	for at := uint64(0); at < t.inUse(); at++ {
		for i, bucket := 1, t.bucket(at); i < bucketWords; i += 2 {
			bucket[i].Store(0)
		}
	}
	for i := range t.shares {
		t.shares[i].empty()
	}
}

// Close gives the memory back. No other call may be running or follow.
func (t *Table) Close() error {
	t.words = nil
	err := t.mem.close()
	if t.renames != "" { // nobody has run it
		err = errors.Join(err, os.Remove(t.renames+".heir"))
	}
	return err
}

// candidates are the two buckets that may hold k, whatever its span, when the table is folded so often; never the same
// one twice where there are two. The key is a hash already, so its high bits choose the first.
func (t *Table) candidates(k Key, folds int) (a, b *bucket) {
	k &^= spanMask
	n := t.sizes[folds&maxFolds]
	x, _ := bits.Mul64(uint64(k), n)
	y, _ := bits.Mul64(bits.RotateLeft64(uint64(k), 32)*0x9e3779b97f4a7c15, n)
	if x == y {
		if y++; y == n {
			y = 0
		}
	}
	return t.bucket(x), t.bucket(y)
}

// bucket is the slots that a key may be in: of each the words 0 and 1.
type bucket [bucketWords]atomic.Uint64

func (t *Table) bucket(i uint64) *bucket { return (*bucket)(t.words[i*bucketWords:]) }

// entry is the key, with its span, and word 1 of what the slot at word i holds.
func (b *bucket) entry(i int) (k Key, w1 uint64) {
	w0, w1 := b[i].Load(), b[i+1].Load()
	return Key(w0 ^ w1), w1
}

func word1(id, expiry uint32) uint64 { return uint64(id)<<32 | uint64(expiry) }

// Lookup finds the entry of k that has not expired at now.
func (t *Table) Lookup(k Key, now uint32) (id, expiry uint32, ok bool) {
	l := t.seen()
	w := t.find(k, l.folds())
	for folds := l.folds() + 1; w == 0 && folds <= l.oldest(); folds++ {
		w = t.find(k, folds)
	}
	if w == 0 && !l.settled() {
		w = t.find(k, t.seen().folds()) // it has been moved meanwhile
	}
	if uint32(w) <= now {
		return 0, 0, false
	}
	return uint32(w >> 32), uint32(w), true
}

// find is word 1 of k's entry in a folding, 0 for none.
func (t *Table) find(k Key, folds int) uint64 {
	a, b := t.candidates(k, folds)
	if w := match(a, k); w != 0 {
		return w
	}
	return match(b, k)
}

// match is word 1 of k's entry in the bucket, 0 for none.
func match(b *bucket, k Key) uint64 {
	for i := 0; i < bucketWords; i += 2 {
		if held, w1 := b.entry(i); (held^k)&^spanMask == 0 && w1 != 0 {
			return w1
		}
	}
	return 0
}

// Insert sets the entry of k. It overwrites k's own entry, else takes a free slot (an expired entry is free) in the
// emptier of the two buckets, else unfolds the table, else evicts; see victim. It reports whether the entry is there: none is made that has
// expired, nor for a pool that holds more than those whose entries would have to give way.
func (t *Table) Insert(k Key, id, expiry, now uint32) bool {
	if expiry <= now {
		return false
	}
	k, w1 := k.with(spanOf(expiry-now)), word1(id, expiry)
	for {
		p := t.slotFor(k, now)
		if p.bucket == nil {
			t.crowdedOut(k)
			return false
		}
		if t.put(k, w1, now, p) {
			return true
		}
		// Another writer was faster: the slot is taken, look again.
	}
}

// put writes k's entry, k with its span, where slotFor chose. It reports false if another writer was faster and took
// the slot.
func (t *Table) put(k Key, w1 uint64, now uint32, p tableSlot) bool {
	if !p.bucket[p.slot+1].CompareAndSwap(p.old, w1) {
		return false
	}
	p.bucket[p.slot].Store(uint64(k) ^ w1)
	if p.same {
		return true
	}
	t.inserts.Add(1)
	t.shares[k.share()].in.Add(1)
	if p.old != 0 {
		was := &t.shares[p.held.share()]
		was.out.Add(1)
		if uint32(p.old) > now {
			t.evicted.Add(1)
			was.evicted.Add(1)
		}
	}
	return true
}

// tableSlot is where an Insert may go; without a bucket: nowhere.
type tableSlot struct {
	bucket *bucket
	slot   int    // of word 0
	old    uint64 // word 1 as it was read
	held   Key    // the key of old, or anything where word 0 was not there yet
	same   bool   // it holds the key already
}

// slotFor chooses the slot for k.
func (t *Table) slotFor(k Key, now uint32) tableSlot {
	for {
		l := t.seen()
		same, free := t.slotIn(k, now, l.folds())
		switch {
		case same.bucket != nil:
			return same
		case t.catchUp(k, l, now):
		case free.bucket != nil:
			return free
		case t.makeRoom(k, l, now, roomDepth), t.unfold(l):
		default:
			return t.victim(k, l.folds(), now)
		}
	}
}

// slotIn is the slot that holds k in a folding, and a free one for it. Copies of k beyond the first are freed.
func (t *Table) slotIn(k Key, now uint32, folds int) (same, free tableSlot) {
	a, b := t.candidates(k, folds)
	most := 0 // free slots in the bucket of free
	for _, bucket := range [2]*bucket{a, b} {
		n := 0
		var first tableSlot
		for i := 0; i < bucketWords; i += 2 {
			held, w1 := bucket.entry(i)
			p := tableSlot{bucket: bucket, slot: i, old: w1, held: held}
			if (p.held^k)&^spanMask == 0 && w1 != 0 {
				if same.bucket != nil {
					t.free(&bucket[i+1], w1, k)
					continue
				}
				p.same = true
				same = p
			}
			if uint32(w1) <= now {
				if n++; n == 1 {
					first = p
				}
			}
		}
		if n > most {
			most, free = n, first
		}
	}
	return same, free
}

// free ends an entry of k with word 1 w1. It reports whether it was there still.
func (t *Table) free(slot *atomic.Uint64, w1 uint64, k Key) bool {
	if !slot.CompareAndSwap(w1, 0) {
		return false
	}
	t.shares[k.share()].out.Add(1)
	return true
}

// Delete frees the entry of k. Word 0 stays: the slot may have a new owner the moment word 1 is 0.
func (t *Table) Delete(k Key) {
	l := t.seen()
	for folds := l.folds(); folds <= l.oldest(); folds++ {
		a, b := t.candidates(k, folds)
		for _, bucket := range [2]*bucket{a, b} {
			for i := 0; i < bucketWords; i += 2 {
				if held, w1 := bucket.entry(i); (held^k)&^spanMask == 0 && w1 != 0 {
					t.free(&bucket[i+1], w1, k)
				}
			}
		}
	}
}

// sampleBuckets bounds what Used reads: 4 MiB of memory.
const sampleBuckets = 65_536

// Used is the number of live entries: exact in a table of up to 262,144 slots, estimated from evenly spread buckets
// above.
func (t *Table) Used(now uint32) int {
	n := t.inUse()
	sample := min(n, sampleBuckets)
	live := 0
	for i := range sample {
		at := i * n / sample
		bucket := t.bucket(at)
		for j := 1; j < bucketWords; j += 2 {
			if uint32(bucket[j].Load()) > now {
				live++
			}
		}
	}
	return int(uint64(live) * n / sample)
}

// Bytes is the memory in use.
func (t *Table) Bytes() int { return int(t.inUse()) * bucketBytes }

// MaxBytes is the memory that is in use when the table is whole.
func (t *Table) MaxBytes() int { return int(t.buckets) * bucketBytes }
