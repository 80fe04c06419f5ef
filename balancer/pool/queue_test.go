package pool

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"homing/balancer/affinity"
)

// told collects whom a queue has told that the waiting is over, in order.
type told struct {
	mu   sync.Mutex
	tags []uint64
}

func (t *told) WaitOver(tag uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tags = append(t.tags, tag)
}

func (t *told) take() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	tags := t.tags
	t.tags = nil
	return tags
}

// bounded is n specs with a bound each.
func bounded(n, maxConns int) []Spec {
	specs := numbered(n)
	for i := range specs {
		specs[i].MaxConns = maxConns
	}
	return specs
}

// fill takes every place of a pool.
func fill(p *Pool) {
	for _, b := range p.Snapshot().All() {
		hold(b, b.MaxConns()-b.Open())
	}
}

// wait queues a waiter, which has to wait.
func wait(t *testing.T, p *Pool, w *Waiter) *Waiter {
	t.Helper()
	if b, result := p.Wait(w); result != WaitQueued || b != nil {
		t.Fatalf("result %d, want that it waits", result)
	}
	return w
}

// TestQueueOrder: places that come free go to those who wait, the oldest first, and are taken already when they hear of it.
func TestQueueOrder(t *testing.T) {
	p := newPool(t, Options{}, bounded(2, 2)...)
	fill(p)
	var owner told
	var all []*Waiter
	for i := range 4 {
		all = append(all, wait(t, p, &Waiter{Owner: &owner, Tag: uint64(i)}))
	}
	if _, served := p.Leave(all[1]); served || p.Waiting() != 3 { // it has enough
		t.Error("served without a place")
	}
	for i, want := range []int{0, 2, 3} {
		b := member(p, i%2)
		b.Release()
		if got := owner.take(); len(got) != 1 || got[0] != uint64(want) {
			t.Fatalf("place %d: told %v, want %d", i, got, want)
		}
		if b.Open() != 2 {
			t.Errorf("%d conns open: the place is not taken", b.Open())
		}
		if got, served := p.Leave(all[want]); got != b || !served {
			t.Error("not the place that came free")
		}
		if got, served := p.Leave(all[want]); got != nil || !served {
			t.Error("a place twice")
		}
	}
	member(p, 0).Release()
	if p.Waiting() != 0 || owner.take() != nil || member(p, 0).Open() != 1 {
		t.Error("a place for nobody")
	}
}

// TestQueueBehind: who comes later does not overtake, even when a place has just come free; but a place that the older
// ones must not have is anybody's.
func TestQueueBehind(t *testing.T) {
	p := newPool(t, Options{}, bounded(2, 1)...)
	fill(p)
	var owner told
	picky := wait(t, p, &Waiter{Owner: &owner, Tag: 1, Wish: Wish{Skip: skipping(member(p, 0))}})
	second := wait(t, p, &Waiter{Owner: &owner, Tag: 2, Wish: Wish{Skip: skipping(member(p, 0))}})
	member(p, 0).Release()
	if got := owner.take(); got != nil {
		t.Fatalf("told %v of a backend that they have tried", got)
	}
	if b, result := p.Wait(&Waiter{Owner: &owner, Tag: 3}); result != WaitServed || b != member(p, 0) {
		t.Errorf("result %d: the place was free", result)
	}
	member(p, 1).open.Add(-1) // as in the midst of a Release: the place is free and not offered yet
	if _, result := p.Wait(&Waiter{Owner: &owner, Tag: 4}); result != WaitQueued {
		t.Error("the youngest has overtaken")
	}
	if got := owner.take(); len(got) != 1 || got[0] != 1 {
		t.Errorf("told %v, want the oldest", got)
	}
	if b, _ := p.Leave(picky); b != member(p, 1) {
		t.Error("not the other backend")
	}
	if _, served := p.Leave(second); served {
		t.Error("served")
	}
	if owner.take() != nil {
		t.Error("told what Wait has returned")
	}
}

// TestQueueHome: of two free places a waiter gets its home's; a home that takes its own only is waited for.
func TestQueueHome(t *testing.T) {
	p := newPool(t, Options{}, bounded(3, 1)...)
	fill(p)
	var owner told
	w := wait(t, p, &Waiter{Owner: &owner, Wish: Wish{Home: affinity.Home{ID: uint32(member(p, 1).ID)}}})
	for i := range 3 {
		member(p, i).open.Add(-1)
	}
	p.serveQueue()
	if b, _ := p.Leave(w); b != member(p, 1) {
		t.Error("not at home")
	}
	hold(member(p, 0), 1)
	hold(member(p, 2), 1)

	p.SetDraining(member(p, 1), DrainSoft)
	other := wait(t, p, &Waiter{Owner: &owner, Tag: 1})
	own := wait(t, p, &Waiter{Owner: &owner, Tag: 2, Wish: Wish{Home: affinity.Home{ID: uint32(member(p, 1).ID)}}})
	owner.take()
	member(p, 1).Release()
	if got := owner.take(); len(got) != 1 || got[0] != 2 {
		t.Errorf("told %v, want the one whose home it is: it takes nobody else", got)
	}
	if b, _ := p.Leave(own); b != member(p, 1) {
		t.Error("not at home")
	}
	p.Leave(other)
}

// TestQueueBound: no more wait than may, and none where none may; a free place is had all the same.
func TestQueueBound(t *testing.T) {
	for _, test := range []struct{ option, waits int }{{3, 3}, {-1, 0}} {
		p := newPool(t, Options{Queue: test.option}, bounded(1, 1)...)
		if _, result := p.Wait(&Waiter{}); result != WaitServed {
			t.Errorf("queue %d: result %d with a place free", test.option, result)
		}
		for range test.waits {
			wait(t, p, &Waiter{})
		}
		if _, result := p.Wait(&Waiter{}); result != WaitFull || p.Waiting() != test.waits {
			t.Errorf("queue %d: result %d, %d wait", test.option, result, p.Waiting())
		}
	}
}

// TestQueueNobody: there is no waiting for a pool whose backends are gone, and it ends when they go.
func TestQueueNobody(t *testing.T) {
	down := func(p *Pool, b *Backend) { p.SetUp(b, false, "test") }
	for name, end := range map[string]func(p *Pool, b *Backend){
		"down":    down,
		"drained": func(p *Pool, b *Backend) { p.SetDraining(b, DrainSoft) },
	} {
		p := newPool(t, Options{}, bounded(2, 1)...)
		fill(p)
		var owner told
		w := wait(t, p, &Waiter{Owner: &owner, Tag: 7})
		end(p, member(p, 0))
		if owner.take() != nil {
			t.Errorf("%s: one backend is left", name)
		}
		end(p, member(p, 1))
		if got := owner.take(); len(got) != 1 {
			t.Errorf("%s: told %v", name, got)
		}
		if b, served := p.Leave(w); b != nil || !served {
			t.Errorf("%s: a place at %v", name, b)
		}
		if _, result := p.Wait(&Waiter{}); result != WaitNobody || p.Waiting() != 0 {
			t.Errorf("%s: result %d, %d wait", name, result, p.Waiting())
		}
	}
	p := newPool(t, Options{}, bounded(1, 1)...)
	fill(p)
	if _, result := p.Wait(&Waiter{Wish: Wish{Skip: skipping(member(p, 0))}}); result != WaitNobody {
		t.Errorf("result %d of one that has tried all", result)
	}
}

// TestQueueWoken: whatever makes room is offered at once.
func TestQueueWoken(t *testing.T) {
	for name, room := range map[string]func(t *testing.T, p *Pool){
		"a higher bound": func(t *testing.T, p *Pool) {
			if err := p.Set(bounded(2, 2)); err != nil {
				t.Fatal(err)
			}
		},
		"a further backend": func(t *testing.T, p *Pool) {
			if err := p.Set(bounded(4, 1)); err != nil {
				t.Fatal(err)
			}
		},
		"no bound": func(t *testing.T, p *Pool) {
			if err := p.Set(numbered(2)); err != nil {
				t.Fatal(err)
			}
		},
		"a backend that is up again":  func(_ *testing.T, p *Pool) { p.SetUp(member(p, 1), true, "test") },
		"one that is drained no more": func(_ *testing.T, p *Pool) { p.SetDraining(member(p, 0), DrainOff) },
		"a report of a higher bound":  func(t *testing.T, p *Pool) { report(t, p, Report{}) },
		"a conn that ends":            func(_ *testing.T, p *Pool) { member(p, 2).Release() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{}, bounded(3, 1)...)
			p.SetUp(member(p, 1), false, "test")
			p.SetDraining(member(p, 0), DrainSoft)
			hold(member(p, 2), 1)
			switch name {
			case "a higher bound", "no bound", "a further backend":
				p.SetUp(member(p, 1), true, "test")
				p.SetDraining(member(p, 0), DrainOff)
				if err := p.Set(bounded(2, 1)); err != nil {
					t.Fatal(err)
				}
				fill(p)
			case "a report of a higher bound":
				p.SetDraining(member(p, 0), DrainOff)
				hold(member(p, 0), 1)
				if err := p.Set(bounded(3, 2)); err != nil {
					t.Fatal(err)
				}
				hold(member(p, 2), 1)
				report(t, p, Report{MaxConns: 1})
			}
			var owner told
			w := wait(t, p, &Waiter{Owner: &owner})
			room(t, p)
			if got := owner.take(); len(got) != 1 {
				t.Fatalf("told %v", got)
			}
			if b, served := p.Leave(w); b == nil || !served {
				t.Error("no place")
			}
		})
	}
	t.Run("the end of a trial", func(t *testing.T) {
		p := newPool(t, Options{Fall: 1, NoChecks: true, RetryAfter: 1}, numbered(1)...)
		b := member(p, 0)
		p.ConnectFailed(b, "connection refused")
		p.startTrials()
		b.Acquire() // the one that tries it
		var owner told
		w := wait(t, p, &Waiter{Owner: &owner})
		p.ConnectOK(b)
		if got, _ := p.Leave(w); got != b {
			t.Error("no place at a backend that is back")
		}
	})
}

func report(t *testing.T, p *Pool, r Report) {
	t.Helper()
	if err := p.SetReport(member(p, 0), r); err != nil {
		t.Fatal(err)
	}
}

// TestQueueRace: many take and give places at once. No backend has ever more than its bound, everybody who waits is
// served, and in the end all places are free.
func TestQueueRace(t *testing.T) {
	const goroutines, rounds, limit = 8, 3000, 2
	p := newPool(t, Options{}, bounded(2, limit)...)
	fill(p) // and all of them wait before the first place comes free
	var all sync.WaitGroup
	var over atomic.Int64
	for range goroutines {
		all.Go(func() {
			ready := make(chan struct{}, 1)
			for range rounds {
				w := &Waiter{Owner: notifyChan(ready)}
				b, result := p.Wait(w)
				if result == WaitQueued {
					<-ready
					b, _ = p.Leave(w)
				}
				if b == nil {
					t.Error("no place")
					return
				}
				if b.Open() > limit {
					over.Add(1)
				}
				runtime.Gosched() // or one after the other has a place to itself
				b.Release()
			}
		})
	}
	for p.Waiting() < goroutines {
		runtime.Gosched()
	}
	for i := range 2 {
		for range limit {
			member(p, i).Release()
		}
	}
	all.Wait()
	if over.Load() > 0 || p.Waiting() != 0 || member(p, 0).Open()+member(p, 1).Open() != 0 {
		t.Errorf("%d times over the bound, %d wait, %d and %d open", over.Load(), p.Waiting(), member(p, 0).Open(), member(p, 1).Open())
	}
}

type notifyChan chan struct{}

func (c notifyChan) WaitOver(uint64) { c <- struct{}{} }

// TestQueueAllocations: waiting costs no heap object.
func TestQueueAllocations(t *testing.T) {
	p := newPool(t, Options{}, bounded(1, 1)...)
	fill(p)
	var owner counted
	w := &Waiter{}
	if n := testing.AllocsPerRun(100, func() {
		*w = Waiter{Owner: &owner}
		p.Wait(w)
		member(p, 0).Release()
		p.Leave(w)
	}); n != 0 || owner == 0 {
		t.Errorf("%v heap objects, %d told", n, owner)
	}
}

type counted int

func (c *counted) WaitOver(uint64) { *c++ }
