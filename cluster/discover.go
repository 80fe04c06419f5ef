package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"homing/balancer/pool"
)

// DiscoverPool is a pool that takes backends that announce themselves (pool.Options.Discover).
type DiscoverPool struct {
	*pool.Pool

	// From bounds the addresses of backends. Empty: an agent may announce its own address only, the one that it
	// gossips from.
	From []netip.Prefix
}

// DiscoverConfig says which announcements a node accepts.
type DiscoverConfig struct {
	// Pools are those that take any, in the beginning: see SetPools.
	Pools []DiscoverPool

	// Log gets a line per announcement that is taken, given up or refused. Default: none.
	Log *slog.Logger
}

// Directory is where announcements come from: a Membership.
type Directory interface {
	Members() []Member
	Forget(id string)
}

// Discovery keeps pools in step with what agents announce.
type Discovery struct {
	// Static after construction.
	cfg  DiscoverConfig
	from Directory
	wake chan struct{} // never closed

	// Owned by Prime, then by Run.
	judged map[string]string // what the log knows of each agent, by ID
	begun  bool              // pools have been filled

	// Atomic; written by Run.
	accepted, refused atomic.Int64

	// Atomic; written by SetPools.
	pools atomic.Pointer[[]DiscoverPool]

	mu      sync.Mutex
	watched map[*pool.Pool]bool // guarded by mu: their changes wake Run
}

// NewDiscovery makes a Discovery; Run makes it work.
func NewDiscovery(from Directory, cfg DiscoverConfig) *Discovery {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Discovery{
		cfg: cfg, from: from, wake: make(chan struct{}, 1), judged: make(map[string]string), watched: make(map[*pool.Pool]bool),
	}
	d.SetPools(cfg.Pools)
	return d
}

// SetPools replaces the pools that take backends that announce themselves. Those that were announced to a pool that is no
// longer among them are the pool's owner's to take out. It may be called by any goroutine.
func (d *Discovery) SetPools(pools []DiscoverPool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range pools {
		if !d.watched[p.Pool] {
			d.watched[p.Pool] = true
			// The backend of an agent that vanished goes when it is marked down.
			p.OnChange(func(*pool.Backend, bool, string) { d.Wake() })
		}
	}
	maps.DeleteFunc(d.watched, func(p *pool.Pool, _ bool) bool { // so that it can be collected; it does not change any more
		return !slices.ContainsFunc(pools, func(one DiscoverPool) bool { return one.Pool == p })
	})
	d.pools.Store(&pools)
	d.Wake()
}

// Wake has the announcements looked at again. It never blocks.
func (d *Discovery) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Stats counts the agents whose announcements stand, and those whose announcements are refused.
func (d *Discovery) Stats() (accepted, refused int) {
	return int(d.accepted.Load()), int(d.refused.Load())
}

// Prime fills the pools for the first time, with the backends of agents too that an older process of the node knew and
// this one has not met yet (Membership.Inherit): they are up until checks say otherwise. Call it before Run, if at all.
func (d *Discovery) Prime() { d.apply() }

// Run applies announcements until ctx is done. The backends stay in the pools then.
func (d *Discovery) Run(ctx context.Context) {
	for {
		d.apply()
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
	}
}

// place is one backend in one pool.
type place struct {
	pool    string
	backend netip.AddrPort
}

// apply brings every pool in step with the members of now.
func (d *Discovery) apply() {
	pools := *d.pools.Load()
	if len(pools) == 0 {
		d.accepted.Store(0)
		d.refused.Store(0)
		return // announcements are for other nodes
	}
	members := d.from.Members()
	judged := make(map[string]string)
	standing := make(map[place]*Member)
	var accepted, refused int64
	for i := range members {
		one := &members[i]
		if one.Meta.Role != RoleAgent {
			continue
		}
		if err := judge(pools, one); err != nil {
			refused++
			judged[one.ID] = err.Error()
			if d.judged[one.ID] != err.Error() {
				d.cfg.Log.Warn("cluster: an announcement is refused", about(one), slog.Any("error", err))
			}
			continue
		}
		if one.Alive {
			accepted++
		}
		where := place{one.Meta.Announced.Pool, one.Meta.Announced.Backend}
		if standing[where] == nil || supersedes(one, standing[where]) {
			standing[where] = one
		}
	}
	d.judged = judged
	d.accepted.Store(accepted)
	d.refused.Store(refused)
	for _, p := range pools {
		d.fill(p.Pool, members, standing)
	}
	d.begun = true
}

// judge says why an announcement is not accepted.
func judge(pools []DiscoverPool, one *Member) error {
	a := &one.Meta.Announced
	i := slices.IndexFunc(pools, func(p DiscoverPool) bool { return p.Name() == a.Pool })
	if i < 0 {
		return fmt.Errorf("no pool %q takes backends that announce themselves here", a.Pool)
	}
	addr, from := a.Backend.Addr(), pools[i].From
	if len(from) == 0 {
		if addr != one.Addr.Addr() {
			return fmt.Errorf("%s is not the agent's own address %s: name the addresses of backends with --discover-from", addr, one.Addr.Addr())
		}
		return nil
	}
	if !slices.ContainsFunc(from, func(prefix netip.Prefix) bool { return prefix.Contains(addr) }) {
		return fmt.Errorf("%s is in no network of --discover-from", addr)
	}
	return nil
}

// supersedes says whose word counts where two agents announce one backend, the same on every node: that of one which is
// there, then of the one which started last.
func supersedes(a, b *Member) bool {
	if a.Alive != b.Alive {
		return a.Alive
	}
	return cmp.Or(cmp.Compare(a.Meta.Announced.Started, b.Meta.Announced.Started), cmp.Compare(a.ID, b.ID)) > 0
}

// fill gives one pool its announced backends, and forgets the agents that vanished and whose backends are down.
func (d *Discovery) fill(p *pool.Pool, members []Member, standing map[place]*Member) {
	var backends []pool.Discovered
	snapshot := p.Snapshot()
	for where, one := range standing {
		if where.pool != p.Name() {
			continue
		}
		if !one.Alive && d.begun && !upIn(snapshot, where.backend) {
			d.cfg.Log.Info("cluster: a backend is given up: its agent vanished, and it is down", about(one))
			for i := range members {
				if other := &members[i]; !other.Alive && other.Meta.Announced.Backend == where.backend && other.Meta.Announced.Pool == where.pool {
					d.from.Forget(other.ID)
				}
			}
			continue
		}
		found := pool.Discovered{Addr: where.backend, Weight: int(one.Meta.Announced.Weight)}
		switch one.Meta.State {
		case StateServing:
		case StateDraining:
			found.Drain = pool.DrainSoft
		case StateDown, StateLeaving:
			continue
		}
		backends = append(backends, found)
	}
	if err := p.SetDiscovered(backends); err != nil {
		d.cfg.Log.Warn("cluster: announcements cannot be applied", slog.Any("error", err))
		return
	}
	d.log(p, snapshot, backends)
}

// upIn says that the pool has the backend, and takes it for up.
func upIn(s *pool.Snapshot, addr netip.AddrPort) bool {
	return slices.ContainsFunc(s.All(), func(b *pool.Backend) bool { return b.Addr.IP() == addr && b.Up() })
}

// log tells of backends that were not in a pool before.
func (d *Discovery) log(p *pool.Pool, before *pool.Snapshot, backends []pool.Discovered) {
	for _, b := range backends {
		if !slices.ContainsFunc(before.All(), func(old *pool.Backend) bool { return old.Addr.IP() == b.Addr }) {
			d.cfg.Log.Info("backend discovered", slog.String("pool", p.Name()), slog.String("backend", b.Addr.String()), slog.Int("weight", b.Weight))
		}
	}
}
