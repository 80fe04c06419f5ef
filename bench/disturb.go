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
			h := Disturbed{Disturbance: d, Began: began}
			// What has begun is brought to its end: a backend that is half up helps nobody.
			if err := r.carryOut(context.WithoutCancel(ctx), d); err != nil {
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

// carryOut does what a disturbance says. The accounts follow, where Control tells which processes come and go.
func (r *run) carryOut(ctx context.Context, d Disturbance) error {
	teller, tells := r.plan.Control.(Teller)
	if d.Down {
		if tells {
			r.use.leave(d.Who)
		}
		return r.plan.Control.Down(ctx, d.Who)
	}
	if err := r.plan.Control.Up(ctx, d.Who); err != nil || !tells {
		return err
	}
	pids, err := teller.Processes(ctx, d.Who)
	if err != nil {
		return err
	}
	r.use.enter(d.Who, pids)
	return nil
}
