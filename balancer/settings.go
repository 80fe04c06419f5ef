//go:build linux

package balancer

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/balancer/rules"
)

// settings is one generation of the configuration: what a reload replaces as a whole. It is never changed once it is
// made, and shared by all loops. A conn keeps the settings under which its hello was read for as long as it is open.
type settings struct {
	cfg    Config       // with its defaults filled in
	models []gate       // by listener, what the gates of all loops have in common
	pools  []*pool.Pool // each once
}

// newSettings checks the configuration, and changes nothing.
func newSettings(cfg Config) (*settings, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	set := &settings{cfg: cfg}
	set.cfg.Listeners = make([]Listener, len(cfg.Listeners)) // names are filled in
	options := netio.Options{KeepAlive: cfg.KeepAlive, UserTimeout: cfg.UserTimeout}
	for i, ln := range cfg.Listeners {
		g := gate{cfg: &set.cfg, options: options}
		var err error
		if g.match, err = ln.check(&set.pools); err != nil {
			return nil, err
		}
		if g.allowed, err = newPrefixSet(ln.Allow); err == nil {
			g.denied, err = newPrefixSet(ln.Deny)
		}
		if err != nil {
			return nil, fmt.Errorf("balancer: listener %s: %w", ln.Name, err)
		}
		g.Listener, set.cfg.Listeners[i] = ln, ln
		set.models = append(set.models, g)
	}
	if err := set.checkNames(); err != nil {
		return nil, err
	}
	set.sayShares()
	return set, nil
}

// gate is what one loop does with the connections of one listener, in one generation. Only its counters and next
// change.
type gate struct {
	Listener
	cfg      *Config
	options  netio.Options
	match    *matcher
	allowed  prefixSet
	denied   prefixSet
	lanes    []lane // by index of settings.pools
	fallback *lane  // of the default pool; nil: none
	entry    lane   // of the conns that are in no pool yet
	count    *ListenerCounts
	counts   []*ListenerCounts // of all loops

	// Owned by the loop's thread.
	next *gate // of the same listener in the next generation; nil: none
}

// lane is a gate's way into one pool: all that a conn needs to know of where it came from and where it goes. The entry
// lane has no pool.
type lane struct {
	gate  *gate
	cfg   *Config
	pool  *pool.Pool
	known *affinity.Pool // what is known of the pool's sessions
	share *share
}

// share is one loop's part of a pool. It outlives all generations.
type share struct {
	count PoolCounts

	// Owned by the loop's thread.
	budget float64       // second chances that may be used now
	claims *rules.Claims // of offers to backends that are being drained; nil until one was
}

// gates makes the gates of one loop, by listener. The loop's counters are made for the first generation that has their
// name, and stay, so that sums never go back. Balancer.mu is held, or nobody else knows the Balancer.
func (set *settings) gates(listeners map[string]*ListenerCounts, shares map[string]*share) []*gate {
	of := make([]*share, len(set.pools))
	for i, p := range set.pools {
		if of[i] = shares[p.Name()]; of[i] == nil {
			of[i] = &share{budget: budgetBurst}
			shares[p.Name()] = of[i]
		}
	}
	all := slices.Clone(set.models)
	gates := make([]*gate, len(all))
	for i := range all {
		g := &all[i]
		gates[i], g.lanes, g.count = g, make([]lane, len(set.pools)), entry(listeners, g.Name)
		g.entry = lane{gate: g, cfg: &set.cfg}
		for j, p := range set.pools {
			g.lanes[j] = lane{gate: g, cfg: &set.cfg, pool: p, known: set.cfg.Store.Pool(p.Hash()), share: of[j]}
			if p == g.Default {
				g.fallback = &g.lanes[j]
			}
		}
	}
	return gates
}

// full says whether the listener has as many conns as it may.
func (g *gate) full() bool {
	if g.MaxConns == 0 {
		return false
	}
	open := 0
	for _, c := range g.counts {
		open += int(atomic.LoadUint64(&c.Open))
	}
	return open >= g.MaxConns
}

// latest is what stands in for g today: of a listener that was removed, the last there was.
func (g *gate) latest() *gate {
	for g.next != nil {
		g = g.next
	}
	return g
}

// route is the lane of the most specific route for a server name and protocols; nil if there is none and no default.
func (g *gate) route(name, alpn []byte) *lane {
	if i := g.match.match(name, alpn); i != noMatch {
		return &g.lanes[i]
	}
	return g.fallback
}

// hasPool says whether a pool of that name takes conns.
func (set *settings) hasPool(name string) bool {
	return slices.ContainsFunc(set.pools, func(p *pool.Pool) bool { return p.Name() == name })
}

// sayShares warns of pools that have one share of affinity's tables together: either may push the other's sessions out
// of it.
func (set *settings) sayShares() {
	names := make(map[int]string)
	for _, p := range set.pools {
		share := affinity.Share(p.Hash())
		if other := names[share]; other != "" {
			set.cfg.Log.Warn("two pools have one share of the tables of sessions: rename one to give each its own",
				slog.String("pool", p.Name()), slog.String("other", other))
		}
		names[share] = p.Name()
	}
}

// checkNames refuses names that would stand for two things in logs and metrics.
func (set *settings) checkNames() error {
	listeners, pools, hashes := map[string]bool{}, map[string]bool{}, map[uint32]string{}
	for _, ln := range set.cfg.Listeners {
		if listeners[ln.Name] {
			return fmt.Errorf("balancer: two listeners are named %s: give each a name or an address of its own", ln.Name)
		}
		listeners[ln.Name] = true
	}
	for _, p := range set.pools {
		if pools[p.Name()] {
			return fmt.Errorf("balancer: two pools are named %s: what is learned is kept by name", p.Name())
		}
		pools[p.Name()] = true
		if other, taken := hashes[p.Hash()]; taken {
			return fmt.Errorf("balancer: the pools %s and %s have the same hash: rename one", other, p.Name())
		}
		hashes[p.Hash()] = p.Name()
	}
	return nil
}
