package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// leastGap is the least time between two probes that were asked for. Refusals ask, and any client can provoke them with
// an old ticket: while they lead to nothing new the gap doubles, up to the interval.
const leastGap = time.Second

// target is one backend that is probed, by one goroutine: never twice at once.
type target struct {
	// Static after construction.
	prober  *Prober
	pool    *pool.Pool
	known   *affinity.Pool
	backend *pool.Backend
	wake    chan struct{} // holds one token: somebody asks; never closed

	// Atomic; written by loops, taken back by watch.
	asked  atomic.Bool
	atOnce atomic.Bool

	// Owned by watch.
	gap      time.Duration
	warned   map[warning][]string
	lifetime time.Duration // of the last TLS 1.3 ticket

	mu    sync.Mutex
	found Findings // guarded by mu

	samples []sample // guarded by mu
}

// outcome of a round.
type outcome uint8

const (
	outcomeNone   outcome = iota // not probed: down, or this machine could not
	outcomeSame                  // nothing new
	outcomeNews                  // a ticket key that was not known
	outcomeFailed                // no handshake succeeded
)

func newTarget(p *Prober, b *pool.Backend) *target {
	return &target{
		prober: p, pool: p.pool, known: p.known, backend: b, wake: make(chan struct{}, 1),
		found: Findings{Pool: p.pool, Backend: b, Handshakes: make(map[Handshake]uint64)},
	}
}

// ask asks for a probe. A flood of calls costs one load each.
func (t *target) ask(atOnce bool) {
	if atOnce {
		t.atOnce.Store(true)
	} else if t.asked.Load() {
		return
	}
	t.asked.Store(true)
	select {
	case t.wake <- struct{}{}:
	default: // a token is there
	}
}

// watch probes the backend until ctx is done.
func (t *target) watch(ctx context.Context) {
	least := min(leastGap, t.prober.cfg.Interval)
	t.gap = least
	for {
		begun := time.Now()
		atOnce, asked := t.atOnce.Swap(false), t.asked.Swap(false)
		if atOnce {
			t.gap = least
		}
		result := outcomeNone
		if t.backend.Up() && t.backend.Draining() != pool.DrainHard {
			result = t.round(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		next := spread(t.prober.cfg.Interval, rand.Float64())
		switch {
		case result == outcomeFailed:
			next = min(next, t.gap) // it may be about to start
			t.gap = min(2*t.gap, t.prober.cfg.Interval)
		case result == outcomeNews || !asked:
			t.gap = least
		default:
			t.gap = min(2*t.gap, t.prober.cfg.Interval)
		}
		if !t.rest(ctx, begun, next) {
			return
		}
	}
}

// rest waits for the next probe: for the time given, or less when somebody asks. It says whether ctx still stands.
func (t *target) rest(ctx context.Context, begun time.Time, next time.Duration) bool {
	timer := time.NewTimer(next)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-t.wake:
			if t.atOnce.Load() {
				return true
			}
			timer.Reset(max(0, min(next, t.gap)-time.Since(begun)))
		}
	}
}
