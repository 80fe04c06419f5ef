package bound

import (
	"context"
	"sync"
	"time"
)

// Wake tells one goroutine that there is something to look at. It is to be made with room for one.
type Wake chan struct{}

// Up never blocks: who is told already will look anyway.
func (w Wake) Up() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// Pause waits, and says whether ctx still stands.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Attend does what is due, all of it at once, until ctx is done, and waits for what runs then. It looks again after a
// rest: when it is woken, or next has passed.
func Attend[T any](ctx context.Context, wake Wake, do func(T), due func() (some []T, rest, next time.Duration)) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		some, rest, next := due()
		for _, one := range some {
			running.Go(func() { do(one) })
		}
		if !Pause(ctx, rest) {
			return
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-wake:
		}
	}
}
