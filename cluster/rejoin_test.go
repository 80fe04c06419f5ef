package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRejoinDue is a table of who is dialled when. Each row is a world, and the seconds at which its address is dialled
// within 65 s when every dial ends at once.
func TestRejoinDue(t *testing.T) {
	every := func(step, until int) (at []int) {
		for s := 0; s <= until; s += step {
			at = append(at, s)
		}
		return at
	}
	for _, tt := range []struct {
		why  string
		set  func(*rejoin)
		ok   func(second int) bool // whether a dial succeeds
		at   map[int]func(*rejoin) // what happens meanwhile
		want []int
	}{
		{"a seed that never answers", func(*rejoin) {}, func(int) bool { return false }, nil, every(2, 64)},
		{"a seed that answers", func(*rejoin) {}, func(int) bool { return true }, nil, append(every(2, 14), 44)},
		{
			"a seed that comes up after 27 s",
			func(*rejoin) {},
			func(s int) bool { return s >= 27 },
			nil,
			append(every(2, 28), 58),
		},
		{
			"a node that was met is dialled once, to tell it what gossip may have missed",
			func(r *rejoin) { r.met("n", "addr") },
			func(int) bool { return true },
			nil,
			[]int{0, 30, 60},
		},
		{
			"a partition of 60 s, far longer than memberlist remembers",
			func(r *rejoin) { r.met("n", "addr") },
			func(s int) bool { return s >= 61 },
			map[int]func(*rejoin){1: func(r *rejoin) { r.lost("n") }, 62: func(r *rejoin) { r.met("n", "addr") }},
			every(2, 61),
		},
		{
			"a node that there is something to tell",
			func(r *rejoin) { r.met("n", "addr") },
			func(int) bool { return true },
			map[int]func(*rejoin){7: (*rejoin).hurry},
			[]int{0, 7, 37},
		},
		{
			"a node that is missing has no hurry: nobody could be told",
			func(r *rejoin) { r.met("n", "addr"); r.lost("n") },
			func(int) bool { return false },
			map[int]func(*rejoin){7: (*rejoin).hurry},
			every(2, 64),
		},
		{
			"a node that left on purpose is forgotten",
			func(r *rejoin) { r.met("n", "addr") },
			func(int) bool { return true },
			map[int]func(*rejoin){31: func(r *rejoin) { r.left("n") }},
			[]int{0, 30},
		},
		{
			"a node that came back elsewhere",
			func(r *rejoin) { r.met("n", "addr") },
			func(int) bool { return true },
			map[int]func(*rejoin){1: func(r *rejoin) { r.lost("n") }, 10: func(r *rejoin) { r.met("n", "other") }},
			[]int{0, 2, 4, 6, 8},
		},
	} {
		seeds := []string{"addr"}
		if strings.Contains(tt.why, "node") || strings.Contains(tt.why, "partition") {
			seeds = nil
		}
		r := newRejoin(seeds)
		start := time.Unix(1_000_000, 0)
		var got []int
		tt.set(r)
		for s := range 66 {
			if f := tt.at[s]; f != nil {
				f(r)
			}
			now := start.Add(time.Duration(s) * time.Second)
			addrs, next := r.due(now)
			if next <= 0 {
				t.Fatalf("%s: at %d s the next look is in %v", tt.why, s, next)
			}
			for _, addr := range addrs {
				if addr == "addr" {
					got = append(got, s)
				}
				r.done(addr, now, tt.ok(s))
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: dialled at %v, want %v", tt.why, got, tt.want)
		}
	}
}

// TestRejoinSlowDials: a dial that hangs is not repeated meanwhile, and hundreds of them do not run at once.
func TestRejoinSlowDials(t *testing.T) {
	var seeds []string
	for i := range 100 {
		seeds = append(seeds, fmt.Sprintf("seed-%d", i))
	}
	r := newRejoin(seeds)
	now := time.Unix(1_000_000, 0)
	first, _ := r.due(now)
	again, _ := r.due(now.Add(time.Minute))
	if len(first) != maxDials || len(again) != 0 {
		t.Fatalf("%d dials, then %d more; want %d and 0", len(first), len(again), maxDials)
	}
	seen := make(map[string]bool)
	for len(first) > 0 {
		for _, addr := range first {
			seen[addr] = true
			r.done(addr, now, false)
		}
		first, _ = r.due(now.Add(time.Second))
	}
	if len(seen) != len(seeds) {
		t.Errorf("%d of %d seeds had their turn", len(seen), len(seeds))
	}
}

func TestRejoinBounded(t *testing.T) {
	r := newRejoin([]string{"seed"})
	for i := range 2 * maxKnown {
		name := fmt.Sprintf("n%d", i)
		r.met(name, name)
		r.lost(name)
	}
	if len(r.targets) > maxKnown {
		t.Errorf("%d addresses are kept", len(r.targets))
	}
	if r.targets["seed"] == nil {
		t.Error("the seed was forgotten")
	}
}

// TestRejoinRun lets the loop run for two minutes of a clock that is not real.
func TestRejoinRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dials := make(chan time.Duration, 1000)
		start, reachable := time.Now(), make(chan struct{})
		j := &rejoiner{
			now: time.Now, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1),
			plan: newRejoin([]string{"seed"}),
			join: func(string) error {
				dials <- time.Since(start)
				select {
				case <-reachable:
					return nil
				default:
					time.Sleep(500 * time.Millisecond) // of the bubble: a dial that fails takes its time
					return errors.New("no route")
				}
			},
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			j.run(ctx)
		}()
		time.Sleep(60 * time.Second)
		synctest.Wait()
		missing := len(dials)
		close(reachable)
		time.Sleep(60*time.Second + time.Millisecond)
		synctest.Wait()
		present := len(dials) - missing
		cancel()
		<-done
		if missing != 25 || present < 2 || present > 3 { // every 2.5 s, and every 30 s
			t.Errorf("%d dials in the minute without an answer, %d in the one with", missing, present)
		}
	})
}
