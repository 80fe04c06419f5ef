package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/cluster/internal/bound"
)

const (
	defaultRing = 1 << 18 // 10 MB; 2.6 s at 100,000 facts a second

	// maxHandshakes bounds the streams that have not shown a node key yet, and so what strangers can make us hold; as
	// many again may come from where nodes are. handshakesPerAddr are of one address.
	maxHandshakes     = 32
	handshakesPerAddr = 8

	// maxAddrs bounds the addresses at which one node is dialled: more than one when somebody else uses its ID.
	maxAddrs = 3

	// lingerFor is for how long a node that has shown the node key is dialled although gossip does not know it any
	// more: gossip may be told anything.
	lingerFor = 10 * time.Minute

	// maxPeers bounds the nodes we keep a state for, a few hundred bytes each. The largest clusters that a full mesh of
	// streams suits are far smaller.
	maxPeers = 256
)

// Config is what a Replicator needs. Zero means the default where there is one.
type Config struct {
	Node string // ID of this node, at most 64 bytes

	// Bind is the address to accept streams at. Port 0 takes a free one; see Addr.
	Bind string

	// Listener is that of the process that this one takes over from: it replaces Bind. New owns it, also when it fails.
	Listener net.Listener

	// NodeKeys are the keys of the nodes, see LoadKeys: this node shows that it has the first, and trusts peers that
	// have any.
	NodeKeys [][]byte

	// Ring is how many facts are kept for streams that break or lag, at 40 bytes each; a peer that is further behind
	// needs the whole table. Default 262,144. To size: new sessions per second, times the seconds of a break.
	Ring int

	Log *slog.Logger // nil = silent

	// times are for tests; the zero value is the real ones.
	times times
	// merged hears of each batch once it is in the store. For tests.
	merged func([]affinity.Fact)
	clock  func() time.Time // nil: the store's
}

// times are the limits of a stream.
type times struct {
	connect   time.Duration // short: the first try after a partition must not come late
	handshake time.Duration // for all until the hellos are over
	write     time.Duration // for one batch: a peer that takes none for so long is hung up on
	silence   time.Duration // without any frame: the peer is gone
	beat      time.Duration // a sign of life when there is nothing else to send
	ack       time.Duration // that an ack may wait for others to go with
	redial    time.Duration // after the first failure; doubled up to redialMost
	most      time.Duration
	resync    time.Duration // at least, between the starts of two resyncs of one stream
}

func realTimes() times {
	return times{
		connect: 2 * time.Second, handshake: 5 * time.Second, write: 10 * time.Second, silence: 5 * time.Second, beat: time.Second,
		ack: 5 * time.Millisecond, redial: 50 * time.Millisecond, most: 2 * time.Second, resync: time.Second,
	}
}

// Peer is another node as the membership knows it.
type Peer struct {
	ID   string
	Addr string // host:port where it accepts streams
}

// Replicator shares what this node learns with the others: one stream per pair of nodes, which the node with the
// smaller ID dials. Learned facts are pushed at once, in batches of what is ready; see stream.go for what happens when
// a stream breaks, or one side is too slow.
type Replicator struct {
	// Static after New.
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	ring     *ring
	door     *bound.Door
	changed  bound.Wake // peers to dial have changed
	began    time.Time

	// Static after Run has begun.
	store *affinity.Store

	// Atomic.
	credentials atomic.Pointer[credentials]
	instance    atomic.Uint64
	streaming   atomic.Pointer[[]*stream] // those to wake when a fact is learned
	refused     atomic.Uint64
	merged      atomic.Uint64
	member      atomic.Bool // a stream with a node of the same seed has been open

	quiet *bound.Quiet

	mu     sync.Mutex
	peers  map[string]*peer // guarded by mu
	wanted []Peer           // guarded by mu

	reseed sync.Mutex // held while this node decides about its seed
}

// New binds the address. Give its Learned to the store as Config.Fact, then Run it.
func New(cfg Config) (r *Replicator, err error) {
	defer func() {
		if err != nil && cfg.Listener != nil {
			err = errors.Join(err, cfg.Listener.Close())
		}
	}()
	if cfg.Node == "" || len(cfg.Node) > bound.MaxID {
		return nil, fmt.Errorf("cluster: a node ID of %d bytes: want 1 to %d", len(cfg.Node), bound.MaxID)
	}
	if cfg.Ring < 0 || cfg.Ring > 1<<28 {
		return nil, fmt.Errorf("cluster: a ring of %d facts: want 1 to %d", cfg.Ring, 1<<28)
	}
	if cfg.Ring == 0 {
		cfg.Ring = defaultRing
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.times == (times{}) {
		cfg.times = realTimes()
	}
	r = &Replicator{
		began: time.Now(), cfg: cfg, log: cfg.Log, listener: cfg.Listener, ring: newRing(cfg.Ring), changed: make(bound.Wake, 1),
		peers: make(map[string]*peer), quiet: bound.NewQuiet(cfg.Log),
	}
	r.door = &bound.Door{Places: maxHandshakes, PerAddr: handshakesPerAddr, Known: r.knows}
	r.streaming.Store(new([]*stream))
	r.newInstance()
	if err := r.SetNodeKeys(cfg.NodeKeys); err != nil {
		return nil, err
	}
	if r.listener == nil {
		if r.listener, err = net.Listen("tcp", cfg.Bind); err != nil {
			return nil, fmt.Errorf("cluster: replication: %w", err)
		}
	}
	return r, nil
}

// Listener is the socket that streams are accepted at. It stays the Replicator's own.
func (r *Replicator) Listener() net.Listener { return r.listener }

// Addr is where this node accepts streams.
func (r *Replicator) Addr() net.Addr { return r.listener.Addr() }

// Close ends a Replicator that has not been run.
func (r *Replicator) Close() error { return r.listener.Close() }

// newInstance begins a new life: nobody resumes what was before.
func (r *Replicator) newInstance() {
	for {
		if n := rand.Uint64(); n != 0 && n != r.instance.Load() {
			r.instance.Store(n)
			return
		}
	}
}

// Learned takes a fact that this node learned. It is affinity.Config.Fact: it never blocks, allocates nothing, and
// makes no system call while the streams are busy.
func (r *Replicator) Learned(f affinity.Fact) {
	r.ring.push(&f, r.ticks())
	for _, s := range *r.streaming.Load() {
		s.waker.wake()
	}
}

// ticks is the time by which facts grow old on their way, in nanoseconds, never 0.
func (r *Replicator) ticks() int64 { return 1 + int64(time.Since(r.began)) }

// now is the time of the facts.
func (r *Replicator) now() time.Time {
	if r.cfg.clock != nil {
		return r.cfg.clock()
	}
	return r.store.Time()
}

// SetNodeKeys replaces the node keys; see Config. Streams with peers that showed a key which is no longer trusted end.
func (r *Replicator) SetNodeKeys(keys [][]byte) error {
	c, err := newCredentials(keys)
	if err != nil {
		return err
	}
	r.credentials.Store(c)
	for _, s := range *r.streaming.Load() {
		if !c.trustsKey(s.key) {
			s.hangUp()
		}
	}
	return nil
}

// SetPeers says which other nodes there are, as far as gossip knows. It replaces the list of the last call, but for
// those that have shown the node key: they stay for a time. Of too many those stay that were there before.
func (r *Replicator) SetPeers(peers []Peer) {
	r.mu.Lock()
	r.wanted = r.chooseLocked(peers)
	for _, p := range r.wanted {
		if one := r.peerLocked(p.ID); one.good == "" || one.good == p.Addr || one.addr == "" {
			one.addr = p.Addr
		}
	}
	r.mu.Unlock()
	r.changed.Up()
}

// chooseLocked leaves out what is too much of the peers that gossip knows.
func (r *Replicator) chooseLocked(peers []Peer) []Peer {
	rank := func(p Peer) int {
		one := r.peers[p.ID]
		switch {
		case one != nil && one.good == p.Addr:
			return 0
		case slices.Contains(r.wanted, p):
			return 1
		}
		return 2
	}
	peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.ID == r.cfg.Node })
	slices.SortStableFunc(peers, func(a, b Peer) int { return cmp.Compare(rank(a), rank(b)) })
	addrs := make(map[string]int)
	peers = slices.DeleteFunc(peers, func(p Peer) bool {
		addrs[p.ID]++
		return addrs[p.ID] > maxAddrs
	})
	return peers[:min(len(peers), maxPeers)]
}

// knows says that a node is at an address: one that gossip knows, or that has shown the node key.
func (r *Replicator) knows(addr netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		for _, known := range []string{p.addr, p.good} {
			if at, err := netip.ParseAddrPort(known); err == nil && at.Addr().Unmap() == addr {
				return true
			}
		}
	}
	return false
}

// Run replicates the store until ctx is done. The store's own Run must be running.
func (r *Replicator) Run(ctx context.Context, store *affinity.Store) {
	r.store = store
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { r.accept(ctx, &group) })
	group.Go(func() {
		<-ctx.Done()
		r.listener.Close()
	})

	lines := time.NewTicker(bound.LogEvery)
	defer lines.Stop()
	dialled := make(map[Peer]context.CancelFunc)
	for {
		select {
		case <-ctx.Done():
			return
		case <-lines.C:
			r.quiet.Sweep()
		case <-r.changed:
			r.reconcile(ctx, dialled, &group)
		}
	}
}

// reconcile dials the peers that are wanted and ours to dial, and those alone.
func (r *Replicator) reconcile(ctx context.Context, dialled map[Peer]context.CancelFunc, group *sync.WaitGroup) {
	r.mu.Lock()
	wanted := make(map[Peer]*peer)
	for _, p := range r.wanted {
		if r.cfg.Node < p.ID {
			wanted[p] = r.peerLocked(p.ID)
		}
	}
	for p := range dialled {
		if one := r.peers[p.ID]; one != nil && one.good == p.Addr && (one.stream.Load() != nil || time.Since(one.opened) < lingerFor) {
			wanted[p] = one
		}
	}
	r.forgetLocked()
	r.mu.Unlock()
	for p, stop := range dialled {
		if wanted[p] == nil {
			stop()
			delete(dialled, p)
		}
	}
	for p, state := range wanted {
		if dialled[p] == nil {
			one, stop := context.WithCancel(ctx)
			dialled[p] = stop
			group.Go(func() { r.dialForever(one, p.Addr, state) })
		}
	}
}

// dialForever keeps a stream to the peer open.
func (r *Replicator) dialForever(ctx context.Context, addr string, p *peer) {
	wait := r.cfg.times.redial
	for ctx.Err() == nil {
		opened, err := r.dial(ctx, addr, p)
		if ctx.Err() != nil {
			return
		}
		if opened {
			wait = r.cfg.times.redial
		}
		r.changed.Up() // it may be dialled for old times' sake
		if r.wants(Peer{p.id, addr}) {
			r.complain(p.id, false, "replication stream", err)
		} // else it has left, as far as gossip knows
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		wait = min(2*wait, r.cfg.times.most)
	}
}

func (r *Replicator) wants(p Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.wanted, p)
}

// accept serves the streams that other nodes dial.
func (r *Replicator) accept(ctx context.Context, group *sync.WaitGroup) {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			r.complain("", false, "accept a replication stream", err) // out of files, mostly
			timer := time.NewTimer(r.cfg.times.redial)
			select {
			case <-ctx.Done():
				timer.Stop()
			case <-timer.C:
			}
			continue
		}
		guest := r.door.Enter(conn)
		group.Go(func() {
			err := r.serve(ctx, guest)
			r.complain(hostOf(conn), !r.knows(guest.Addr), "replication stream", err)
		})
	}
}
