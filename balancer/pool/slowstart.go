package pool

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

const (
	// wholeShare is the percentage of a backend that has been up for long.
	wholeShare = 100

	// firstShare is the percentage that a backend begins with: enough for it to be tried in earnest, and a tenth of the
	// handshakes that would meet its cold caches otherwise. HAProxy's slowstart begins lower, at one step of its
	// weight.
	firstShare = 10

	// shareStep is by how much it rises at once, in percent: 18 steps, each of which makes one snapshot.
	shareStep = 5
)

// A backend that comes up again has a part of its weight only, which rises from firstShare to wholeShare over
// Options.SlowStart:
//
//	up ──down──► down: the part is firstShare already, for one that is on trial may be up at any moment
//	down ──up──► slow: slowSince is set, Run publishes a snapshot for each step
//	slow ──time──► up
//
// The part counts for fresh handshakes only. Tables of consistent hashing, the bound of load and so the way home of
// resumptions know the whole weight: what is learned must not depend on when a node saw a backend come up.

// updateShare makes a backend's part of what is known of it. p.mu is held.
func (p *Pool) updateShare(b *Backend, now time.Time) {
	slow, state := p.Snapshot().opt.SlowStart, b.state.Load()
	switch {
	case slow == 0:
		b.slowSince = time.Time{}
		b.share.Store(wholeShare)
		return
	case state != stateUp:
		b.slowSince = time.Time{}
		b.share.Store(firstShare)
		return
	case b.announced == stateDown:
		b.slowSince = now
		kick(p.shareKick)
	}
	share, _ := shareAfter(b.slowSince, now, slow)
	if share == wholeShare {
		b.slowSince = time.Time{}
	}
	if old := b.share.Swap(share); old < wholeShare && share == wholeShare && b.announced == stateUp {
		p.log.Info("backend has its whole weight", p.about(b), slog.Int("weight", b.Weight()))
	}
}

// shareAfter is the part, in percent, of a backend that came up at since (zero: long ago), and how long it has that
// part.
func shareAfter(since, now time.Time, slow time.Duration) (share uint32, next time.Duration) {
	past := max(now.Sub(since), 0)
	if since.IsZero() || past >= slow {
		return wholeShare, 0
	}
	const steps = (wholeShare - firstShare) / shareStep
	taken := int64(past) * steps / int64(slow) // MaxSlowStart leaves room for that
	return firstShare + shareStep*uint32(taken), (slow*time.Duration(taken+1)+steps-1)/steps - past
}

// joins begins the slow start of a backend that is new in a pool at work. It is not at work before it is as old as a
// slow start takes, for then backends are still being found, nor when nobody else is there to take conns. p.mu is held.
func (p *Pool) joins(b *Backend, now time.Time) {
	s := p.Snapshot()
	if slow := s.opt.SlowStart; slow == 0 || now.Sub(p.start) < slow || len(s.live) == 0 {
		return
	}
	b.slowSince = now
	b.share.Store(firstShare)
	kick(p.shareKick)
}

// kick has lookAgain look, on whatever goroutine that is, or attend reconcile.
func kick(kicked chan<- struct{}) {
	select {
	case kicked <- struct{}{}:
	default: // it was asked already
	}
}

// lookAgain calls look at once, at each kick, and when the time is over that it has answered last; 0: at the next kick.
func lookAgain(ctx context.Context, kick <-chan struct{}, look func() (wait time.Duration)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-kick:
		case <-timer.C:
		}
		if wait := look(); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// raise publishes the shares of now, and says when to look again; 0: when a slow start begins.
func (p *Pool) raise() (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reconcile()
	s := p.Snapshot()
	for _, b := range s.all {
		_, next := shareAfter(b.slowSince, time.Now(), s.opt.SlowStart)
		if next > 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	return wait
}

// FreshShare is the percentage of the backend's weight that counts for fresh handshakes, 10 to 100.
func (b *Backend) FreshShare() int { return int(b.share.Load()) }

// freshWeight is the weight for fresh handshakes, in hundredths.
func (b *Backend) freshWeight() int64 { return b.weight.Load() * int64(b.share.Load()) }

// clientHash is the live backend of the client's hash, as Maglev. Of the clients of one that starts slowly only its
// part comes, the same ones on every node that is at the same step; the others go where they went while it was down, so
// that each moves once.
func (s *Snapshot) clientHash(hash uint64, skip Skip) *Backend {
	b := s.Maglev(hash, skip)
	if b == nil || s.whole == nil {
		return b
	}
	if share := b.share.Load(); share == wholeShare || mix(hash^b.perm)%wholeShare < uint64(share) {
		return b
	}
	if other := s.whole.Maglev(hash, skip); other != nil {
		return other
	}
	return b
}

// withoutSlow is the snapshot as it would be without the backends that start slowly; nil when there are none, when
// there is nobody else, or when nobody asks for it. before is that of an earlier snapshot.
func (s *Snapshot) withoutSlow(before *Snapshot) *Snapshot {
	if s.opt.Policy != ClientHash {
		return nil
	}
	whole := &Snapshot{pool: s.pool, opt: s.opt, all: s.all, rest: s.rest, byID: s.byID, liveWeight: s.liveWeight}
	for i, b := range s.live {
		if s.fresh[i] == s.weights[i]*wholeShare {
			whole.live = append(whole.live, b)
			whole.weights = append(whole.weights, s.weights[i])
		}
	}
	switch {
	case len(whole.live) == 0 || len(whole.live) == len(s.live):
		return nil
	case before != nil && slices.Equal(whole.live, before.live) && slices.Equal(whole.weights, before.weights):
		whole.table = before.table
	default:
		whole.table = buildMaglev(whole.live)
	}
	return whole
}

// Condition is how a backend does at this node, and since when.
type Condition struct {
	// Since is when it went down or came back last, and Why the reason that the log has; zero: it has been up since it
	// joined the pool.
	Since time.Time
	Why   string

	// Share is the percentage of its weight that counts for fresh handshakes: less than 100 while it starts slowly,
	// until Whole.
	Share int
	Whole time.Time // zero: it does not start slowly
}

// Condition says how the backend does.
func (p *Pool) Condition(b *Backend) Condition {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Condition{Since: b.changed, Why: b.lastWhy, Share: int(b.share.Load())}
	if !b.slowSince.IsZero() {
		c.Whole = b.slowSince.Add(p.Snapshot().opt.SlowStart)
	}
	return c
}
