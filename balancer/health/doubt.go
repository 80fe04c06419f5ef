package health

import (
	"context"
	"time"

	"homing/balancer/pool"
)

const (
	// doubtEvery is the pause between the checks of a backend that conns fail to reach.
	doubtEvery = 100 * time.Millisecond

	// doubtLasts is for how long these must fail before the backend is down. A server that resets whom it has no room
	// for, instead of letting them wait, takes somebody in meanwhile.
	doubtLasts = 200 * time.Millisecond

	// doubtGap is the least time from one doubt that came to nothing to the next.
	doubtGap = time.Second
)

// lookInto looks at a backend that is up and that conns have failed to reach, until it is clear what to make of that.
// It is down when checks have failed for doubtLasts, and no conn has come through: a backend that was killed is known
// as such before the next of its regular checks. One success of either ends the doubt.
func (c *Checker) lookInto(ctx context.Context, b *pool.Backend) {
	p := c.pool
	before, began := progressOf(b), time.Now()
	for b.Up() {
		err := c.once(ctx, b.Addr, p.Snapshot().Options().ProxyHeader)
		switch {
		case ctx.Err() != nil || shortage(err):
			return
		case err == nil:
			p.Trust(b)
			return
		case progressOf(b).reached != before.reached:
			return // and the count of failures begins again by that
		case time.Since(began) >= doubtLasts:
			p.SetUp(b, false, pool.FailuresInARow(p.Snapshot().Options().Fall)+", and so do checks: "+cause(err))
			return
		}
		if !wait(ctx, doubtEvery) {
			return
		}
	}
}

// rest waits for the next check of a backend, and looks into doubts meanwhile. It says whether ctx still stands.
func (c *Checker) rest(ctx context.Context, b *pool.Backend, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	gap := time.NewTimer(0) // it is over
	defer gap.Stop()
	var doubted <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-gap.C:
			doubted = b.Doubted()
		case <-doubted:
			c.lookInto(ctx, b)
			if ctx.Err() != nil {
				return false
			}
			doubted = nil
			gap.Reset(doubtGap)
		}
	}
}
