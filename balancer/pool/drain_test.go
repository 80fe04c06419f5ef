package pool

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// running starts Run until the test is over.
func running(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestDrainTakesNoFresh: from the moment that Drain has returned, whoever holds whatever snapshot picks another.
func TestDrainTakesNoFresh(t *testing.T) {
	for _, mode := range []Drain{DrainSoft, DrainHard} {
		p := newPool(t, Options{}, numbered(3)...)
		before := p.Snapshot()
		b := member(p, 1)
		if err := p.Drain(b, DrainPlan{Mode: mode, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*Snapshot{"the snapshot of before": before, "that of now": p.Snapshot()} {
			for i := range uint64(300) {
				for _, policy := range []Policy{RoundRobin, LeastConn, ClientHash} {
					if s.Fresh(policy, i, Skip{}) == b {
						t.Fatalf("%s: %s, %s: a fresh handshake went to the drained backend", mode, name, policy)
					}
				}
			}
			if got, want := s.Usable(b) == UsableOK, mode == DrainSoft; got != want {
				t.Errorf("%s: %s: usable for its own: %t", mode, name, got)
			}
		}
	}
}

func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		p := newPool(t, Options{Log: log.Logger()}, numbered(3)...)
		running(t, p)
		b := member(p, 0)
		hold(b, 2)
		start := time.Now()
		if err := p.Drain(b, DrainPlan{Mode: DrainSoft, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Millisecond)
		synctest.Wait()
		if p.Snapshot().Usable(b) != UsableOK {
			t.Error("its own resumptions are refused before the time is over")
		}
		if got, want := p.DrainStatus(b), (DrainStatus{DrainSoft, start, start.Add(time.Hour)}); got != want {
			t.Errorf("status %v, want %v", got, want)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if p.Snapshot().Usable(b) != UsableHardDrained {
			t.Error("it still gets its own resumptions when the time is over")
		}
		if got, want := p.DrainStatus(b), (DrainStatus{DrainHard, start, start.Add(time.Hour)}); got != want {
			t.Errorf("status %v, want %v", got, want)
		}
		b.Release()
		time.Sleep(time.Minute)
		lines := log.Take()
		if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "backend drained") }) {
			t.Errorf("it is said to be drained with a conn open: %q", lines)
		}
		b.Release()
		time.Sleep(2 * drainLook)
		synctest.Wait()
		if diff := cmp.Diff([]string{`level=INFO msg="backend drained" pool=web backend=10.0.0.1:443 took_seconds=3661`}, log.Take()); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
		if more := log.Take(); more != nil {
			t.Errorf("and again: %q", more)
		}

		p.SetDraining(b, DrainOff)
		if p.Snapshot().Usable(b) != UsableOK || p.DrainStatus(b) != (DrainStatus{}) || !slices.Contains(p.Snapshot().Live(), b) {
			t.Error("it is not back in service")
		}
	})
}

// TestDrainAgain: a second word counts, and does not begin the drain anew.
func TestDrainAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, Options{}, numbered(2)...)
		running(t, p)
		b := member(p, 0)
		drain := func(mode Drain, d time.Duration) {
			t.Helper()
			if err := p.Drain(b, DrainPlan{Mode: mode, For: d}); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		drain(DrainSoft, time.Hour)
		time.Sleep(time.Minute)
		drain(DrainSoft, time.Minute)
		if got, want := p.DrainStatus(b), (DrainStatus{DrainSoft, start, start.Add(2 * time.Minute)}); got != want {
			t.Errorf("shortened: %v, want %v", got, want)
		}
		p.SetDraining(b, DrainSoft) // the same word of an agent changes nothing
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.Draining() != DrainHard {
			t.Error("the shorter time did not count")
		}
		drain(DrainSoft, 0)
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if b.Draining() != DrainSoft {
			t.Error("a drain without an end ended")
		}
		for _, d := range []time.Duration{-1, MaxDrain + 1} {
			if p.Drain(b, DrainPlan{Mode: DrainSoft, For: d}) == nil {
				t.Errorf("a drain of %s was taken", d)
			}
		}
	})
}

// TestDrainOutlastsAddress: an address that leaves the DNS for a while comes back as it went; one that was not drained
// is a new backend.
func TestDrainOutlastsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, Options{}, numbered(3)...)
		running(t, p)
		soft, plain := member(p, 0), member(p, 1)
		if err := p.Drain(soft, DrainPlan{Mode: DrainSoft, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		set := func(specs []Spec) {
			t.Helper()
			if err := p.Set(specs); err != nil {
				t.Fatal(err)
			}
		}
		set(numbered(3)[2:])
		if err := p.Drain(soft, DrainPlan{Mode: DrainHard}); err == nil {
			t.Error("a backend that is not in the pool was drained")
		}
		time.Sleep(2 * time.Hour)
		set(numbered(3))
		synctest.Wait()
		if b := member(p, 0); b != soft || b.Draining() != DrainHard {
			t.Errorf("back with mode %s, want hard: its time passed while it was away", b.Draining())
		}
		if b := member(p, 1); b == plain {
			t.Error("a backend without conns or drain was kept")
		}
		set(numbered(3)[2:])
		time.Sleep(drainKept)
		set(numbered(3)[1:]) // looks at who is kept
		set(numbered(3))
		if b := member(p, 0); b == soft || b.Draining() != DrainOff {
			t.Error("a drain is kept for ever")
		}
	})
}

func TestDrainText(t *testing.T) {
	for mode := DrainOff; mode <= DrainHard; mode++ {
		text, err := json.Marshal(mode)
		var back Drain
		if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil || back != mode {
			t.Errorf("%s: %s, %v, %v", mode, text, back, err)
		}
	}
	if err := new(Drain).UnmarshalText([]byte("gentle")); err == nil {
		t.Error("gentle was read")
	}
}

func TestSetWeight(t *testing.T) {
	p := newPool(t, Options{}, weighted(1, 2, 3)...)
	b := member(p, 0)
	set := func(weight, want int) {
		t.Helper()
		if err := p.SetWeight(b, weight); err != nil || b.Weight() != want {
			t.Errorf("SetWeight(%d): %d, %v, want %d", weight, b.Weight(), err, want)
		}
	}
	set(1000, 1000)
	counts := map[*Backend]int{}
	for range 1005 {
		counts[p.Snapshot().Fresh(RoundRobin, 0, Skip{})]++
	}
	if counts[b] != 1000 {
		t.Errorf("of 1005 fresh handshakes it got %d", counts[b])
	}
	p.apply(p.static) // as names are resolved again
	if b.Weight() != 1000 {
		t.Error("another look at the names took it back")
	}
	set(0, 1)
	set(7, 7)
	for _, wrong := range []int{-1, MaxWeight + 1} {
		if p.SetWeight(b, wrong) == nil || b.Weight() != 7 {
			t.Errorf("weight %d was taken", wrong)
		}
	}
	if err := p.Set(weighted(4, 2, 3)); err != nil || b.Weight() != 4 {
		t.Errorf("new specs: weight %d, %v", b.Weight(), err)
	}
	if err := errors.Join(p.Set(weighted(4, 2, 3)[1:])); err != nil || p.SetWeight(b, 3) == nil {
		t.Error("a backend that is not in the pool got a weight")
	}
}

// TestStateRoundTrip: what one process knows, the next does, through JSON.
func TestStateRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newPool(t, Options{}, numbered(6)...)
		running(t, old)
		for i, plan := range []DrainPlan{{Mode: DrainSoft, For: time.Hour}, {Mode: DrainSoft, For: 3 * time.Hour}, {Mode: DrainHard}} {
			if err := old.Drain(member(old, i), plan); err != nil {
				t.Fatal(err)
			}
		}
		old.SetUp(member(old, 3), false, "test")
		if err := old.SetWeight(member(old, 4), 9); err != nil {
			t.Fatal(err)
		}
		wire, err := json.Marshal(old.Export())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // the new process takes its time

		var state State
		if err := json.Unmarshal(wire, &state); err != nil {
			t.Fatal(err)
		}
		if len(state.Backends) != 5 {
			t.Errorf("%d backends are told of, want 5: %s", len(state.Backends), wire)
		}
		state.Backends = append(state.Backends,
			BackendState{Addr: netaddr.MustParse("192.0.2.99:443"), Drain: DrainHard, Down: true},
			BackendState{Addr: member(old, 5).Addr, Drain: 77, Weight: -3})
		p := newPool(t, Options{}, numbered(6)...)
		p.Import(state)
		running(t, p)
		synctest.Wait()
		var got []string
		for _, b := range p.Snapshot().All() {
			got = append(got, b.Draining().String())
		}
		if diff := cmp.Diff([]string{"hard", "soft", "hard", "off", "off", "off"}, got); diff != "" {
			t.Errorf("drains (-want +got):\n%s", diff)
		}
		for i := range 3 {
			was, is := old.DrainStatus(member(old, i)), p.DrainStatus(member(p, i))
			was.Mode = is.Mode // the old process has not lived to see the end
			if diff := cmp.Diff(was, is, cmpopts.EquateApproxTime(0)); diff != "" {
				t.Errorf("backend %d (-old +new):\n%s", i, diff)
			}
		}
		if member(p, 3).Up() || !member(p, 2).Up() || !member(p, 5).Up() {
			t.Error("down is not where it was")
		}
		if w := member(p, 4).Weight(); w != 9 {
			t.Errorf("weight %d, want 9", w)
		}
		p.SetUp(member(p, 3), true, "a check succeeded")
		if !member(p, 3).Up() {
			t.Error("a check does not bring it back")
		}
	})
}
