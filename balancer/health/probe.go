package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// ProbeConfig of a Prober. The zero value of each field means its default.
type ProbeConfig struct {
	// Store is taught the ticket keys; required. Its Config.Suspect should be the Prober's Suspect.
	Store *affinity.Store

	// Interval is the time between two probes of a backend, give or take jitter; it is probed sooner when it comes back
	// up or is suspected. At least MinInterval. Default DefaultProbeInterval.
	Interval time.Duration

	// Timeout bounds one handshake, from the connect on. Default DefaultProbeTimeout.
	Timeout time.Duration

	// Names are server names to probe with, beside none at all and those of the traffic.
	Names []string

	// FromTraffic is how many of the names that the pool's clients use most are probed. Default DefaultFromTraffic;
	// NoneFromTraffic: none.
	FromTraffic int

	// Concurrent bounds the handshakes that are under way at once, but for those with backends that do not answer:
	// these must not hold up the others. Default DefaultConcurrent.
	Concurrent int

	// KeyAge is the age from which on a ticket key is worth a warning. Default DefaultKeyAge.
	KeyAge time.Duration

	// Log gets one line for each finding that is new or gone. Default: none.
	Log *slog.Logger
}

// What the fields of ProbeConfig are where they are zero.
const (
	DefaultProbeInterval = time.Minute
	DefaultProbeTimeout  = 5 * time.Second
	DefaultFromTraffic   = 8 // cover what most sites serve on one address
	DefaultConcurrent    = 4
	DefaultKeyAge        = 24 * time.Hour

	// NoneFromTraffic is the FromTraffic of a probe that takes no names from the traffic.
	NoneFromTraffic = -1
)

// validate is the only place that rejects a config or fills in defaults.
func (c *ProbeConfig) validate() error {
	c.Interval = cmp.Or(c.Interval, DefaultProbeInterval)
	c.Timeout = cmp.Or(c.Timeout, DefaultProbeTimeout)
	c.FromTraffic = cmp.Or(c.FromTraffic, DefaultFromTraffic)
	c.Concurrent = cmp.Or(c.Concurrent, DefaultConcurrent)
	c.KeyAge = cmp.Or(c.KeyAge, DefaultKeyAge)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	switch {
	case c.Store == nil:
		return errors.New("health: the probe has no affinity store to teach")
	case c.Interval < MinInterval:
		return fmt.Errorf("health: the probe interval %v is below %v", c.Interval, MinInterval)
	case c.Timeout < 0 || c.KeyAge < 0:
		return fmt.Errorf("health: the probe timeout %v and key age %v must not be negative", c.Timeout, c.KeyAge)
	case c.Concurrent < 0:
		return fmt.Errorf("health: %d probes at once: must be at least 1", c.Concurrent)
	}
	return nil
}

// Prober probes the backends of some pools.
type Prober struct {
	// Static after construction.
	cfg       ProbeConfig
	pools     []*pool.Pool
	slots     chan struct{} // one token for each handshake under way
	handshake handshaker    // tests have their own

	// Atomic; written under mu, read by loops.
	targets atomic.Pointer[targetIndex]

	mu sync.Mutex
}

// targetIndex is the backends that are probed. It is never changed, but replaced.
type targetIndex struct {
	byID   map[uint64]*target   // by poolID
	byPool map[uint32][]*target // by the pool's hash
}

func poolID(pool, id uint32) uint64 { return uint64(pool)<<32 | uint64(id) }

// NewProber makes a Prober. An error says in one line what is wrong with the config.
func NewProber(pools []*pool.Pool, cfg ProbeConfig) (*Prober, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Prober{cfg: cfg, pools: pools, slots: make(chan struct{}, cfg.Concurrent), handshake: handshake}
	p.targets.Store(&targetIndex{})
	for _, pl := range pools {
		pl.OnChange(func(b *pool.Backend, up bool, _ string) {
			if up { // after a restart every key is new
				p.Suspect(pl.Hash(), uint32(b.ID), true)
			}
		})
	}
	return p, nil
}

// Run probes each backend at once and then at the interval, until ctx is done. When it returns, all it started has
// ended.
func (p *Prober) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, pl := range p.pools {
		defer p.cfg.Store.Pool(pl.Hash()).Watch()()
		all.Go(func() {
			follow(ctx, pl, func(ctx context.Context, b *pool.Backend) {
				t := newTarget(p, pl, b)
				p.edit(func(list []*target) []*target { return append(list, t) }, t)
				t.watch(ctx)
				p.edit(func(list []*target) []*target {
					return slices.DeleteFunc(list, func(other *target) bool { return other == t })
				}, t)
			})
		})
	}
	all.Wait()
}

// slotPatience is for how long a handshake keeps its slot: several times what one takes. What goes on for longer waits
// for its backend, and costs nobody anything but a socket.
const slotPatience = 100 * time.Millisecond

// takeSlot waits for a slot, which comes free when the function that it returns is called, or after slotPatience. When
// ctx ends first there is none.
func (p *Prober) takeSlot(ctx context.Context) (free func()) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	timer := time.AfterFunc(slotPatience, func() { <-p.slots })
	return func() {
		if timer.Stop() {
			<-p.slots
		}
	}
}

// edit replaces the index by one in which the pool of t has other targets.
func (p *Prober) edit(change func([]*target) []*target, t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.targets.Load()
	next := &targetIndex{byID: make(map[uint64]*target), byPool: make(map[uint32][]*target)}
	for hash, list := range old.byPool {
		next.byPool[hash] = slices.Clone(list)
	}
	hash := t.pool.Hash()
	next.byPool[hash] = change(next.byPool[hash])
	for hash, list := range next.byPool {
		for _, t := range list {
			next.byID[poolID(hash, uint32(t.backend.ID))] = t
		}
	}
	p.targets.Store(next)
}

// Suspect asks for a probe of a backend that may hold an unknown ticket key; id 0 stands for any of the pool. It is
// made to be affinity's Config.Suspect: it never blocks and allocates nothing, and may be called for every refusal. How
// soon the probe comes is the target's to say, unless atOnce.
func (p *Prober) Suspect(pool, id uint32, atOnce bool) {
	targets := p.targets.Load()
	if id == 0 {
		for _, t := range targets.byPool[pool] {
			t.ask(atOnce)
		}
	} else if t := targets.byID[poolID(pool, id)]; t != nil {
		t.ask(atOnce)
	}
}
