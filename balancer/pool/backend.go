package pool

import (
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"homing/balancer/netaddr"
)

// ID names a backend on every node: a hash of the pool's name and the backend's canonical IP:port, never an index. A
// unix socket is a server of its node alone, whatever other nodes have at that path: the hash is of the node's name
// too.
type ID uint32

const (
	// NoID is no backend.
	NoID ID = 0

	// AnyID is never a backend's: tables that map to IDs may use it for "any backend".
	AnyID ID = 0xffffffff
)

// makeID hashes a backend's identity. The two reserved values move to their neighbours; a collision that this makes is
// settled like any other.
func makeID(poolName, node string, addr netaddr.Addr) ID {
	identity := poolName + "\x00" + addr.String()
	if addr.IsUnix() && node != "" {
		identity += "\x00" + node
	}
	return unreserve(uint32(xxhash.Sum64String(identity)))
}

// id is the ID of a backend of this pool.
func (p *Pool) id(addr netaddr.Addr) ID { return makeID(p.name, p.node, addr) }

func unreserve(h uint32) ID {
	switch id := ID(h); id {
	case NoID:
		return 1
	case AnyID:
		return AnyID - 1
	default:
		return id
	}
}

// Liveness of a backend. Only setState writes it.
const (
	stateUp    uint32 = iota
	stateTrial        // was down, no active check runs: one conn at a time may try it
	stateDown
)

// Backend is one server of a pool. It keeps its identity, and so its state and its open conns, as long as its address
// stays in the pool. Its methods may be called by any goroutine and allocate nothing.
type Backend struct {
	// Static after construction.
	ID   ID
	Addr netaddr.Addr // canonical
	Name string       // as configured: a name's host:port, or the address
	pool *Pool
	perm uint64 // seed of the Maglev permutation

	// Atomic; written by the pool under its mu, except state, which loops may also take from up to down.
	weight       atomic.Int64
	share        atomic.Uint32 // percentage of weight that fresh handshakes know, see slowstart.go
	maxConns     atomic.Int64
	drain        atomic.Uint32
	gone         atomic.Bool // no longer in the pool
	reportsDrain atomic.Bool // it wants no fresh handshakes, by its own report
	unchecked    atomic.Bool // see Unchecked
	judged       atomic.Bool // see Judged
	state        atomic.Uint32
	downSeq      atomic.Uint64 // order of marking down in the pool, 0 = never
	downTime     atomic.Int64  // when it left stateUp, ns since the pool was made
	failTime     atomic.Int64  // when it was last marked down, in a trial too, ns since the pool was made

	// Atomic; written by loops.
	open      atomic.Int64
	failures  atomic.Int64 // consecutive failed connects
	trialBusy atomic.Bool  // a conn is trying it, meaningful in stateTrial
	count     counters     // see tally.go

	slowTime atomic.Int64           // of the last slow connect, ns since the pool was made; 0: never; written by loops
	failure  atomic.Pointer[string] // of the failed connects that have marked it down, the last; written by loops
	doubts   chan struct{}          // holds one token, from loops; never closed

	// Guarded by pool.mu.
	announced uint32 // the state that listeners and the log know, stateUp or stateDown
	why       string // reason of the next announcement, "" = passive counting
	lastWhy   string // of the last one
	changed   time.Time
	slowSince time.Time // when it began to start slowly; zero: it does not

	drained      drainState
	specWeight   int    // of the spec or the announcement
	handWeight   int    // set by SetWeight, 0 = none
	specMaxConns int    // of the spec
	report       Report // what it says of itself
}

// Open is the number of conns between Acquire and Release.
func (b *Backend) Open() int { return int(b.open.Load()) }

// Weight is the backend's weight, 1 to MaxWeight.
func (b *Backend) Weight() int { return int(b.weight.Load()) }

// MaxConns is the bound of open conns, 0 for none.
func (b *Backend) MaxConns() int { return int(b.maxConns.Load()) }

// Draining is how far the backend is being emptied.
func (b *Backend) Draining() Drain { return Drain(b.drain.Load()) }

// Up says whether conns may go to the backend: it is in the pool and not marked down. A backend on trial (see
// Options.NoChecks) is not up yet.
func (b *Backend) Up() bool { return b.state.Load() == stateUp && !b.gone.Load() }

// OnTrial reports whether the backend was down, and one conn at a time may try it: see Options.NoChecks.
func (b *Backend) OnTrial() bool { return b.state.Load() == stateTrial && !b.gone.Load() }

// Unchecked says that the backend announced itself and has not been called up since: one check that succeeds is enough.
func (b *Backend) Unchecked() bool { return b.unchecked.Load() }

// Judged says that something is known of the backend's state: a check has come to an end since it joined the pool, or
// the process before this one knew. Until then it counts as up, so that conns which come meanwhile are tried there.
func (b *Backend) Judged() bool { return b.judged.Load() }

// Failures is the number of connects that failed since the last that succeeded.
func (b *Backend) Failures() int { return int(b.failures.Load()) }

// Doubted gives a token when conns have failed to reach a backend that checks call up: whoever checks is to look now.
// It is for one receiver.
func (b *Backend) Doubted() <-chan struct{} { return b.doubts }

// Acquire counts a conn. Call it before the connect, so that a burst is seen while it happens.
func (b *Backend) Acquire() {
	b.open.Add(1)
	b.pool.open.Add(1)
	if b.state.Load() == stateTrial {
		b.trialBusy.Store(true)
	}
}

// Release takes back one Acquire.
func (b *Backend) Release() {
	b.open.Add(-1)
	b.pool.open.Add(-1)
	// The conn of a trial may end without an outcome, when its client leaves: the next may try. A conn from before the
	// trial may end now too, then two try at once, which harms nobody.
	if b.trialBusy.Load() {
		b.trialBusy.Store(false)
	}
	b.pool.serveQueue()
}

func (b *Backend) full() bool {
	limit := b.maxConns.Load()
	return limit > 0 && b.open.Load() >= limit || b.state.Load() == stateTrial && b.trialBusy.Load()
}

// takesConns says that the backend is in the pool and not down.
func (b *Backend) takesConns() bool { return b.state.Load() != stateDown && !b.gone.Load() }

// live says that the backend also takes fresh handshakes.
func (b *Backend) live() bool {
	return b.takesConns() && b.Draining() == DrainOff && !b.reportsDrain.Load()
}
