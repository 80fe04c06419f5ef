package bench

import (
	"context"
	"errors"
	"sync"
	"time"
)

// spin lets all loops run, watches them, and returns when they stand still again.
func (r *run) spin(ctx context.Context, until time.Duration, drain bool) error {
	errs := make([]error, len(r.loops))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i, l := range r.loops {
		wg.Go(func() { errs[i] = l.run(until, drain) })
	}
	go func() { wg.Wait(); close(done) }()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	var w watchdog
	for {
		select {
		case <-done:
			for _, l := range r.loops {
				l.stop.Store(false)
			}
			r.tell()
			return errors.Join(errs...)
		case <-ctx.Done():
			r.end("interrupted")
			ctx = context.WithoutCancel(ctx)
		case <-ticker.C:
			p := r.now()
			r.progress(p)
			if why := w.look(r, &p); why != "" {
				r.end(why)
			}
		}
	}
}

// end has the loops stop where they are.
func (r *run) end(why string) {
	if r.result.Ended == "" {
		r.result.Ended = why
	}
	for _, l := range r.loops {
		l.stop.Store(true)
		l.poller.Wake()
	}
}

func (r *run) tell() { r.progress(r.now()) }

func (r *run) now() Progress {
	p := Progress{Phase: r.phase, Elapsed: r.clock(), Expected: r.expected}
	for _, l := range r.loops {
		p.Begun += l.stats.begun.Load()
		p.Done += l.stats.done.Load()
		p.Failed += l.stats.failed.Load()
		p.Accepted += l.stats.accepted.Load()
		p.Refused += l.stats.refused.Load()
		p.Held += l.stats.held.Load()
		if f := l.stats.newest.Load(); f != nil {
			p.Newest = f.err
		}
	}
	return p
}
