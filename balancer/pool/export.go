package pool

import (
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
// are passed over; of all that are the state is known now. It is called before conns come; a time that is over by now
// is over.
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
