package compare

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

func TestArmsTakeTurns(t *testing.T) {
	var plans []bench.Plan
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		plans = append(plans, p)
		return good(p), nil
	})
	o.Scenarios, o.Rounds = []string{report.Second}, 3
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := arms(&r.Tests[0]); got != "direct/1:1 direct:3" {
		t.Errorf("arms %s", got)
	}
	if got := order(plans); got != "1 3 3 1 1 3" { // each round begins with another arm

		t.Errorf("targets by round: %s", got)
	}
	for i, p := range plans {
		if len(p.Watch) != len(p.Targets) || p.Watch[0].Role != "backend" {
			t.Errorf("round %d watches %v for %d backends", i, p.Watch, len(p.Targets))
		}
	}
	for _, a := range r.Tests[0].Arms {
		if len(a.Rounds) != 3 || a.Tally.Done != 30 || a.Failed != "" {
			t.Errorf("%s: %d rounds, %d conns, %q", a.Key, len(a.Rounds), a.Tally.Done, a.Failed)
		}
	}
	if r.Host.Kernel != "6.1" || r.Backends != "pretended servers" || r.Took <= 0 || r.Ended != "" {
		t.Errorf("report %+v", r)
	}
}

// Steady offers one backend what it offers all of them together.
func TestSteadyOffersOneAsMuchAsSeveral(t *testing.T) {
	got := map[int][2]float64{}
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		got[len(p.Targets)] = [2]float64{float64(p.Clients), p.Rate}
		return good(p), nil
	})
	o.Scenarios, o.Rate, o.Clients = []string{report.Steady}, 70, 20
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := [2]float64{20, 70}; got[1] != want || got[3] != want || arms(&r.Tests[0]) != "direct/1:1 direct:3" {
		t.Errorf("clients and rates by backends: %v, arms %s", got, arms(&r.Tests[0]))
	}
}

// One balancer that does not start costs its own column, and nobody else's.
func TestABalancerThatDoesNotStart(t *testing.T) {
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) { return good(p), nil })
	o.Balancers = pick(t, balancers.Direct, balancers.Homing)
	for _, scenario := range []string{string(bench.Resume), string(bench.Churn)} {
		o.Scenarios = []string{scenario}
		r, err := Run(t.Context(), o)
		if scenario == string(bench.Churn) {
			if err == nil || !strings.HasPrefix(err.Error(), "nothing could be measured") {
				t.Errorf("churn goes through balancers alone: %v", err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		a := r.Tests[0].Arm(balancers.Homing)
		const want = "homing: homing ended before it was ready: homing: it is not made for this: take another"
		if a == nil || a.Failed != want || len(a.Rounds) != 5 || slices.ContainsFunc(a.Rounds, func(r *report.Round) bool { return r != nil }) {
			t.Errorf("%s: %+v", scenario, a)
		}
		if d := r.Tests[0].Arm(balancers.Direct); d != nil && (len(d.Rounds) != 5 || d.Rounds[2] == nil) {
			t.Errorf("%s: direct has %+v", scenario, d)
		}
	}
}

// A round that fails is missing; those before and after it stay where they were.
func TestARoundThatFails(t *testing.T) {
	n := 0
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		switch n++; n {
		case 2:
			return nil, errors.New("bench: target 127.0.0.1:2000: connection refused")
		case 3:
			r := good(p)
			r.Ended = "nothing went on any more"
			return r, nil
		default:
			return good(p), nil
		}
	})
	o.Rounds = 4
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Tests[0].Arms[0]
	if len(a.Rounds) != 4 || a.Rounds[0] == nil || a.Rounds[1] != nil || a.Rounds[2] != nil || a.Rounds[3] == nil || a.Tally.Done != 20 {
		t.Errorf("rounds %v, %d conns", a.Rounds, a.Tally.Done)
	}
	if a.Failed != "nothing went on any more" {
		t.Errorf("failed: %q", a.Failed)
	}
}

func TestAnInterruptKeepsWhatThereIs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		if n++; n == 6 {
			cancel(errors.New("interrupted"))
			r := good(p)
			r.Ended = "interrupted"
			return r, nil
		}
		return good(p), nil
	})
	o.Kinds = []bench.Kind{bench.ID, bench.Ticket, bench.PSK}
	r, err := Run(ctx, o)
	if err == nil || err.Error() != "interrupted" || r == nil || r.Ended != "interrupted" {
		t.Fatalf("%v, %+v", err, r)
	}
	if len(r.Tests) != 2 || len(r.Tests[0].Arms[0].Rounds) != 5 || len(r.Tests[1].Arms[0].Rounds) != 0 {
		t.Errorf("tests %+v", r.Tests)
	}
}

func TestWarningsAreFolded(t *testing.T) {
	n := 0
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		n++
		r := good(p)
		r.Warnings = []string{
			"The clients took 12" + strings.Repeat("3", n) + "us of CPU per conn and the backend backend1 9ms.",
			"This was a closed loop: no conn began before the last one.",
		}
		return r, nil
	})
	o.Scenarios = []string{string(bench.Resume), report.Second}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"The clients took 123us of CPU per conn and the backend backend1 9ms (so in 15 of 15 rounds)",
		"This was a closed loop: no conn began before the last one (so in 5 of 15 rounds)", // that of second is no surprise
	}
	if !slices.Equal(r.Warnings, want) {
		t.Errorf("%q, want %q", r.Warnings, want)
	}
}

// What a round that ended before its time has left down is up again for the next one.
func TestBackendsAreRestored(t *testing.T) {
	s := &servers{n: 3}
	c := &control{backends: s, down: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	for _, step := range []func() error{
		func() error { return c.Down(ctx, "backend2") },
		func() error { return c.Up(ctx, "backend2") },
		func() error { return c.Down(ctx, "backend3") },
		func() error { cancel(); return c.restore(ctx) },
		func() error { return c.restore(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"down backend2", "up backend2", "down backend3", "up backend3"}; !slices.Equal(s.did, want) {
		t.Errorf("did %q, want %q", s.did, want)
	}
	s.fail = map[string]bool{"up backend1": true}
	if err := errors.Join(c.Down(ctx, "backend1"), c.restore(ctx)); err == nil || err.Error() != "backend1 does not come up" {
		t.Errorf("a backend that stays down: %v", err)
	}
}

// The accounts of a test that kills and starts follow backends and nodes by their names.
func TestControlTellsProcesses(t *testing.T) {
	s := &servers{n: 3}
	o := options(t, nil)
	running, err := o.Kit.Start(t.Context(), pick(t, balancers.Direct)[0], balancers.Setup{Backends: s.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	c := &control{backends: s, balancer: running, down: map[string]bool{}}
	if pids, err := c.Processes(t.Context(), "backend2"); err != nil || !slices.Equal(pids, []int{len("backend2")}) {
		t.Errorf("backend2 has %v, %v", pids, err)
	}
	for i := range 3 {
		if n, ok := nodeNumber(nodeName(i)); !ok || n != i {
			t.Errorf("%s has the number %d, %v", nodeName(i), n, ok)
		}
	}
	for _, who := range []string{"node", "node0", "nodes", "backend1", "node1000000"} {
		if n, ok := nodeNumber(who); ok {
			t.Errorf("%s is node %d", who, n)
		}
	}
}

func TestProgressAddsUp(t *testing.T) {
	var seen []Progress
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) { return good(p), nil })
	o.Scenarios = []string{string(bench.Resume), string(bench.Rate)}
	o.Progress = func(p Progress) { seen = append(seen, p) }
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	last := time.Duration(-1)
	for _, p := range seen {
		if p.Done < last || p.Done+p.Next > p.Total || p.Next <= 0 || p.What == "" {
			t.Errorf("%+v after %v", p, last)
		}
		last = p.Done
	}
	if end := seen[len(seen)-1]; end.Done+end.Next != end.Total || end.Total != seen[0].Total {
		t.Errorf("ends with %+v, began with %+v", end, seen[0])
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"scenario", func(o *Options) { o.Scenarios = []string{"speed"} }, `scenario: "speed" is none of resume, second, steady, distance, low, rate, bulk, idle, churn, failover, fragment, slow`},
		{"kind", func(o *Options) { o.Kinds = []bench.Kind{"tls"} }, `kind: "tls" is none of full12, full13, id, ticket, psk, 0rtt`},
		{"sources", func(o *Options) { o.Sources = []bench.Sources{"kernel"} }, `sources: "kernel" is none of own, roam, shared`},
		{"rounds", func(o *Options) { o.Rounds = 1001 }, "rounds: 1001 is not between 1 and 1000"},
		{"fewer than none", func(o *Options) { o.Rounds = -1 }, "rounds: -1 is not between 1 and 1000"},
		{"nothing to compare", func(o *Options) { o.Balancers = nil }, "through: there is nothing to compare: name balancers that are installed"},
		{"no backends", func(o *Options) { o.Backends = &servers{} }, "backends: there is none"},
		{"what bench refuses", func(o *Options) { o.Rate = -5 }, "resume/psk/own: bench: rate: -5 conns per second is not between 0 and 1000000"},
	} {
		o := options(t, nil)
		c.change(&o)
		if r, err := Run(t.Context(), o); err == nil || err.Error() != c.want || r != nil {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// Every scenario makes plans that bench takes, with the kind that is asked for and no other.
func TestPlansOfEveryScenario(t *testing.T) {
	o := options(t, nil)
	o.Scenarios, o.Kinds, o.Sources = Scenarios(), bench.Kinds(), sources()
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, test := range o.tests() {
		if keys[test.Key] {
			t.Errorf("%s is there twice", test.Key)
		}
		keys[test.Key] = true
		for _, g := range test.Plan.Groups {
			if g.Kind != test.Kind {
				t.Errorf("%s has clients of kind %s", test.Key, g.Kind)
			}
			if g.ReadRate > 0 { // a client that is still reading when it should come again makes its own latency
				takes, every := float64(g.Response)/float64(g.ReadRate), float64(test.Plan.Clients)/test.Plan.Rate
				if takes > every/2 {
					t.Errorf("%s: %s reads for %.1f s, and should come every %.1f s", test.Key, g.Name, takes, every)
				}
			}
		}
		for _, d := range test.Plan.Disturb {
			if d.At >= test.Plan.Duration {
				t.Errorf("%s: %+v comes after the end", test.Key, d)
			}
		}
		if got := len(o.arms(test.Scenario)) == 0; got != disturbed(&test) {
			t.Errorf("%s: the direct way takes part: %v", test.Key, !got)
		}
	}
	if !keys["resume/0rtt/roam"] || !keys["second/id/own"] || keys["second/id/roam"] || keys["bulk/id/own"] {
		t.Errorf("tests %v", keys)
	}
}
