// Package task is the running pieces of a process, and their ends.
package task

import (
	"context"
	"sync"
	"time"
)

// Task is goroutines that end together.
type Task struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// Start runs each function on a goroutine of its own, until ctx is done or the task is stopped.
func Start(ctx context.Context, run ...func(context.Context)) *Task {
	ctx, cancel := context.WithCancel(ctx)
	t := &Task{cancel: cancel}
	for _, f := range run {
		t.ended.Go(func() { f(ctx) })
	}
	return t
}

// Stop ends the functions, and returns when they have returned. A task that is nil was never started.
func (t *Task) Stop() {
	if t == nil {
		return
	}
	t.cancel()
	t.ended.Wait()
}

// EverySecond calls look at once and then on every whole second until ctx is done. Whole seconds are when the tables' owner
// looks too (package affinity): an idle process wakes once for all of them.
func EverySecond(ctx context.Context, look func(now time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			timer.Reset(now.Round(time.Second).Add(time.Second).Sub(now)) // never two for one second
			look(now)
		}
	}
}
