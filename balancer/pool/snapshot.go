package pool

import (
	"cmp"
	"slices"
)

// loadSlack is the number of open conns a backend may always have before it counts as overloaded, so that small
// numbers, where one conn is a large share, never move a session.
const loadSlack = 64

// Unusable says why a backend cannot take an offer of its own, or that it can.
type Unusable uint8

const (
	// UsableOK is a backend that takes its own resumptions: up, below its bounds, at most softly drained.
	UsableOK Unusable = iota
	// UsableDown is a backend marked down, or no longer in the pool.
	UsableDown
	// UsableFull is a backend at its max conns, or on trial with a conn that tries it already.
	UsableFull
	// UsableOverloaded is a backend with more open conns than its bounded share.
	UsableOverloaded
	// UsableHardDrained is a backend that gets no new conns.
	UsableHardDrained
)

func (u Unusable) String() string {
	return word(int(u), "ok", "backend_down", "full", "overloaded", "drained")
}

// Snapshot is the pool at one moment. It is immutable but for the atomics of its backends, shared by all loops, and its
// methods allocate nothing. Callers must not change the slices.
type Snapshot struct {
	pool *Pool
	opt  *Options // of the pool

	all  []*Backend // sorted by address
	live []*Backend // sorted by address
	rest []*Backend // not live, or no longer in the pool with conns still open
	byID map[ID]*Backend

	// Tables are shared with the snapshots before and after while the live backends and their weights stay.
	weights    []int // of live
	fresh      []int // of live, the weights for fresh handshakes
	liveWeight int64
	seq        []uint16     // indexes into live
	table      *maglevTable // nil when nothing is live
	whole      *Snapshot    // see withoutSlow

	replaced chan struct{} // closed by the pool when the next snapshot stands
}

// Options is the pool's options, with defaults filled in. Read-only.
func (s *Snapshot) Options() *Options { return s.opt }

// ByID finds a backend of the pool, nil when there is none.
func (s *Snapshot) ByID(id ID) *Backend { return s.byID[id] }

// All is every backend of the pool, sorted by address. Read-only.
func (s *Snapshot) All() []*Backend { return s.all }

// Live is the backends that are up, or on trial, and not being drained, sorted by address. Read-only.
func (s *Snapshot) Live() []*Backend { return s.live }

// Replaced is closed once a newer snapshot stands.
func (s *Snapshot) Replaced() <-chan struct{} { return s.replaced }

// Usable says whether a backend can take an offer of its own now. It is UsableDown for nil, so that an unknown ID needs
// no case of its own.
func (s *Snapshot) Usable(b *Backend) Unusable {
	switch {
	case b == nil || !b.takesConns():
		return UsableDown
	case b.Draining() == DrainHard:
		return UsableHardDrained
	case b.full():
		return UsableFull
	case s.overloaded(b):
		return UsableOverloaded
	}
	return UsableOK
}

// overloaded says that open > loadSlack + factor * mean, where the mean is the open conns on live backends by unit of
// their weight, times the backend's weight. Both sides are multiplied by the live weight to save the division.
func (s *Snapshot) overloaded(b *Backend) bool {
	open := b.open.Load() - loadSlack
	if open <= 0 || s.liveWeight == 0 {
		return false
	}
	total := s.pool.open.Load()
	for _, other := range s.rest {
		total -= other.open.Load()
	}
	return float64(open)*float64(s.liveWeight) > s.opt.LoadFactor*float64(total)*float64(b.weight.Load())
}

// LastDown is the backend to try when none is live: the one that was marked down last. Softly drained ones come last,
// hard-drained ones never. It is nil while any backend is live, and when there is nothing to try. One that has come up
// since the snapshot was taken, which therefore no picker gives, is the best to try.
func (s *Snapshot) LastDown() *Backend {
	var last, came *Backend
	for _, b := range s.all {
		if b.live() && slices.Contains(s.live, b) {
			return nil
		}
		if b.live() {
			came = b
		}
		if b.takesConns() || b.Draining() == DrainHard || b.gone.Load() {
			continue
		}
		if last == nil || b.Draining() < last.Draining() ||
			b.Draining() == last.Draining() && b.downSeq.Load() > last.downSeq.Load() {
			last = b
		}
	}
	return cmp.Or(came, last)
}
