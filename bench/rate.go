package bench

import (
	"context"
	"time"
)

// When a target keeps up with a rate (Scenario Rate).
const (
	// keptUp is the least part of a step's conns that must be done when the step ends.
	keptUp = 0.98
	// keptUpP99 is the most that the 99th percentile of Answer may be, beyond what Plan.Delay makes it.
	keptUpP99 = 250 * time.Millisecond
	// failedSteps in a row end the climb: one may be the machine's hiccup.
	failedSteps = 2
)

// climb takes the steps of Scenario Rate, until the target no longer keeps up.
func (r *run) climb(ctx context.Context) error {
	r.phase = phaseMeasure
	failed := 0
	for _, rate := range r.plan.Steps {
		now := r.clock()
		first := len(r.records)
		r.record(now, r.plan.Duration, true)
		r.pace(now, r.plan.Duration, rate)
		if err := r.stretch(ctx, now+r.plan.Duration); err != nil {
			return err
		}
		r.result.Took += min(r.clock()-now, r.plan.Duration)
		if r.result.Ended != "" {
			return nil
		}
		s := r.judge(rate, r.records[first:])
		r.result.Steps = append(r.result.Steps, s)
		if failed++; s.Sustained {
			failed = 0
		}
		if failed == failedSteps {
			return nil
		}
	}
	return nil
}

// judge looks at a step that is over.
func (r *run) judge(rate float64, records []merging) Step {
	s := Step{Rate: rate}
	var attempts, done int64
	answers := NewHistogram()
	for _, rec := range records {
		for i := range rec.groups {
			g := &rec.groups[i]
			attempts += g.Attempts
			s.Errors += g.Failed()
			answers.Merge(g.Answer)
		}
		for _, t := range rec.timeline { // it ends with the step: what was done later is not in it
			done += t.Done
		}
		// A step's place in time says nothing beside those of the others.
		rec.timeline = nil
	}
	s.Achieved = float64(done) / r.plan.Duration.Seconds()
	p99 := answers.Quantile(0.99)
	s.P99 = p99.Microseconds()
	// What began in the last round trips cannot be done yet.
	due := float64(attempts) * max(0, 1-(10*r.plan.Delay).Seconds()/r.plan.Duration.Seconds())
	s.Sustained = s.Errors == 0 && float64(done) >= keptUp*due && p99 <= keptUpP99+8*r.plan.Delay
	return s
}
