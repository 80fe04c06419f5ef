package bench

import (
	"context"
	"slices"
	"time"
)

// disturb begins to carry out the plan's disturbances, and returns a function that waits for the one under way, drops
// those to come and tells of those that happened.
func (r *run) disturb(ctx context.Context) (end func() []Disturbed) {
	ctx, cancel := context.WithCancel(ctx)
	list := slices.Clone(r.plan.Disturb)
	slices.SortStableFunc(list, func(a, b Disturbance) int { return int(a.At - b.At) })
	start := time.Now()
	var happened []Disturbed
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, d := range list {
			timer := time.NewTimer(d.At - time.Since(start))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			began := time.Since(start)
			act := r.plan.Control.Up
			if d.Down {
				act = r.plan.Control.Down
			}
			h := Disturbed{Disturbance: d, Began: began}
			// What has begun is brought to its end: a backend that is half up helps nobody.
			if err := act(context.WithoutCancel(ctx), d.Who); err != nil {
				h.Error = err.Error()
			}
			h.Took = time.Since(start) - began
			happened = append(happened, h)
		}
	}()
	return func() []Disturbed {
		cancel()
		<-done
		return happened
	}
}
