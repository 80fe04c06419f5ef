package pool

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"homing/balancer/netaddr"
)

// State is what a pool has learned of its backends and was told to do with them beside its specs: what a process hands
// to the one that takes over from it.
type State struct {
	Backends []BackendState `json:"backends"` // those of which there is something to say
}

// BackendState is one backend's part of a State.
type BackendState struct {
	Addr netaddr.Addr `json:"addr"`

	Drain      Drain     `json:"drain"`
	DrainSince time.Time `json:"drain_since,omitzero"`
	DrainEnd   time.Time `json:"drain_end,omitzero"`

	// Down says that it was marked down: it begins so, and is brought back as ever.
	Down bool `json:"down,omitempty"`

	// Weight is the one that was set by SetWeight, 0 if none was.
	Weight int `json:"weight,omitempty"`

	// SlowSince is when it began to start slowly, zero if it does not.
	SlowSince time.Time `json:"slow_since,omitzero"`
}

// Export is what Import in another process takes.
func (p *Pool) Export() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	var state State
	for _, b := range p.Snapshot().all {
		one := BackendState{
			Addr: b.Addr, Drain: b.Draining(), DrainSince: b.drained.since, DrainEnd: b.drained.end,
			Down: b.state.Load() != stateUp, Weight: b.handWeight, SlowSince: b.slowSince,
		}
		if one != (BackendState{Addr: b.Addr}) {
			state.Backends = append(state.Backends, one)
		}
	}
	return state
}

// Import does to the backends what they had in the process that exported the state. Backends that are not in this pool
// are passed over; of all that are the state is known now. It is called before conns come; a time that is over by now is
// over.
func (p *Pool) Import(state State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.Snapshot().all {
		b.judged.Store(true)
	}
	for _, one := range state.Backends {
		b := p.Snapshot().ByID(p.id(one.Addr))
		if b == nil || b.Addr != one.Addr {
			continue
		}
		if one.Weight >= 1 && one.Weight <= MaxWeight {
			b.handWeight = one.Weight
			b.weight.Store(int64(one.Weight))
		}
		if one.Drain > DrainOff && one.Drain <= DrainHard {
			p.setDrain(b, one.Drain, drainState{since: one.DrainSince, end: one.DrainEnd})
		}
		b.slowSince = one.SlowSince
		if one.Down && b.state.Load() == stateUp {
			b.why = "it was down when this process took over"
			p.markDown(b, stateUp)
		}
	}
	p.reconcile()
	kick(p.shareKick)
}

// SetWeight gives a backend another weight, 1 to MaxWeight, until the specs are given anew. 0 goes back to theirs.
func (p *Pool) SetWeight(b *Backend, weight int) error {
	if weight < 0 || weight > MaxWeight {
		return fmt.Errorf("pool: weight %d is not from 1 to %d", weight, MaxWeight)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() {
		return fmt.Errorf("pool: backend %s has left the pool", b.Addr)
	}
	b.handWeight = weight
	b.weight.Store(int64(b.effectiveWeight()))
	p.log.Info("backend weight", p.about(b), slog.Int("weight", b.Weight()))
	p.reconcile()
	return nil
}

// effectiveWeight is the weight that counts. pool.mu is held.
func (b *Backend) effectiveWeight() int {
	weight := cmp.Or(b.handWeight, b.specWeight)
	if percent := b.report.Percent; percent > 0 {
		weight = min(max((weight*percent+50)/100, 1), MaxWeight)
	}
	return weight
}

// forgetWeights ends all SetWeight: the specs are given anew.
func (p *Pool) forgetWeights() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.Snapshot().all {
		b.handWeight = 0
	}
}

// OnTrial reports whether the backend was down, and one conn at a time may try it: see Options.NoChecks.
func (b *Backend) OnTrial() bool { return b.state.Load() == stateTrial && !b.gone.Load() }
