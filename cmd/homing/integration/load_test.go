package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"homing/bench/testkit"
)

// load is clients that come back again and again, each with the session of the time before, until end.
type load struct {
	addr   string
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu     sync.Mutex
	seen   tally    // guarded by mu
	failed []string // guarded by mu: conns that failed, at most 20 of them in words
	errors int      // guarded by mu
	lost   []string // guarded by mu: offers that were refused, likewise
}

// startLoad lets each of these lists of users be a stream of conns to addr, one after another. Each user connects once
// before, which gives it a session and is not counted.
func startLoad(t *testing.T, addr string, lists ...[]user) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{addr: addr, cancel: cancel}
	for i, list := range lists {
		l.ended.Go(func() {
			for ctx.Err() == nil {
				l.get(i, list[rand.IntN(len(list))])
			}
		})
	}
	t.Cleanup(func() {
		l.cancel()
		l.ended.Wait()
	})
	return l
}

// get is one conn. It is never broken off: what fails is not ours.
func (l *load) get(stream int, u user) {
	began := time.Now()
	r, err := u.Get(context.Background(), l.addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if l.errors++; len(l.failed) < 20 {
			l.failed = append(l.failed, fmt.Sprintf("%s: stream %d: %v", began.Format(time.StampMilli), stream, err))
		}
		return
	}
	l.seen.add(r)
	if r.Offered && !r.Resumed && len(l.lost) < 20 {
		l.lost = append(l.lost, fmt.Sprintf("%s: stream %d: at backend %s", began.Format(time.StampMilli), stream, r.Backend))
	}
}

// more waits until so many more conns have come to their end.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.seen.conns + l.errors
	}
	goal := count() + n
	if !testkit.Wait(testkit.Patience, func() bool { return count() >= goal }) {
		t.Errorf("the clients stand still at %d conns", count())
	}
}

// forget begins the count anew.
func (l *load) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.failed, l.errors, l.lost = tally{}, nil, 0, nil
}

// end ends the load and fails the test for every conn that failed and every offer that was refused.
func (l *load) end(t *testing.T) tally {
	t.Helper()
	l.cancel()
	l.ended.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.errors > 0 {
		t.Errorf("%d conns failed, such as %q", l.errors, l.failed)
	}
	if l.seen.refused() > 0 {
		t.Errorf("%d offers were refused, such as %q", l.seen.refused(), l.lost)
	}
	if l.seen.offered != l.seen.conns {
		t.Errorf("%d of %d conns offered to resume", l.seen.offered, l.seen.conns)
	}
	return l.seen
}
