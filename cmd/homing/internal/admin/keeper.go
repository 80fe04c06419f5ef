package admin

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/task"
)

// keeper looks at the node every second, for what a single request could not know: how conns and traffic went, which
// ticket keys are new, and how much of the tables leads to each backend.
type keeper struct {
	// Static.
	src *Source

	// Atomic.
	asked  atomic.Int64 // when somebody last wanted a census, in Unix nanoseconds
	census atomic.Pointer[counted]
	tables atomic.Pointer[tablesAt]

	// Owned by run.
	keys map[heldBy]bool // nil before the first look

	mu      sync.Mutex
	history history // guarded by mu
}

// counted is a census that is complete.
type counted struct {
	at     time.Time // when it began
	census affinity.Census
}

// tablesAt is how full the tables were at a time.
type tablesAt struct {
	at    time.Time
	stats affinity.Stats
}

const (
	// lookEvery is the time between two looks, task.EverySecond's: rates are never older, and the status page, which asks as
	// often, shows a change within two seconds.
	lookEvery = time.Second

	// sampleEvery is the time between two samples of the history.
	sampleEvery = 2 * time.Second

	// censusEvery is the least time between two censuses: one walks over all tables, in slices of 1 MiB with a pause
	// after each, so that a table of any size takes no more than a part of one CPU and of the memory's bandwidth.
	censusEvery = 4 * time.Second
	censusPause = time.Millisecond

	// censusFor is how long a census is kept up to date after somebody has asked for it.
	censusFor = 15 * time.Second
)

// tablesFor is how long an estimate of how full the tables are is good enough for who asks every second: it reads some
// 10 MiB of them, which takes a few milliseconds and the place of other things in the CPU's cache.
const tablesFor = 4 * time.Second

// tablesLately is how full the tables are, or were a few seconds ago.
func (k *keeper) tablesLately(now time.Time) affinity.Stats {
	if last := k.tables.Load(); last != nil && now.Sub(last.at) < tablesFor {
		return last.stats
	}
	fresh := &tablesAt{now, k.src.Affinity()}
	k.tables.Store(fresh)
	return fresh.stats
}

// known is the last census, nil before the first. The next will be of later.
func (k *keeper) known() *counted {
	k.asked.Store(time.Now().UnixNano())
	return k.census.Load()
}

func (k *keeper) run(ctx context.Context) {
	task.EverySecond(ctx, func(now time.Time) {
		k.look(now)
		k.seeKeys()
		k.countWanted(ctx)
	})
}

// countWanted takes a census when one is wanted and the last is old.
func (k *keeper) countWanted(ctx context.Context) {
	now := time.Now()
	if now.Sub(time.Unix(0, k.asked.Load())) > censusFor {
		return
	}
	if last := k.census.Load(); last != nil && now.Sub(last.at) < censusEvery {
		return
	}
	c := &counted{at: now}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for k.src.Store.Count(&c.census, k.src.Store.Now()) {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(censusPause)
	}
	k.census.Store(c)
}
