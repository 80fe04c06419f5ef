package pool

import (
	"slices"
	"sync"
	"sync/atomic"

	"homing/balancer/affinity"
)

// Waiter is a conn that waits for a place at a backend of its pool, because all that could take it have as many conns as
// they may. Its owner keeps it where it is from Wait to Leave.
type Waiter struct {
	// Set by its owner before Wait, and not changed until Leave.
	Wish  Wish
	Owner Notifier // told when the waiting is over
	Tag   uint64   // that its owner is told

	// Guarded by queue.mu.
	next, prev *Waiter
	waits      bool
	backend    *Backend // its place, acquired
}

// Wish says which backend a conn had rather than others: one of its homes, then the one that it has been given, then
// whichever the policy says.
type Wish struct {
	Home   affinity.Home
	Given  ID     // that it would have had but for those who wait; NoID: none
	Client uint64 // hash of the client, for Options.Policy
	Skip   Skip   // backends that it must not have
}

// Notifier is told that a waiter waits no more: Leave says what came of it. It is called with the queue locked, by whoever
// had a place to give, and must neither block nor call the pool.
type Notifier interface {
	WaitOver(tag uint64)
}

// WaitResult is what Wait came to.
type WaitResult uint8

// The results of Wait.
const (
	WaitServed WaitResult = iota // there is a place, and it is acquired
	WaitQueued                   // it waits until its owner is told, or calls Leave
	WaitFull                     // as many wait as may
	WaitNobody                   // there is no backend whose conns could make room
)

// queue is the conns that wait for a place in a pool, the oldest first, of all loops. While there are any, whoever comes
// later waits behind them, so that nobody is overtaken by a conn that could have had the same place.
//
// A place is handed over, not announced: it is acquired for the waiter before its owner is told, so that none is lost and
// none is taken twice. Whoever makes room calls serve: Release, and reconcile for all that changes backends and bounds.
type queue struct {
	waiting atomic.Int64 // written under mu

	mu          sync.Mutex
	first, last *Waiter
}

// Waiting is the number of conns that wait for a place. Any goroutine.
func (p *Pool) Waiting() int { return int(p.queue.waiting.Load()) }

// Wait gives w a place, or makes it wait for one behind those that wait already.
func (p *Pool) Wait(w *Waiter) (*Backend, WaitResult) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	s := p.Snapshot()
	owner := w.Owner
	w.Owner = nil // it need not be told what Wait returns
	q.push(w)
	// Not before it is counted: a place that comes free from here on is offered by its Release.
	q.serve(s)
	w.Owner = owner
	switch {
	case !w.waits && w.backend != nil:
		b := w.backend
		w.backend = nil
		return b, WaitServed
	case !w.waits:
		return nil, WaitNobody
	case int(q.waiting.Load()) > s.opt.Queue: // Queue is negative where nobody may wait
		q.remove(w)
		return nil, WaitFull
	}
	return nil, WaitQueued
}

// Leave ends the waiting of w, whether it was over or not, and returns the place that it has been given, if any. served
// without a place: there was nobody left to wait for.
func (p *Pool) Leave(w *Waiter) (b *Backend, served bool) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.waits {
		q.remove(w)
		return nil, false
	}
	b, w.backend = w.backend, nil
	return b, true
}

// serveQueue gives away what has become free, if anybody waits.
func (p *Pool) serveQueue() {
	q := &p.queue
	if q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.serve(p.Snapshot())
}

// serve gives places to waiters, the oldest first, as long as there are any, and ends the waiting of those who have
// nobody to wait for. mu is held.
func (q *queue) serve(s *Snapshot) {
	full := false // no live backend has room
	for w := q.first; w != nil; {
		this := w
		w = w.next
		b := s.granted(&this.Wish, full)
		if b == nil && !full {
			b = s.Fresh(s.opt.Policy, this.Wish.Client, this.Wish.Skip)
			full = b == nil && this.Wish.Skip.N == 0
		}
		switch {
		case b != nil:
			b.Acquire()
			q.over(this, b)
		case !s.hope(&this.Wish):
			q.over(this, nil)
		case full && len(s.rest) == 0: // a drained backend would still take its own
			return
		}
	}
}

// granted is a backend that w names, if one has room. full: no live one has, only a drained one may.
func (s *Snapshot) granted(w *Wish, full bool) *Backend {
	if full && !slices.ContainsFunc(s.rest, func(b *Backend) bool {
		named := b.ID == w.Given || !w.Home.Any && w.Home.Has(uint32(b.ID))
		return named && s.Usable(b) == UsableOK
	}) {
		return nil
	}
	if b, _ := s.Home(&w.Home, &w.Skip); b != nil {
		return b
	}
	b, _ := s.One(w.Given, &w.Skip)
	return b
}

// hope says whether there is a backend that w could have if it had fewer conns.
func (s *Snapshot) hope(w *Wish) bool {
	if slices.ContainsFunc(s.live, func(b *Backend) bool { return b.live() && !w.Skip.Has(b.ID) }) {
		return true
	}
	_, why := s.Home(&w.Home, &w.Skip)
	return why == UsableFull
}

// over ends the waiting of w with a place, or with nil. mu is held.
func (q *queue) over(w *Waiter, b *Backend) {
	q.remove(w)
	w.backend = b
	if w.Owner != nil {
		w.Owner.WaitOver(w.Tag)
	}
}

func (q *queue) push(w *Waiter) {
	w.next, w.prev, w.waits, w.backend = nil, q.last, true, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.waiting.Add(1)
}

func (q *queue) remove(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.next, w.prev, w.waits = nil, nil, false
	q.waiting.Add(-1)
}
