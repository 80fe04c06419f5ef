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
	"time"

	"homing/balancer/pool"
	"homing/cluster/bound"
)

// DiscoverPool is a pool that takes backends that announce themselves (pool.Options.Discover).
type DiscoverPool struct {
	*pool.Pool

	// From bounds the addresses of backends. Empty: an agent may announce its own address only, the one that it gossips
	// from.
	From []netip.Prefix

	// Weight is what the backends that are announced from one address may weigh together, each of them at least 1; so
	// it bounds their number too. It does not bind on loopback, where all is this machine's. Default
	// DefaultDiscoverWeight.
	Weight int
}

const (
	// DefaultDiscoverWeight bounds what one address announces: it is the largest ratio that servers of one site
	// commonly have, and leaves three others of weight 1 a quarter of the fresh handshakes.
	DefaultDiscoverWeight = 10

	// maxPerNetwork bounds the backends that are announced from one network (/24, or /64 of IPv6), and to one pool: who
	// has a network has all its addresses.
	maxPerNetwork = 256

	// applyRest is the pause after announcements were applied: a backend that comes and goes costs the others little.
	applyRest = 10 * time.Millisecond
)

// DiscoverConfig says which announcements a node accepts.
type DiscoverConfig struct {
	// Pools are those that take any, in the beginning: see SetPools.
	Pools []DiscoverPool

	// Filled is called when backends have come to a pool, or have gone. It may be nil.
	Filled func()

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
	wake bound.Wake

	// Owned by Prime, then by Run.
	judged map[string]string // what the log knows of each agent, by ID
	begun  bool              // pools have been filled

	quiet *bound.Quiet

	// Atomic.
	verdicts atomic.Pointer[verdicts]       // written by Run
	pools    atomic.Pointer[[]DiscoverPool] // written by SetPools

	mu      sync.Mutex
	watched map[*pool.Pool]bool // guarded by mu: their changes wake Run
}

// NewDiscovery makes a Discovery; Run makes it work.
func NewDiscovery(from Directory, cfg DiscoverConfig) *Discovery {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	d := &Discovery{
		cfg: cfg, from: from, wake: make(bound.Wake, 1), judged: make(map[string]string),
		quiet: bound.NewQuiet(cfg.Log), watched: make(map[*pool.Pool]bool),
	}
	d.verdicts.Store(new(verdicts))
	d.SetPools(cfg.Pools)
	return d
}

// SetPools replaces the pools that take backends that announce themselves. Those that were announced to a pool that is
// no longer among them are the pool's owner's to take out. It may be called by any goroutine.
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
	// So that they can be collected; they do not change any more.
	maps.DeleteFunc(d.watched, func(p *pool.Pool, _ bool) bool {
		return !slices.ContainsFunc(pools, func(one DiscoverPool) bool { return one.Pool == p })
	})
	d.pools.Store(&pools)
	d.quiet.Forget() // all is judged anew
	d.Wake()
}

// Wake has the announcements looked at again. It never blocks.
func (d *Discovery) Wake() { d.wake.Up() }

// Stats counts the agents whose announcements stand, and those whose announcements are refused.
func (d *Discovery) Stats() (accepted, refused int) {
	v := d.verdicts.Load()
	return v.accepted, v.refused
}

// Refusal says why the announcement of an agent is not taken here, by its ID; "" where it is, or there is none.
func (d *Discovery) Refusal(id string) string { return d.verdicts.Load().why[id] }

// Prime fills the pools for the first time, with the backends of agents too that an older process of the node knew and
// this one has not met yet (Membership.Import): they are up until checks say otherwise. Call it before Run, if at all.
func (d *Discovery) Prime() { d.apply() }

// Run applies announcements until ctx is done. The backends stay in the pools then.
func (d *Discovery) Run(ctx context.Context) {
	lines := time.NewTicker(bound.LogEvery)
	defer lines.Stop()
	for {
		d.apply()
		if !bound.Pause(ctx, applyRest) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-lines.C:
			d.quiet.Sweep()
		case <-d.wake:
		}
	}
}

// announcedTo is one backend in one pool.
type announcedTo struct {
	pool    string
	backend netip.AddrPort
}

// apply brings every pool in step with the members of now.
func (d *Discovery) apply() {
	pools, members := *d.pools.Load(), d.from.Members()
	v := &verdicts{why: make(map[string]string)}
	defer d.verdicts.Store(v)
	standing := make(map[announcedTo]*Member)
	for i := range members {
		one := &members[i]
		if one.Meta.Role != RoleAgent {
			continue
		}
		if len(pools) == 0 { // as it was configured, and not logged
			v.why[one.ID] = "no pool of this node takes backends that announce themselves (discover_from: none)"
			continue
		}
		if err := judge(pools, one); err != nil {
			d.refuse(v, one, err)
			continue
		}
		v.accept(one, 1)
		where := announcedTo{one.Meta.Announced.Pool, one.Meta.Announced.Backend}
		if standing[where] == nil || supersedes(one, standing[where]) {
			standing[where] = one
		}
	}
	for i := range pools {
		d.fill(&pools[i], members, standing, v)
	}
	if len(pools) > 0 {
		d.judged, d.begun = v.why, true
	}
}

// verdicts is what becomes of the announcements of one moment.
type verdicts struct {
	accepted, refused int
	why               map[string]string // those that are refused, by the agents' IDs
}

// accept counts the announcement of one that is there, or takes it back.
func (v *verdicts) accept(one *Member, n int) {
	if one.Alive {
		v.accepted += n
	}
}

// refuse notes that an announcement is not accepted, and says so once.
func (d *Discovery) refuse(v *verdicts, one *Member, err error) {
	v.refused++
	v.why[one.ID] = err.Error()
	if d.judged[one.ID] != err.Error() {
		d.quiet.Say(slog.LevelWarn, "refused "+whose(one.Addr), "cluster: an announcement is refused", about(one),
			slog.Any("error", err))
	}
}

// judge says why an announcement is not accepted.
func judge(pools []DiscoverPool, one *Member) error {
	a := &one.Meta.Announced
	i := slices.IndexFunc(pools, func(p DiscoverPool) bool { return p.Name() == a.Pool })
	if i < 0 {
		return fmt.Errorf("no pool %q takes backends that announce themselves here: "+
			"give the agent another --pool, or let that one", a.Pool)
	}
	addr, from := a.Backend.Addr(), pools[i].From
	if len(from) == 0 {
		if addr != one.Addr.Addr() {
			return fmt.Errorf("%s is not the agent's own address %s: name the addresses of backends with "+
				"--discover-from", addr, one.Addr.Addr())
		}
		return nil
	}
	if !slices.ContainsFunc(from, func(prefix netip.Prefix) bool { return prefix.Contains(addr) }) {
		return fmt.Errorf("%s is in no network of --discover-from", addr)
	}
	return nil
}

// supersedes says whose word counts where two agents announce one backend: before all others that of an agent at the
// backend's own address, alive or not; then that of one which is there; of those at one address that of the one which
// started last; else that of the one which was there first.
func supersedes(a, b *Member) bool {
	x, y := &a.Meta.Announced, &b.Meta.Announced
	own := func(m *Member) bool { return m.Addr.Addr() == m.Meta.Announced.Backend.Addr() }
	switch {
	case own(a) != own(b):
		return own(a)
	case a.Alive != b.Alive:
		return a.Alive
	case a.Addr.Addr() == b.Addr.Addr():
		return cmp.Or(cmp.Compare(x.Started, y.Started), cmp.Compare(a.ID, b.ID)) > 0
	}
	return before(a, b) < 0
}

// before orders members by when they came, and else in a way that is the same on every node.
func before(a, b *Member) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) }

// fill gives one pool its announced backends, and forgets the agents that vanished and whose backends are down.
func (d *Discovery) fill(p *DiscoverPool, members []Member, standing map[announcedTo]*Member, v *verdicts) {
	var agents []*Member
	snapshot := p.Snapshot()
	for where, one := range standing {
		if where.pool != p.Name() {
			continue
		}
		if !one.Alive && d.begun && !upIn(snapshot, where.backend) {
			d.quiet.Say(slog.LevelInfo, "given up "+whose(one.Addr),
				"cluster: a backend is given up: its agent vanished, and it is down", about(one))
			for i := range members {
				if other := &members[i]; !other.Alive && other.Meta.Announced.Backend == where.backend &&
					other.Meta.Announced.Pool == where.pool {
					d.from.Forget(other.ID)
				}
			}
			continue
		}
		if state := one.Meta.State; state == StateServing || state == StateDraining {
			agents = append(agents, one)
		}
	}
	backends := d.allot(p, agents, v)
	if err := p.SetDiscovered(backends); err != nil {
		d.quiet.Say(slog.LevelWarn, "apply "+p.Name(), "cluster: announcements cannot be applied",
			slog.Any("error", err))
		return
	}
	d.log(p.Pool, snapshot, backends)
	if d.cfg.Filled != nil && p.Snapshot() != snapshot {
		d.cfg.Filled()
	}
}

// allot gives each announcement its share of what its address and its network may have in the pool. Who came first
// stays.
func (d *Discovery) allot(p *DiscoverPool, agents []*Member, v *verdicts) []pool.Discovered {
	most := cmp.Or(p.Weight, DefaultDiscoverWeight)
	slices.SortFunc(agents, before)
	networks, counts, weights := make(map[netip.Prefix]int), make(map[netip.Addr]int), make(map[netip.Addr]int)
	bound := func(one *Member) bool { return !one.Addr.Addr().IsLoopback() }
	agents = slices.DeleteFunc(agents, func(one *Member) bool {
		from, network := one.Addr.Addr(), networkOf(one.Addr.Addr())
		switch {
		case !bound(one):
		case counts[from] >= most:
			v.accept(one, -1)
			d.refuse(v, one, fmt.Errorf("%s announces %d backends already: raise --discover-weight if it may have more",
				from, most))
			return true
		case networks[network] >= maxPerNetwork:
			v.accept(one, -1)
			d.refuse(v, one, fmt.Errorf("%s announces %d backends already, more are not taken from one network",
				network, maxPerNetwork))
			return true
		}
		counts[from]++
		networks[network]++
		weights[from] += int(one.Meta.Announced.Weight)
		return false
	})
	var backends []pool.Discovered
	for _, one := range agents {
		found := pool.Discovered{
			Addr: one.Meta.Announced.Backend, Weight: int(one.Meta.Announced.Weight),
			Known: !d.begun && !one.Alive,
		}
		if sum := weights[one.Addr.Addr()]; bound(one) && sum > most {
			found.Weight = max(1, found.Weight*most/sum)
			d.quiet.Say(slog.LevelWarn, "weight "+whose(one.Addr),
				"cluster: an announced weight is cut down: raise --discover-weight if it is right",
				about(one), slog.Int("asked", int(one.Meta.Announced.Weight)), slog.Int("weight", found.Weight))
		}
		if one.Meta.State == StateDraining {
			found.Drain = pool.DrainSoft
		}
		backends = append(backends, found)
	}
	return backends
}

// networkOf is the network that an address is of, as far as one owner commonly has it all.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	prefix, _ := addr.Prefix(bits) // it fails for bits that an address does not have
	return prefix
}

// upIn says that the pool has the backend, and takes it for up.
func upIn(s *pool.Snapshot, addr netip.AddrPort) bool {
	return slices.ContainsFunc(s.All(), func(b *pool.Backend) bool { return b.Addr.IP() == addr && b.Up() })
}

// log tells of backends that were not in a pool before.
func (d *Discovery) log(p *pool.Pool, before *pool.Snapshot, backends []pool.Discovered) {
	for _, b := range backends {
		if !slices.ContainsFunc(before.All(), func(old *pool.Backend) bool { return old.Addr.IP() == b.Addr }) {
			d.quiet.Say(slog.LevelInfo, "discovered "+whose(b.Addr), "backend discovered",
				slog.String("pool", p.Name()), slog.String("backend", b.Addr.String()), slog.Int("weight", b.Weight))
		}
	}
}
