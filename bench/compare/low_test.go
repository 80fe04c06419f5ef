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

func TestLowGoesThroughItsRates(t *testing.T) {
	var plans []bench.Plan
	o := options(t, func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		plans = append(plans, p)
		return good(p), nil
	})
	o.Scenarios, o.Kinds = []string{report.Low}, []bench.Kind{bench.ID, bench.PSK}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for i := range r.Tests {
		keys = append(keys, strings.TrimPrefix(r.Tests[i].Key, "low/psk/own/"))
		if got := arms(&r.Tests[i]); got != "direct:3" { // each client its own: conns have as many backends as through a balancer
			t.Errorf("arms %s", got)
		}
		if n := len(r.Tests[i].Arms[0].Rounds); n != 3 {
			t.Errorf("%d rounds", n)
		}
	}
	if got := strings.Join(keys, " "); got != "20 50 200 500 1000 2000" {
		t.Errorf("rates %s", got)
	}
	for _, p := range plans {
		if !p.Even || p.Loops != 1 || len(p.Targets) != 3 || len(p.Watch) != 3 {
			t.Errorf("plan %+v", p)
		}
	}
	o.Rate, o.Duration = 70, time.Second
	if list := o.low(); len(list) != 1 || list[0].Plan.Rate != 70 || list[0].Plan.Duration != time.Second {
		t.Errorf("at a rate of one's own: %+v", list)
	}
}

// A whole run with all balancers ends in six minutes, as its help says.
func TestLowTakesSixMinutes(t *testing.T) {
	o := options(t, nil)
	o.Balancers, o.Scenarios = balancers.All(), []string{report.Low}
	o.Balancers = slices.DeleteFunc(o.Balancers, func(b balancers.Balancer) bool { return b.Key == balancers.Homing }) // which has its engines
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	r := &runner{Options: &o}
	var total time.Duration
	tests := o.tests()
	for i := range tests {
		total += r.estimate(&tests[i])
	}
	if total < 4*time.Minute || total > 6*time.Minute {
		t.Errorf("%v", total)
	}
	if tests[0].Scenario != report.Rest || tests[0].Plan.Duration != 10*time.Second || len(tests) != 7 {
		t.Errorf("tests %+v", tests)
	}
}

func TestLowTakesTheWaysThatBringClientsHome(t *testing.T) {
	for _, c := range []struct{ asked, scenario, want string }{
		{"", report.Low, "direct homing homing-io_uring homing-epoll haproxy-source nginx-hash"},
		{"", report.Rest, "homing homing-io_uring homing-epoll haproxy-source nginx-hash"},
		{"haproxy-rr nginx-rr", report.Low, "haproxy-rr nginx-rr"},
		{"haproxy-rr haproxy-id haproxy-source nginx-rr direct", report.Low, "direct haproxy-source nginx-rr"},
	} {
		o := options(t, nil)
		var err error
		if o.Balancers, err = balancers.Select(strings.Fields(c.asked)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range o.arms(c.scenario) {
			got = append(got, a.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s of %q: %v, want %s", c.scenario, c.asked, got, c.want)
		}
	}
}

// All arms have their round at once; one that did not start has none.
func TestRest(t *testing.T) {
	o := options(t, nil)
	var failed error
	watched := 0
	o.Watch = func(_ context.Context, p bench.Plan) (*bench.Result, error) {
		watched++
		return &bench.Result{Took: p.Duration}, failed
	}
	r := &runner{Options: &o, report: &report.Report{}}
	running, err := o.Kit.Start(t.Context(), pick(t, balancers.Direct)[0], balancers.Setup{Backends: o.Backends.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	list := []*arm{
		{Arm: &report.Arm{Key: "a"}, running: running},
		{Arm: &report.Arm{Key: "b"}, running: running},
		{Arm: &report.Arm{Key: "c", Failed: "it did not start"}},
	}
	test := &report.Test{Scenario: report.Rest, Plan: bench.Plan{Duration: time.Minute}}
	rest := func(ctx context.Context, want int) {
		t.Helper()
		if n := r.rest(ctx, test, list); n != want {
			t.Errorf("%d arms have a round, want %d", n, want)
		}
	}
	rest(t.Context(), 2)
	failed = errors.New("bench: no account")
	rest(t.Context(), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rest(ctx, 0)
	a, c := list[0], list[2]
	if watched != 3 || len(a.Rounds) != 2 || a.Rounds[0].Took != time.Minute || a.Rounds[1] != nil || a.Failed != "no account" {
		t.Errorf("%d looks, %+v", watched, a.Arm)
	}
	if len(c.Rounds) != 3 || c.Rounds[0] != nil || c.Failed != "it did not start" {
		t.Errorf("%+v", c.Arm)
	}
}

func TestOwnPart(t *testing.T) {
	all := &bench.Result{Took: time.Second, Tasks: 9, Watched: []bench.Use{{Name: "a", CPU: 1}, {Name: "b", CPU: 2}, {Name: "a", CPU: 4}}}
	if own := ownPart(all, "a"); len(own.Watched) != 2 || own.Watched[1].CPU != 4 || own.Took != time.Second || own.Tasks != 0 {
		t.Errorf("%+v", own)
	}
}
