package pool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Drain says how far a backend is being emptied.
type Drain uint8

const (
	// DrainOff is a backend in normal service.
	DrainOff Drain = iota
	// DrainSoft is a backend that gets no fresh handshakes but still its own resumptions.
	DrainSoft
	// DrainHard is a backend that gets no new conns at all.
	DrainHard
)

func (d Drain) String() string {
	return word(int(d), "off", "soft", "hard")
}

// MarshalText writes what String says.
func (d Drain) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes.
func (d *Drain) UnmarshalText(text []byte) error {
	for mode := DrainOff; mode <= DrainHard; mode++ {
		if mode.String() == string(text) {
			*d = mode
			return nil
		}
	}
	return fmt.Errorf("pool: unknown drain mode %q, use off, soft or hard", text)
}

const (
	// MaxDrain is the longest time of a drain: by then every ticket that may be had has expired (RFC 9846, 4.7.1).
	MaxDrain = 7 * 24 * time.Hour

	// drainLook is how often Run looks whether the last conn of a backend that gets no new ones has ended. Nothing
	// waits for it but a line in the log.
	drainLook = time.Second

	// drainKept is how long the draining of a backend outlasts its address in the DNS, whose answers come and go.
	drainKept = 24 * time.Hour
)

// DrainPlan is how a backend is to be emptied.
type DrainPlan struct {
	Mode Drain

	// For is how long a softly drained backend gets its own resumptions. Then it gets no new conns, as one that is
	// drained hard, and its sessions count as lost. Of a hard drain it is the time in which its conns are expected to
	// end. 0 is without an end; at most MaxDrain.
	For time.Duration
}

// drainState is what is known of a backend's drain beside its mode.
type drainState struct {
	since, end time.Time // zero: not drained; no end
	told       bool      // the log has been told that it is empty
	gone       time.Time // when its address left the pool
}

// DrainStatus is how far the draining of a backend has come.
type DrainStatus struct {
	Mode  Drain     // hard once the time of a soft drain is over
	Since time.Time // zero when it is not drained
	End   time.Time // when its own resumptions end, or ended; zero for never
}

// Drain starts, changes or, with DrainOff, ends the draining of a backend. Conns that are open stay. Whoever picks a
// backend after it has returned follows it; a pick that has begun before may still be the old one.
func (p *Pool) Drain(b *Backend, plan DrainPlan) error {
	if plan.For < 0 || plan.For > MaxDrain {
		return fmt.Errorf("pool: a drain of %s: give a time up to %s, or none", plan.For, MaxDrain)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() {
		return errors.New("pool: the backend has left the pool")
	}
	now := time.Now()
	state := drainState{since: now}
	if b.Draining() == plan.Mode && plan.Mode != DrainOff {
		state.since = cmp.Or(b.drained.since, now)
	}
	if plan.For > 0 {
		state.end = now.Add(plan.For)
	}
	p.setDrain(b, plan.Mode, state)
	return nil
}

// SetDraining is Drain without an end. Nothing happens when the backend is drained so already.
func (p *Pool) SetDraining(b *Backend, mode Drain) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() || b.Draining() == mode {
		return
	}
	p.setDrain(b, mode, drainState{since: time.Now()})
}

// setDrain is the only writer of a backend's drain. p.mu is held.
func (p *Pool) setDrain(b *Backend, mode Drain, state drainState) {
	if mode == DrainOff {
		state = drainState{}
	}
	changed := b.Draining() != mode
	b.drained = state
	b.drain.Store(uint32(mode))
	switch {
	case mode == DrainOff && changed:
		p.log.Info("backend no longer draining", p.about(b), slog.Int("open", b.Open()))
	case mode != DrainOff:
		attrs := []any{p.about(b), slog.String("mode", mode.String()), slog.Int("open", b.Open())}
		if !state.end.IsZero() {
			attrs = append(attrs, slog.Time("end", state.end.Round(time.Second)))
		}
		p.log.Info("backend draining", attrs...)
	}
	p.reconcile()
	kick(p.drainKick)
}

// InService says that nobody has the backend emptied, neither an operator nor itself.
func (b *Backend) InService() bool { return b.Draining() == DrainOff && !b.reportsDrain.Load() }

// DrainStatus says how far the draining of a backend has come.
func (p *Pool) DrainStatus(b *Backend) DrainStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return DrainStatus{Mode: b.Draining(), Since: b.drained.since, End: b.drained.end}
}

// endDrains does what is due of the drains, and says when to look again; 0: when something is drained.
func (p *Pool) endDrains(now time.Time) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := func(d time.Duration) {
		if wait == 0 || d < wait {
			wait = d
		}
	}
	changed := false
	for _, b := range p.Snapshot().all {
		state := &b.drained
		if b.Draining() == DrainSoft && !state.end.IsZero() {
			if left := state.end.Sub(now); left > 0 {
				again(left)
				continue
			}
			b.drain.Store(uint32(DrainHard))
			const text = "backend gets no more resumptions: the time of its drain is over"
			p.log.Info(text, p.about(b), slog.Int("open", b.Open()))
			changed = true
		}
		if b.Draining() != DrainHard || state.told {
			continue
		}
		if b.Open() > 0 {
			again(drainLook)
			continue
		}
		state.told = true
		took := now.Sub(state.since).Round(time.Millisecond)
		p.log.Info("backend drained", p.about(b), slog.Float64("took_seconds", took.Seconds()))
	}
	if changed {
		p.reconcile()
	}
	return wait
}

// keepsDrain says whether a backend that is no longer in the pool is remembered for its drain, so that it comes back as
// it went. p.mu is held.
func (p *Pool) keepsDrain(b *Backend, now time.Time) bool {
	if b.Draining() == DrainOff {
		return false
	}
	if b.drained.gone.IsZero() {
		b.drained.gone = now
	}
	return now.Sub(b.drained.gone) < drainKept
}

// drainReturns takes note of a backend that is in the pool, maybe again. p.mu is held.
func (p *Pool) drainReturns(b *Backend) {
	if !b.drained.gone.IsZero() {
		b.drained.gone = time.Time{}
		kick(p.drainKick) // its time may have passed meanwhile
	}
}
