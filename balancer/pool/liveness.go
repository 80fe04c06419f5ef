package pool

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// SetUp marks a backend up or down. It is what active checks and operators use; why goes to the log and to OnChange.
// Nothing happens when the backend is in that state already (on trial counts as down), or no longer in the pool.
func (p *Pool) SetUp(b *Backend, up bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() || up == (b.state.Load() == stateUp) {
		return
	}
	b.why = why
	b.judged.Store(true)
	if up {
		b.unchecked.Store(false)
		b.failures.Store(0)
		b.state.Store(stateUp)
	} else {
		p.markDown(b, stateUp)
	}
	p.reconcile()
}

// Judge takes the word of the first check of a backend: one that fails is enough to mark it down, for nothing is known
// in its favour. Later calls do nothing.
func (p *Pool) Judge(b *Backend, up bool, why string) {
	if !b.judged.CompareAndSwap(false, true) {
		return
	}
	p.SetUp(b, up, why)
}

// awaitCheck has a backend that is new begin as down, without a word: nobody has seen it up. p.mu is held.
func (p *Pool) awaitCheck(b *Backend) {
	b.unchecked.Store(true)
	b.state.Store(stateDown)
	b.announced = stateDown
	b.downTime.Store(p.clock())
	b.failTime.Store(p.clock())
}

// OnChange adds a listener for backends going down and coming back. It is called for one change at a time, in order; it
// must not block, and must not change the pool.
func (p *Pool) OnChange(f func(b *Backend, up bool, why string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, f)
}

// ConnectFailed counts a connect that was refused, forbidden, or found no route; why says which. Nothing else may be
// reported here: neither what a client's bytes can provoke nor a shortage of this machine.
//
// With active checks these have the word: Options.Fall failures in a row make the backend doubtful, and whoever checks
// it is to look at once (Doubted). Without them (Options.NoChecks) that many mark it down; every picker sees that at
// once, from the backend's state. It goes on trial once Options.RetryAfter has passed: it is live again, but for one
// conn at a time. The first connect that succeeds brings it back, the first that fails marks it down for another
// RetryAfter.
//
// Made for loops: tables, log and listeners are left to Run when it runs.
func (p *Pool) ConnectFailed(b *Backend, why string) {
	opt := p.Snapshot().opt
	failures := b.failures.Add(1)
	state := b.state.Load()
	switch {
	case state == stateDown || state == stateUp && failures < int64(opt.Fall):
	case !opt.NoChecks:
		select {
		case b.doubts <- struct{}{}:
		default: // it is doubted already
		}
	case p.markDown(b, state):
		last := why // on the heap only here
		b.failure.Store(&last)
		p.reconcileSoon()
	}
}

// ConnectTimedOut reports a connect that was given up because nothing came of it; reached is what Backend.Reached was
// when it began. Where others have come through meanwhile that speaks of load: the queue of connections that wait for
// the backend to accept them is full, which any client can bring about, and nothing is counted. Otherwise it is a
// failure.
func (p *Pool) ConnectTimedOut(b *Backend, reached uint64) {
	if b.Reached() == reached {
		p.ConnectFailed(b, "timeout")
	}
}

// loadedFor is how long a backend counts as loaded after the last slow connect.
const loadedFor = 10 * time.Second

// ConnectSlow reports a connect that takes longer than the way to the backend does: see Loaded.
func (p *Pool) ConnectSlow(b *Backend) { b.slowTime.Store(p.clock()) }

// Loaded says that connects to the backend are slow, or were lately: clients come faster than it accepts them.
func (p *Pool) Loaded(b *Backend) bool {
	slow := b.slowTime.Load()
	return slow != 0 && p.clock()-slow < int64(loadedFor)
}

// ConnectOK reports a connect that succeeded: the count of failures starts again. Without active checks it also brings
// back a backend that was down or on trial.
func (p *Pool) ConnectOK(b *Backend) {
	b.count.reached.Add(1)
	p.Trust(b)
	state := b.state.Load()
	if state == stateUp || !p.Snapshot().opt.NoChecks || !b.state.CompareAndSwap(state, stateUp) {
		return
	}
	p.reconcileSoon()
}

// Trust starts the count of failures again: a check has found nothing wrong.
func (p *Pool) Trust(b *Backend) {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}

// markDown takes a backend from one state to stateDown, and says whether it was this caller who did.
func (p *Pool) markDown(b *Backend, from uint32) bool {
	if !b.state.CompareAndSwap(from, stateDown) {
		return false
	}
	now := p.clock()
	if from == stateUp {
		b.downTime.Store(now)
	}
	b.failTime.Store(now)
	b.downSeq.Store(p.marks.Add(1))
	b.trialBusy.Store(false)
	return true
}

// startTrials puts backends on trial that have been down for RetryAfter. Called by Run when no active checks run.
func (p *Pool) startTrials() {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := false
	snapshot := p.Snapshot()
	for _, b := range snapshot.all {
		if b.state.Load() == stateDown && p.clock()-b.failTime.Load() >= int64(snapshot.opt.RetryAfter) {
			b.trialBusy.Store(false)
			changed = b.state.CompareAndSwap(stateDown, stateTrial) || changed
		}
	}
	if changed {
		p.reconcile()
	}
}

// reconcileSoon lets Run reconcile, or does it here when nobody runs.
func (p *Pool) reconcileSoon() {
	if p.running.Load() > 0 {
		kick(p.kick)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reconcile()
}

// reconcile tells the log and the listeners of every backend whose state is not the one they know, and swaps the
// snapshot when it no longer shows the live backends. p.mu is held.
func (p *Pool) reconcile() {
	snapshot := p.Snapshot()
	now := time.Now()
	for _, b := range snapshot.all {
		p.updateShare(b, now)
	}
	p.publish(snapshot.all, snapshot.opt)
	for _, b := range snapshot.all {
		state := b.state.Load()
		if state == stateTrial || state == b.announced {
			continue
		}
		b.announced = state
		p.announce(b, state == stateUp)
		if state == stateDown && b.Name != b.Addr.String() {
			kick(p.renamed) // it may have moved
		}
	}
	p.serveQueue()
}

func (p *Pool) announce(b *Backend, up bool) {
	why := b.why
	b.why = ""
	live := fmt.Sprintf("%d of %d", len(p.Snapshot().live), len(p.Snapshot().all))
	if up {
		why = cmp.Or(why, "a connect succeeded")
		down := time.Duration(p.clock() - b.downTime.Load()).Round(time.Millisecond)
		p.log.Info("backend up", p.about(b), slog.String("why", why),
			slog.Float64("down_seconds", down.Seconds()), slog.String("live", live))
	} else {
		if why == "" {
			why = FailuresInARow(p.Snapshot().opt.Fall)
			if last := b.failure.Load(); last != nil {
				why += ", the last: " + *last
			}
		}
		p.log.Warn("backend down", p.about(b), slog.String("why", why), slog.String("live", live))
	}
	b.lastWhy, b.changed = why, time.Now()
	for _, f := range p.listeners {
		f(b, up, why)
	}
}

// FailuresInARow words n failures of ConnectFailed.
func FailuresInARow(n int) string {
	if n == 1 {
		return "a connect failed"
	}
	return fmt.Sprintf("%d connects in a row failed", n)
}

// about names a backend in a log line; an empty group key puts both names at the top.
func (p *Pool) about(b *Backend) slog.Attr {
	attrs := []slog.Attr{slog.String("pool", p.name), slog.String("backend", b.Addr.String())}
	if b.Name != b.Addr.String() {
		attrs = append(attrs, slog.String("name", b.Name))
	}
	return slog.GroupAttrs("", attrs...)
}
