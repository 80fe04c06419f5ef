package main

import (
	"context"
	"sync"
)

// task is goroutines that end together.
type task struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// startTask runs each function on a goroutine of its own, until ctx is done or the task is stopped.
func startTask(ctx context.Context, run ...func(context.Context)) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel}
	for _, f := range run {
		t.ended.Go(func() { f(ctx) })
	}
	return t
}

// stop ends the functions, and returns when they have returned. A task that is nil was never started.
func (t *task) stop() {
	if t == nil {
		return
	}
	t.cancel()
	t.ended.Wait()
}
