package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homing/bench/testkit"
)

func TestUsable(t *testing.T) {
	tests := []struct {
		prepare func(p *Pool, b *Backend)
		want    Unusable
		why     string
	}{
		{func(*Pool, *Backend) {}, UsableOK, "a new backend is up"},
		{func(p *Pool, b *Backend) { p.SetUp(b, false, "test") }, UsableDown, "marked down"},
		{func(p *Pool, b *Backend) { p.SetUp(b, false, "test"); p.SetUp(b, true, "test") }, UsableOK, "and up again"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainSoft) }, UsableOK, "softly drained: its own resumptions are admitted"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainHard) }, UsableHardDrained, "hard-drained"},
		{func(_ *Pool, b *Backend) { b.maxConns.Store(3); hold(b, 2) }, UsableOK, "one below its max conns"},
		{func(_ *Pool, b *Backend) { b.maxConns.Store(3); hold(b, 3) }, UsableFull, "at its max conns"},
		{func(_ *Pool, b *Backend) { b.maxConns.Store(3); hold(b, 3); b.Release() }, UsableOK, "a conn ended"},
		{func(p *Pool, _ *Backend) { _ = p.Set(numbered(3)[1:]) }, UsableDown, "removed from the pool"},
	}
	for _, tt := range tests {
		p := newPool(t, Options{}, numbered(3)...)
		b := member(p, 0)
		tt.prepare(p, b)
		if got := p.Snapshot().Usable(b); got != tt.want {
			t.Errorf("%s: Usable = %v, want %v", tt.why, got, tt.want)
		}
	}
	if got := newPool(t, Options{}, numbered(1)...).Snapshot().Usable(nil); got != UsableDown {
		t.Errorf("Usable(nil) = %v, want %v", got, UsableDown)
	}
}

func TestOverloaded(t *testing.T) {
	tests := []struct {
		weights []int
		open    []int
		down    []int
		want    bool // of backend 0
		why     string
	}{
		{[]int{1}, []int{100000}, nil, false, "a single backend is its own mean"},
		{[]int{1, 1, 1}, []int{64, 0, 0}, nil, false, "64 conns are always allowed"},
		{[]int{1, 1, 1}, []int{128, 0, 0}, nil, false, "128 = 64 + 1.5 * 128/3: at the bound"},
		{[]int{1, 1, 1}, []int{129, 0, 0}, nil, true, "just above the bound"},
		{[]int{1, 1, 1}, []int{1000, 1000, 1000}, nil, false, "an even load, however high"},
		{[]int{1, 1, 1}, []int{1500, 1000, 1000}, nil, false, "a quarter above the mean is affinity at work"},
		{[]int{1, 1, 1}, []int{2500, 1000, 1000}, nil, true, "two thirds above the mean is not"},
		{[]int{3, 1}, []int{3000, 1000}, nil, false, "three times the conns for three times the weight"},
		{[]int{1, 3}, []int{3000, 1000}, nil, true, "three times the conns for a third of the weight"},
		{[]int{1, 1, 1}, []int{600, 300, 9000}, []int{2}, false, "600 = below 64 + 1.5 * 900/2"},
		{[]int{1, 1, 1}, []int{800, 100, 9000}, []int{2}, true, "conns on a backend that is down do not raise the mean"},
	}
	for _, tt := range tests {
		p := newPool(t, Options{}, weighted(tt.weights...)...)
		for i, n := range tt.open {
			hold(member(p, i), n)
		}
		for _, i := range tt.down {
			p.SetUp(member(p, i), false, "test")
		}
		if got := p.Snapshot().Usable(member(p, 0)) == UsableOverloaded; got != tt.want {
			t.Errorf("%s: weights %v, open %v: overloaded = %v", tt.why, tt.weights, tt.open, got)
		}
	}
}

func TestPassiveCounting(t *testing.T) {
	tests := []struct {
		fall   int
		events string // f = connect failed, k = connect succeeded, t = timed out, T = timed out while another succeeded, c = check succeeded
		up     bool
		why    string
	}{
		{0, "ff", true, "two failures are not enough"},
		{0, "fff", false, "the default is three in a row"},
		{0, "ffkff", true, "a success between starts the count again"},
		{0, "ffcff", true, "that of a check too"},
		{0, "ffkfff", false, "three after a success"},
		{1, "f", false, "Fall is configurable"},
		{5, "ffff", true, "the other way too"},
		{0, "tft", false, "where nobody comes through, silence is as a refusal"},
		{0, "TTTTTTTTT", true, "where others do, it is load"},
		{0, "ttTtt", true, "and that is a success too"},
	}
	for _, tt := range tests {
		for _, checks := range []bool{false, true} {
			p := newPool(t, Options{Fall: tt.fall, NoChecks: !checks}, numbered(2)...)
			b := member(p, 0)
			for _, event := range tt.events {
				began := b.Reached()
				switch event {
				case 'f':
					p.ConnectFailed(b, "connection refused")
				case 'k':
					p.ConnectOK(b)
				case 'c':
					p.Trust(b)
				case 'T':
					p.ConnectOK(b)
					fallthrough
				case 't':
					p.ConnectTimedOut(b, began)
				}
			}
			up := tt.up || checks // they have the word
			if b.Up() != up || slices.Contains(p.Snapshot().Live(), b) != up {
				t.Errorf("%s: after %q up = %v, %d live; checks: %v", tt.why, tt.events, b.Up(), len(p.Snapshot().Live()), checks)
			}
			if doubted := len(b.Doubted()) > 0; doubted != (checks && !tt.up) {
				t.Errorf("%s: after %q doubted = %v; checks: %v", tt.why, tt.events, doubted, checks)
			}
		}
	}
}

// TestAnnouncements: one log line and one call of each listener for each change, with the reason and, when a backend
// returns, with how long it was down.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		p := newPool(t, Options{NoChecks: true, Log: log.Logger()}, numbered(2)...)
		b := member(p, 0)
		var heard []string
		p.OnChange(func(b *Backend, up bool, why string) {
			heard = append(heard, fmt.Sprintf("%v %v %s %d", b.Addr, up, why, len(p.Snapshot().Live())))
		})
		for range 5 {
			p.ConnectFailed(b, "connection refused")
		}
		time.Sleep(90 * time.Second)
		p.SetUp(b, true, "2 checks in a row succeeded")
		p.SetUp(b, true, "again")
		p.SetUp(b, false, "check: connection refused")
		p.SetUp(b, false, "again")
		wantLog := []string{
			`level=WARN msg="backend down" pool=web backend=10.0.0.1:443 why="3 connects in a row failed, the last: connection refused" live="1 of 2"`,
			`level=INFO msg="backend up" pool=web backend=10.0.0.1:443 why="2 checks in a row succeeded" down_seconds=90 live="2 of 2"`,
			`level=WARN msg="backend down" pool=web backend=10.0.0.1:443 why="check: connection refused" live="1 of 2"`,
		}
		if got := log.Take(); !slices.Equal(got, wantLog) {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(wantLog, "\n"))
		}
		want := []string{
			"10.0.0.1:443 false 3 connects in a row failed, the last: connection refused 1",
			"10.0.0.1:443 true 2 checks in a row succeeded 2",
			"10.0.0.1:443 false check: connection refused 1",
		}
		if !slices.Equal(heard, want) {
			t.Errorf("listeners heard %q, want %q", heard, want)
		}
	})
}

func TestLastDown(t *testing.T) {
	p := newPool(t, Options{}, numbered(3)...)
	a, b, c := member(p, 0), member(p, 1), member(p, 2)
	check := func(want *Backend, why string) {
		t.Helper()
		if got := p.Snapshot().LastDown(); got != want {
			t.Errorf("%s: LastDown = %v, want %v", why, got, want)
		}
	}
	check(nil, "all are up")
	p.SetUp(c, false, "test")
	p.SetUp(a, false, "test")
	check(nil, "one is live")
	p.SetUp(b, false, "test")
	check(b, "the last to be marked")
	p.SetUp(c, true, "test")
	check(nil, "one came back")
	p.SetUp(c, false, "test")
	check(c, "and went down again")
	p.SetDraining(c, DrainSoft)
	check(b, "a softly drained one comes last")
	p.SetDraining(b, DrainHard)
	p.SetDraining(a, DrainHard)
	check(c, "hard-drained ones never come")
	p.SetDraining(c, DrainHard)
	check(nil, "nothing to try")
}

// TestHalfOpen: without active checks a backend that is down is tried again after RetryAfter, by one conn at a time.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		p := newPool(t, Options{NoChecks: true, Log: log.Logger()}, numbered(2)...)
		defer run(p)()
		b := member(p, 0)
		for range 3 {
			p.ConnectFailed(b, "connection refused")
		}
		expect := func(want Unusable, why string) {
			t.Helper()
			synctest.Wait()
			if got := p.Snapshot().Usable(b); got != want {
				t.Errorf("%s: Usable = %v, want %v", why, got, want)
			}
		}
		expect(UsableDown, "just marked down")
		time.Sleep(9 * time.Second)
		expect(UsableDown, "9 s later")
		time.Sleep(2 * time.Second)
		expect(UsableOK, "11 s later it is on trial")
		if b.Up() || !slices.Contains(p.Snapshot().Live(), b) {
			t.Error("on trial a backend is live, but not up")
		}
		b.Acquire()
		expect(UsableFull, "one conn tries it")
		b.Release()
		expect(UsableOK, "that conn ended without an outcome")
		b.Acquire()
		p.ConnectFailed(b, "connection refused")
		b.Release()
		expect(UsableDown, "the trial failed at the first connect")
		time.Sleep(9 * time.Second)
		expect(UsableDown, "it waits again")
		time.Sleep(2 * time.Second)
		b.Acquire()
		p.ConnectOK(b)
		expect(UsableOK, "the trial succeeded")
		b.Acquire()
		expect(UsableOK, "and more than one conn may come")
		want := []string{
			`level=WARN msg="backend down" pool=web backend=10.0.0.1:443 why="3 connects in a row failed, the last: connection refused" live="1 of 2"`,
			`level=INFO msg="backend up" pool=web backend=10.0.0.1:443 why="a connect succeeded" down_seconds=22 live="2 of 2"`,
		}
		if got := log.Take(); !slices.Equal(got, want) {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestLoopsDoNotWait: while Run runs, ConnectFailed only marks; pickers see it, and Run builds the tables.
func TestLoopsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, Options{NoChecks: true}, numbered(2)...)
		defer run(p)()
		b, before := member(p, 0), p.Snapshot()
		p.mu.Lock() // a slow listener or a build in progress
		for range 3 {
			p.ConnectFailed(b, "connection refused")
		}
		if p.Snapshot() != before || before.Usable(b) != UsableDown || before.Fresh(RoundRobin, 0, Skip{}) == b {
			t.Error("the old snapshot must stand and pass the backend over")
		}
		p.mu.Unlock()
		synctest.Wait()
		if len(p.Snapshot().Live()) != 1 {
			t.Error("Run did not build the new snapshot")
		}
	})
}

// run starts Run and returns what ends it. For use in a synctest bubble.
func run(p *Pool) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go p.Run(ctx)
	synctest.Wait()
	return func() {
		cancel()
		synctest.Wait()
	}
}

// TestConcurrency has loops picking and reporting while operators mark, drain and replace. It is for the race
// detector; afterwards no conn is counted.
func TestConcurrency(t *testing.T) {
	p := newPool(t, Options{NoChecks: true, RetryAfter: time.Millisecond}, numbered(6)...)
	ctx, cancel := context.WithCancel(context.Background())
	var operators, loops sync.WaitGroup
	operators.Go(func() { p.Run(ctx) })
	operators.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			b := member(p, i%len(p.Snapshot().All()))
			p.SetUp(b, i%3 == 0, "test")
			p.SetDraining(b, Drain(i%3))
			if err := p.Set(numbered(3 + i%4)); err != nil {
				t.Error(err)
			}
		}
	})
	for loop := range 3 {
		loops.Go(func() {
			for i := range 2000 {
				s := p.Snapshot()
				b := s.Fresh(Policy(i%3), mix(uint64(i)), Skip{})
				if b == nil {
					if b = s.LastDown(); b == nil {
						continue
					}
				}
				b.Acquire()
				if (i+loop)%5 < 3 {
					p.ConnectFailed(b, "connection refused")
				} else {
					p.ConnectOK(b)
				}
				s.MaglevOf(mix(uint64(i)), []uint32{uint32(b.ID)}, skipping(b))
				b.Release()
			}
		})
	}
	loops.Wait()
	cancel()
	operators.Wait()
	if n := p.open.Load(); n != 0 {
		t.Errorf("%d conns are still counted", n)
	}
}
