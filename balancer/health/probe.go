package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// Prober probes the backends of a pool.
type Prober struct {
	// Static after construction.
	cfg       ProbeConfig
	pool      *pool.Pool
	known     *affinity.Pool
	slots     chan struct{} // one token for each handshake under way
	handshake handshaker    // tests have their own

	// Atomic; written under mu, read by loops. By the backends' IDs; never changed, but replaced.
	targets atomic.Pointer[map[uint32]*target]

	mu sync.Mutex
}

// NewProber makes a Prober. An error says in one line what is wrong with the config.
func NewProber(of *pool.Pool, cfg ProbeConfig) (*Prober, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Prober{
		cfg: cfg, pool: of, known: cfg.Store.Pool(of.Hash()), slots: make(chan struct{}, cfg.Concurrent), handshake: handshake,
	}
	p.targets.Store(&map[uint32]*target{})
	of.OnChange(func(b *pool.Backend, up bool, _ string) {
		if up { // after a restart every key is new
			p.Suspect(uint32(b.ID), true)
		}
	})
	return p, nil
}

// Run probes each backend at once and then at the interval, until ctx is done. When it returns, all it started has
// ended.
func (p *Prober) Run(ctx context.Context) {
	defer p.known.Watch()()
	follow(ctx, p.pool, func(ctx context.Context, b *pool.Backend) {
		t, id := newTarget(p, b), uint32(b.ID)
		p.edit(func(all map[uint32]*target) { all[id] = t })
		t.watch(ctx)
		p.edit(func(all map[uint32]*target) {
			if all[id] == t { // else it has come back meanwhile
				delete(all, id)
			}
		})
	})
}

// list is the targets in the order of their addresses.
func (p *Prober) list() []*target {
	return slices.SortedFunc(maps.Values(*p.targets.Load()),
		func(a, b *target) int { return a.backend.Addr.Compare(b.backend.Addr) })
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

// edit replaces the targets by others.
func (p *Prober) edit(change func(map[uint32]*target)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := maps.Clone(*p.targets.Load())
	change(next)
	p.targets.Store(&next)
}

// Suspect asks for a probe of a backend that may hold an unknown ticket key; id 0 stands for any. It is made for affinity's
// Config.Suspect: it never blocks and allocates nothing, and may be called for every refusal. How soon the probe comes is
// the target's to say, unless atOnce.
func (p *Prober) Suspect(id uint32, atOnce bool) {
	targets := *p.targets.Load()
	if t := targets[id]; t != nil {
		t.ask(atOnce)
	} else if id == 0 {
		for _, t := range targets {
			t.ask(atOnce)
		}
	}
}
