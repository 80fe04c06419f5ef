// Package task is the running pieces of a process, and their ends.
package task

import (
	"context"
	"sync"
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
