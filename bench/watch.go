package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Watch lets the plan's time pass without any conn, and returns what its watched processes have used meanwhile: what they
// cost when nobody needs them. An error means that nothing was measured, or that ctx was done.
func Watch(ctx context.Context, p Plan) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	res := &Result{Schema: ResultSchema, Plan: p, Host: thisHost()}
	if err := pass(ctx, p.WarmUp); err != nil {
		return nil, err
	}
	u := newUsing(&p)
	if err := u.open(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	res.Start = time.Now()
	err := pass(ctx, p.Duration)
	res.Took = time.Since(res.Start)
	u.then = u.hold()
	if err := errors.Join(err, u.end(res)); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return res, nil
}

// pass waits for a time, or until ctx is done.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
