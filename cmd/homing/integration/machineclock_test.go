package integration

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"homing/bench/testkit"
)

// machineClock tells how long something took on a machine that has others to serve, too: it stands still while the
// threads of the test and of all that it started wait for a processor that others have. A bound on what homing takes is a
// bound on this clock. On a machine that nobody else uses it goes as the wall's does, however busy the test itself is.
type machineClock struct {
	fs procfs.FS

	mu     sync.Mutex
	looks  []look                     // guarded by mu
	waited map[int]uint64             // guarded by mu: by thread, nanoseconds
	cpu    struct{ all, own float64 } // guarded by mu: seconds
}

// look is one look at the machine: how late it has been since the first.
type look struct {
	at   time.Time
	late time.Duration
}

const (
	// lookEvery is a compromise: a look reads some hundred files.
	lookEvery = 200 * time.Millisecond
	// mostLate is the part of any time by which the machine can be late at most, so that every wait ends.
	mostLate = 0.9
)

// watchMachine starts a clock. It runs until the test ends, and says how late the machine was where the test has failed.
func watchMachine(tb testing.TB) *machineClock {
	tb.Helper()
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		tb.Fatal(err)
	}
	c := &machineClock{fs: fs}
	if err := c.look(); err != nil {
		tb.Fatal(err)
	}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(lookEvery); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if err := c.look(); err != nil {
				tb.Error(err)
				return
			}
		}
	})
	tb.Cleanup(func() {
		close(stop)
		watching.Wait()
		if first, last := c.looks[0], c.looks[len(c.looks)-1]; tb.Failed() {
			tb.Logf("the machine was late by %v in %v", last.late.Round(time.Millisecond), last.at.Sub(first.at).Round(time.Millisecond))
		}
	})
	return c
}

// stretch is a time that something took.
type stretch struct{ begin, end time.Time }

// since is how long ago begin was.
func (c *machineClock) since(begin time.Time) time.Duration {
	return c.took(stretch{begin, time.Now()})
}

// took is how long the stretch was; it has ended.
func (c *machineClock) took(s stretch) time.Duration {
	c.mu.Lock()
	old := s.end.After(c.looks[len(c.looks)-1].at)
	c.mu.Unlock()
	if old {
		_ = c.look() // without it, the machine counts as having been in time since the last
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.end.Sub(s.begin) - (c.lateAt(s.end) - c.lateAt(s.begin))
}

// spoiled says that it was the machine by which the stretch reached the limit.
func (c *machineClock) spoiled(s stretch, limit time.Duration) bool {
	return s.end.Sub(s.begin) >= limit && c.took(s) < limit
}

// longest is how long the longest of them took.
func (c *machineClock) longest(list []stretch) (most time.Duration) {
	for _, one := range list {
		most = max(most, c.took(one))
	}
	return most
}

// wait waits until a condition holds, or until the limit is over, and says whether it held.
func (c *machineClock) wait(limit time.Duration, cond func() bool) bool {
	begin := time.Now()
	for !testkit.Wait(min(limit, lookEvery), cond) {
		if time.Since(begin) > limit && c.since(begin) > limit {
			return false
		}
	}
	return true
}

// lateAt is how late the machine has been until t. Between two looks it was as late as ever in that time.
func (c *machineClock) lateAt(t time.Time) time.Duration {
	i, _ := slices.BinarySearchFunc(c.looks, t, func(l look, t time.Time) int { return l.at.Compare(t) })
	switch i {
	case 0:
		return 0
	case len(c.looks):
		return c.looks[i-1].late
	}
	before, after := c.looks[i-1], c.looks[i]
	part := float64(t.Sub(before.at)) / float64(after.at.Sub(before.at))
	return before.late + time.Duration(part*float64(after.late-before.late))
}

// look adds to how late the machine has been what the threads of the test and of its descendants have waited for a
// processor since the last look, in series, for they wait for each other; but only the part that others have had of all
// that was computed, and no longer than it was.
func (c *machineClock) look() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	family, own, err := c.family()
	if err != nil {
		return err
	}
	machine, err := c.fs.Stat()
	if err != nil {
		return err
	}
	// Without interrupts, which are those of the test's own packets as well.
	total := machine.CPUTotal
	all := total.User + total.Nice + total.System + total.Steal
	waited, wait := map[int]uint64{}, uint64(0)
	for _, pid := range family {
		threads, err := c.fs.AllThreads(pid)
		if err != nil {
			continue // it has ended
		}
		for _, thread := range threads {
			s, err := thread.Schedstat()
			if err != nil {
				continue // likewise
			}
			waited[thread.PID] = s.WaitingNanoseconds
			wait += s.WaitingNanoseconds - min(s.WaitingNanoseconds, c.waited[thread.PID])
		}
	}
	next := look{at: at}
	if len(c.looks) > 0 {
		last := c.looks[len(c.looks)-1]
		others := 0.0
		if used := all - c.cpu.all; used > 0 {
			others = min(mostLate, max(0, 1-(own-c.cpu.own)/used))
		}
		next.late = last.late + time.Duration(others*float64(min(at.Sub(last.at), time.Duration(wait))))
	}
	c.looks, c.waited, c.cpu.all, c.cpu.own = append(c.looks, next), waited, all, own
	return nil
}

// family is this process and its descendants, and the seconds that they, and those of them that have ended, have
// computed.
func (c *machineClock) family() (pids []int, seconds float64, err error) {
	all, err := c.fs.AllProcs()
	if err != nil {
		return nil, 0, err
	}
	stats, children := map[int]procfs.ProcStat{}, map[int][]int{}
	for _, p := range all {
		s, err := p.Stat()
		if err != nil {
			continue // it has ended
		}
		stats[p.PID] = s
		children[s.PPID] = append(children[s.PPID], p.PID)
	}
	pids = []int{os.Getpid()}
	for i := 0; i < len(pids); i++ {
		s, ok := stats[pids[i]]
		if !ok {
			return nil, 0, fmt.Errorf("process %d is not in /proc", pids[i])
		}
		// Those whose end was waited for are in the last two; a clock tick is 10 ms (USER_HZ, proc(5)).
		seconds += float64(s.UTime+s.STime) / 100
		seconds += float64(s.CUTime+s.CSTime) / 100
		pids = append(pids, children[pids[i]]...)
	}
	return pids, seconds, nil
}
