package replica

import (
	"context"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
)

// ring is the last facts learned here, by sequence from 1 on: what new streams resume from, and all that slow peers can
// make us hold. Any number of goroutines write, none waits; each stream reads at its own pace, and what is overwritten
// before it was read is lost to that stream, which then needs a resync.
type ring struct {
	slots []slot // a power of two
	head  atomic.Uint64
	base  atomic.Uint64 // facts up to there are not here: resume has set out from it
	began atomic.Uint64 // facts up to there were learned by the process before
}

// slot is one fact and the sequence it has, XORed with a digest of all the other words: a slot that is read while it is
// written, or that two writers of different rounds have mixed up, is not the one looked for.
type slot struct {
	check, about, key, value, at atomic.Uint64
}

func newRing(size int) *ring {
	n := 1
	for n < size {
		n *= 2
	}
	return &ring{slots: make([]slot, n)}
}

// push adds a fact, learned at a time of Replicator.ticks.
func (r *ring) push(f *affinity.Fact, at int64) {
	about := uint64(f.Kind) | uint64(f.Length)<<8 | uint64(f.Span)<<16 | uint64(f.Pool)<<32
	key, value := uint64(f.Key), uint64(f.ID)<<32|uint64(f.Time)
	seq := r.head.Add(1)
	s := &r.slots[seq&uint64(len(r.slots)-1)]
	s.about.Store(about)
	s.key.Store(key)
	s.value.Store(value)
	s.at.Store(uint64(at))
	s.check.Store(seq ^ digest(about, key, value, uint64(at)))
}

// digest mixes the words of a slot. A plain XOR would not do: the words of two facts that were learned together are
// alike, and their differences cancel out.
func digest(words ...uint64) (h uint64) {
	for _, w := range words {
		h = (h ^ w) * 0x9e3779b97f4a7c15 // 2^64 / golden ratio: odd, and no short pattern of bits
		h ^= h >> 32
	}
	return h
}

// get is the fact with that sequence.
func (r *ring) get(seq uint64) (f affinity.Fact, at int64, ok bool) {
	s := &r.slots[seq&uint64(len(r.slots)-1)]
	check, about, key, value, stamp := s.check.Load(), s.about.Load(), s.key.Load(), s.value.Load(), s.at.Load()
	if seq == 0 || check^digest(about, key, value, stamp) != seq {
		return affinity.Fact{}, 0, false
	}
	return affinity.Fact{
		Kind: affinity.FactKind(about), Length: uint8(about >> 8), Span: uint8(about >> 16), Pool: uint32(about >> 32),
		Key: affinity.Key(key), ID: uint32(value >> 32), Time: uint32(value),
	}, int64(stamp), true
}

// holds reports whether the facts behind sequence last are all there.
func (r *ring) holds(last uint64) bool {
	head := r.head.Load()
	return last >= r.base.Load() && last <= head && head-last < uint64(len(r.slots))
}

// resume makes the ring, which is to be empty, one whose next fact has the sequence behind last, and whose last ones
// are facts, learned at a time of Replicator.ticks.
func (r *ring) resume(last uint64, facts []affinity.Fact, at int64) {
	facts = facts[max(0, len(facts)-len(r.slots)+1):]
	base := last - uint64(len(facts))
	r.base.Store(base)
	r.head.Store(base)
	for i := range facts {
		r.push(&facts[i], at)
	}
	r.began.Store(last)
}

// read appends to facts, up to its capacity, those behind sequence last. A fact that is being written ends it. lost
// says that some have been overwritten.
func (r *ring) read(last uint64, facts []affinity.Fact) (_ []affinity.Fact, lost bool) {
	for len(facts) < cap(facts) {
		head := r.head.Load()
		if last == head {
			break
		}
		f, _, ok := r.get(last + 1)
		if !ok {
			return facts, !r.holds(last)
		}
		facts = append(facts, f)
		last++
	}
	return facts, false
}

// ready reports whether read would find something to do.
func (r *ring) ready(last uint64) bool {
	if last == r.head.Load() {
		return false
	}
	_, _, ok := r.get(last + 1)
	return ok || !r.holds(last)
}

// oldest is when the oldest of the facts behind sequence last that are still there was learned, in Unix nanoseconds; 0
// if there is none.
func (r *ring) oldest(last uint64) int64 {
	head := r.head.Load()
	last = max(last, r.base.Load())
	if last >= head {
		return 0
	}
	if n := uint64(len(r.slots)); head-last >= n {
		last = head - n + 1
	}
	_, at, _ := r.get(last + 1)
	return at
}

// waker parks one goroutine until others have something for it. Those that write call wake, which costs them one load
// while the goroutine is busy.
type waker struct {
	parked atomic.Bool
	ch     chan struct{} // of capacity 1, never closed
}

func newWaker() waker { return waker{ch: make(chan struct{}, 1)} }

func (w *waker) wake() {
	if w.parked.Load() && w.parked.CompareAndSwap(true, false) {
		select {
		case w.ch <- struct{}{}:
		default:
		}
	}
}

// park waits for a time, or until there is something to do, or ctx is done.
func (w *waker) park(ctx context.Context, timer *time.Timer, until time.Time, ready func() bool) {
	w.parked.Store(true)
	defer w.parked.Store(false)
	if ready() { // who adds something after this look sees that the goroutine is parked
		return
	}
	timer.Reset(time.Until(until))
	select {
	case <-ctx.Done():
	case <-w.ch:
	case <-timer.C:
	}
}
