package pool

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"homing/balancer/netaddr"
)

// Pool is the backends that serve one service. Its methods may be called by any goroutine.
type Pool struct {
	// Static after construction.
	name      string
	node      string
	hash      uint32
	log       *slog.Logger
	start     time.Time
	kick      chan struct{} // asks Run to reconcile; never closed
	drainKick chan struct{} // tells Run that a drain has changed; never closed
	shareKick chan struct{} // tells Run that a slow start has begun; never closed
	renamed   chan struct{} // tells Run that names are to be resolved at other times; never closed
	names     *Names        // has owners of its own
	queue     queue         // as names

	// Atomic; read and written by loops.
	snapshot atomic.Pointer[Snapshot] // swapped under mu
	turn     atomic.Uint64            // next turn of round robin, shared by all snapshots
	open     atomic.Int64             // open conns of all backends, removed ones too
	marks    atomic.Uint64            // number of marks down
	running  atomic.Int32             // Run runs

	refused atomic.Pointer[[]string] // see Refused; written under resolving

	// Guarded by resolving, which is taken before mu and held while names are resolved.
	resolving sync.Mutex
	targets   []target
	known     map[string]lookup // last answer by Spec.Addr
	standing  []string          // warnings that were logged and still hold
	static    []wanted          // what the targets came to, last time
	resolved  []string          // the warnings of that time

	discovered []Discovered // sorted by address

	// Guarded by mu.
	mu        sync.Mutex
	parked    []*Backend // removed with conns still open
	listeners []func(*Backend, bool, string)
}

// New makes a pool of the given specs. It resolves names, for at most Options.ResolveTimeout; one that cannot be
// resolved is a warning in the log while another backend stands, and an error when none does. Every error is one line
// that names the value and the remedy. All backends start as up.
func New(name string, specs []Spec, opt Options) (*Pool, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	p := &Pool{
		name:      name,
		node:      opt.Node,
		names:     newNames(),
		hash:      uint32(unreserve(uint32(xxhash.Sum64String(name)))),
		log:       opt.Log,
		start:     time.Now(),
		kick:      make(chan struct{}, 1),
		drainKick: make(chan struct{}, 1),
		shareKick: make(chan struct{}, 1),
		renamed:   make(chan struct{}, 1),
		known:     make(map[string]lookup),
	}
	p.snapshot.Store(&Snapshot{pool: p, opt: &opt, replaced: make(chan struct{})})
	if err := p.Reconfigure(specs, opt); err != nil {
		return nil, err
	}
	return p, nil
}

// Name is the pool's name.
func (p *Pool) Name() string { return p.name }

// Hash is a hash of the pool's name, the same on every node, never 0.
func (p *Pool) Hash() uint32 { return p.hash }

// Names is the server names that the pool's clients use most.
func (p *Pool) Names() *Names { return p.names }

// Refused is the addresses that would be backends if Options.Refuse let them, sorted.
func (p *Pool) Refused() []string {
	if list := p.refused.Load(); list != nil {
		return *list
	}
	return nil
}

// Snapshot is the pool as it is now: one atomic load.
func (p *Pool) Snapshot() *Snapshot { return p.snapshot.Load() }

// Run resolves names again (Options.ResolveEvery), takes the steps of slow starts, puts backends on trial where no
// active checks run, and does for the loops what they must not wait for. It returns when ctx is done.
func (p *Pool) Run(ctx context.Context) {
	p.running.Add(1)
	defer p.running.Add(-1)
	var names sync.WaitGroup // apart, so that a slow resolver delays nothing else
	defer names.Wait()
	names.Go(func() { lookAgain(ctx, p.renamed, func() time.Duration { return p.refresh(ctx) }) })
	names.Go(func() { lookAgain(ctx, p.drainKick, func() time.Duration { return p.endDrains(time.Now()) }) })
	names.Go(func() { lookAgain(ctx, p.shareKick, p.raise) })
	p.attend(ctx)
}

// attend does for the loops what they must not wait for, and the trials.
func (p *Pool) attend(ctx context.Context) {
	var opt *Options // that the ticker was made for
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		if now := p.Snapshot().opt; now != opt {
			opt = now
			ticker.Reset(max(opt.RetryAfter/10, time.Millisecond))
		}
		trials := ticker.C
		if !opt.NoChecks {
			trials = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-p.kick: // also after a Reconfigure
			p.mu.Lock()
			p.reconcile()
			p.mu.Unlock()
		case <-trials:
			p.startTrials()
		}
	}
}

// applyStatic applies what the targets came to, with the backends that announced themselves. p.resolving is held.
func (p *Pool) applyStatic(static []wanted, warnings []string) {
	p.static, p.resolved = static, warnings
	want, more := p.withDiscovered(static)
	p.warn(slices.Concat(warnings, more))
	p.apply(want)
}

// warn logs the warnings that did not stand before. p.resolving is held.
func (p *Pool) warn(warnings []string) {
	for _, w := range warnings {
		if !slices.Contains(p.standing, w) {
			p.log.Warn(w, slog.String("pool", p.name))
		}
	}
	p.standing = warnings
}

// apply makes the wanted backends, sorted by address, the pool's. Backends that go away with open conns are parked, so
// that they keep their identity when they return, as addresses of names do.
func (p *Pool) apply(want []wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	idle := func(b *Backend) bool { return b.gone.Load() && b.open.Load() == 0 && !p.keepsDrain(b, now) }
	known := slices.DeleteFunc(slices.Concat(p.Snapshot().all, p.parked), idle)
	before := make(map[netaddr.Addr]*Backend, len(known))
	compare := func(w wanted, addr netaddr.Addr) int { return w.addr.Compare(addr) }
	for _, b := range known {
		before[b.Addr] = b
		_, stays := slices.BinarySearchFunc(want, b.Addr, compare)
		b.gone.Store(!stays)
	}
	all := make([]*Backend, len(want))
	for i, w := range want {
		b := before[w.addr]
		if b == nil {
			b = &Backend{ID: p.id(w.addr), Addr: w.addr, Name: w.name, pool: p, doubts: make(chan struct{}, 1)}
			b.perm = xxhash.Sum64String("maglev\x00" + p.name + "\x00" + w.addr.String())
			b.share.Store(wholeShare)
			if w.unchecked && p.Snapshot().opt.CheckFirst {
				p.awaitCheck(b)
			}
		}
		if p.Snapshot().ByID(b.ID) != b {
			p.joins(b, now)
		}
		p.drainReturns(b)
		b.specWeight = w.weight
		b.specMaxConns = w.maxConns
		b.updateBounds()
		all[i] = b
	}
	p.parked = slices.DeleteFunc(known, func(b *Backend) bool { return !b.gone.Load() || idle(b) })
	p.publish(all, p.Snapshot().opt)
	p.reconcile()
}

// publish swaps the snapshot for one of the given backends and options, unless it would be the same. Tables are built
// only when the live backends or their weights differ. p.mu is held.
func (p *Pool) publish(all []*Backend, opt *Options) {
	old := p.Snapshot()
	next := &Snapshot{pool: p, opt: opt, all: all, replaced: make(chan struct{})}
	next.rest = append(next.rest, p.parked...)
	for _, b := range all {
		if !b.live() {
			next.rest = append(next.rest, b)
			continue
		}
		next.live = append(next.live, b)
		next.weights = append(next.weights, b.Weight())
		next.fresh = append(next.fresh, int(b.freshWeight()))
		next.liveWeight += b.weight.Load()
	}
	sameLive := slices.Equal(old.live, next.live) && slices.Equal(old.weights, next.weights)
	sameFresh := sameLive && slices.Equal(old.fresh, next.fresh)
	sameAll := slices.Equal(old.all, next.all)
	if sameFresh && sameAll && slices.Equal(old.rest, next.rest) && old.opt == opt {
		return
	}
	next.seq, next.table, next.byID = old.seq, old.table, old.byID
	if !sameFresh {
		next.seq = sequence(next.fresh)
	}
	if !sameLive {
		next.table = buildMaglev(next.live)
	}
	if !sameAll {
		next.byID = make(map[ID]*Backend, len(all))
		for _, b := range all {
			next.byID[b.ID] = b
		}
	}
	next.whole = next.withoutSlow(old.whole)
	p.snapshot.Store(next)
	close(old.replaced)
}

// clock is the time since the pool was made, in nanoseconds; it never goes back.
func (p *Pool) clock() int64 { return int64(time.Since(p.start)) }
