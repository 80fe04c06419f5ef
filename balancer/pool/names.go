package pool

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxNames bounds the names that are counted: eight times what the probe asks for by default.
	maxNames = 64

	// maxPending bounds the names whose handshake may still complete. A name that is pushed out has its next handshake.
	maxPending = 64

	// maxNameLen is the longest name in the DNS, in text without the last dot (RFC 1035, 2.3.4).
	maxNameLen = 253

	// nameUnit is what one handshake counts, so that a name used once is remembered for four half-lives.
	nameUnit = 16

	// nameHalfLife is how long it takes a name's count to lose half of its weight, so that yesterday's names go.
	nameHalfLife = 10 * time.Minute
)

// Names knows the server names (RFC 6066, 3) that a pool's clients use most: space-saving counters (Metwally et al.,
// 2005) over a fixed number of names, with decay. A name that completes more than 1 in 64 handshakes cannot be missed.
//
// Any client can write any name into a hello, so a hello alone counts for nothing: Offer remembers the name, Completed
// counts it. Both are for loops. They take no time worth mentioning, never wait, and allocate only when a name is
// counted for the first time; what meets a busy lock is dropped.
type Names struct {
	seed maphash.Seed // constant: nobody can say which names have one reference

	// Atomic: read and counted up without the lock, placed under it.
	refs    [maxNames]atomic.Uint32
	counts  [maxNames]atomic.Uint32
	pending [maxPending]atomic.Uint32

	// Guarded by mu, which loops only try.
	mu     sync.Mutex
	names  [maxNames]string
	excess [maxNames]uint32      // the part of the count that was another name's: it had the slot before
	texts  *[maxPending]nameText // 16 KiB, made for the first name
	next   int                   // in pending
	halved time.Time             // when the counts were halved last
}

type nameText struct {
	n uint8
	b [maxNameLen]byte
}

// NameRef stands for a name between its hello and the end of its handshake. 0 stands for none.
type NameRef uint32

func newNames() *Names { return &Names{seed: maphash.MakeSeed()} }

// Offer notes the name of a hello, lower-cased. The answer is 0 for none and for what is no host name.
func (n *Names) Offer(name []byte) NameRef {
	if len(name) == 0 || len(name) > maxNameLen {
		return 0
	}
	ref := uint32(maphash.Bytes(n.seed, name)) | 1
	if find(n.refs[:], ref) >= 0 || find(n.pending[:], ref) >= 0 {
		return NameRef(ref)
	}
	if !hostName(name) || !n.mu.TryLock() {
		return 0
	}
	if n.texts == nil {
		n.texts = new([maxPending]nameText)
	}
	n.texts[n.next].n = uint8(copy(n.texts[n.next].b[:], name))
	n.pending[n.next].Store(ref)
	n.next = (n.next + 1) % maxPending
	n.mu.Unlock()
	return NameRef(ref)
}

// Completed counts a name whose handshake has been completed.
func (n *Names) Completed(ref NameRef) {
	if ref == 0 {
		return
	}
	if i := find(n.refs[:], uint32(ref)); i >= 0 {
		n.count(i)
		return
	}
	if !n.mu.TryLock() {
		return
	}
	defer n.mu.Unlock()
	from := find(n.pending[:], uint32(ref))
	if from < 0 {
		return // pushed out
	}
	if i := find(n.refs[:], uint32(ref)); i >= 0 { // another loop was faster
		n.count(i)
		return
	}
	least := 0 // a free slot has count 0
	for i := range n.counts {
		if n.counts[i].Load() < n.counts[least].Load() {
			least = i
		}
	}
	text := &n.texts[from]
	n.names[least] = string(text.b[:text.n])
	n.excess[least] = n.counts[least].Load()
	n.refs[least].Store(uint32(ref))
	n.count(least)
	n.pending[from].Store(0)
}

func (n *Names) count(i int) {
	if n.counts[i].Load() < 1<<31 { // nobody halves while nobody asks
		n.counts[i].Add(nameUnit)
	}
}

// Top is the most used names, at most k. It is for whoever may wait.
func (n *Names) Top(k int, now time.Time) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.decay(now)
	type used struct {
		name  string
		count uint32
	}
	var all []used
	for i, name := range n.names {
		// What was counted for the slot's former names says nothing of this one.
		if count := n.counts[i].Load(); count > n.excess[i] {
			all = append(all, used{name, count - n.excess[i]})
		}
	}
	slices.SortFunc(all, func(a, b used) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.name, b.name)) })
	var top []string
	for _, u := range all[:min(k, len(all))] {
		top = append(top, u.name)
	}
	return top
}

// decay halves the counts once for each half-life that has passed. A count that a loop adds meanwhile may be lost.
func (n *Names) decay(now time.Time) {
	if n.halved.IsZero() {
		n.halved = now
	}
	lives := int(now.Sub(n.halved) / nameHalfLife)
	if lives <= 0 {
		return
	}
	n.halved = n.halved.Add(time.Duration(lives) * nameHalfLife)
	for i := range n.counts {
		n.counts[i].Store(n.counts[i].Load() >> min(lives, 32))
		n.excess[i] >>= min(lives, 32)
		if n.counts[i].Load() == 0 {
			n.refs[i].Store(0)
			n.names[i] = ""
		}
	}
}

// find is the index of ref, -1 for none.
func find(refs []atomic.Uint32, ref uint32) int {
	for i := range refs {
		if refs[i].Load() == ref {
			return i
		}
	}
	return -1
}

// hostName says whether name may be sent as a server name: letters, digits, hyphens, dots and, for the sake of reality,
// underscores; and a letter among them, for addresses are no names (RFC 6066, 3).
func hostName(name []byte) bool {
	letter := false
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z':
			letter = true
		case c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return letter
}
