package replica

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/cluster/bound"
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
		connect: 2 * time.Second, handshake: 5 * time.Second, write: 10 * time.Second, silence: 5 * time.Second,
		beat: time.Second, ack: 5 * time.Millisecond, redial: 50 * time.Millisecond, most: 2 * time.Second,
		resync: time.Second,
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
	cfg.Ring = cmp.Or(cfg.Ring, defaultRing)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.times == (times{}) {
		cfg.times = realTimes()
	}
	r = &Replicator{
		began: time.Now(), cfg: cfg, log: cfg.Log, listener: cfg.Listener, ring: newRing(cfg.Ring),
		changed: make(bound.Wake, 1), peers: make(map[string]*peer), quiet: bound.NewQuiet(cfg.Log),
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

// peer is what outlives the streams to one node.
type peer struct {
	// Static.
	id string

	// Guarded by Replicator.mu.
	addr   string    // where gossip says that it is
	good   string    // where it was dialled and has shown the node key, last
	opened time.Time // when a stream that was dialled stood last

	// Atomic.
	stream                                    atomic.Pointer[stream] // nil: lost
	acked                                     atomic.Uint64          // sequence of the last fact it has acknowledged
	bytesIn, bytesOut, factsIn, factsOut      atomic.Uint64
	streams, resumed, resyncs, filled, missed atomic.Uint64

	mu sync.Mutex // held by the stream that serves the peer, all its life

	// Guarded by mu: what was received from the peer. last counts only while whole, no resync has been begun that did
	// not end, and while the seed is the same.
	instance, last uint64
	whole          bool
	seed           uint64
}
