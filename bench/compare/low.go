package compare

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

// lowRates are the steps of low, in conns per second: from a balancer that sleeps before each conn to one that seldom does.
func lowRates() []float64 { return []float64{20, 50, 200, 500, 1000, 2000} }

// low returns the tests of the scenario low: balancers at rest, just after they were started, and then a test for each rate.
func (o *Options) low() []report.Test {
	kind, from := o.kinds(report.Low)[0], o.sourcesOf(report.Low)[0]
	var list []report.Test
	if len(o.arms(report.Rest)) > 0 {
		list = append(list, report.Test{Key: report.Low + "/" + report.Rest, Scenario: report.Rest, Plan: o.plan(report.Rest, kind, from)})
	}
	rates := lowRates()
	if o.Rate != 0 {
		rates = []float64{o.Rate}
	}
	for _, rate := range rates {
		p := o.plan(report.Low, kind, from)
		p.Rate = rate
		p.Duration = cmp.Or(o.Duration, lowDuration(rate))
		key := report.Low + "/" + string(kind) + "/" + string(from) + "/" + strconv.FormatFloat(rate, 'f', -1, 64)
		list = append(list, report.Test{Key: key, Scenario: report.Low, Kind: kind, Sources: from, Plan: p})
	}
	return list
}

// lowDuration gives low rates more time, for they have few conns in it.
func lowDuration(rate float64) time.Duration {
	if rate < 500 {
		return 3 * time.Second
	}
	return 2 * time.Second
}

// homeByAddress chooses among the ways in which a program balances, where several were asked for, the one that brings home
// clients that keep their addresses: were sessions lost, then the backends' work would hide the balancers'.
func (o *Options) homeByAddress(b balancers.Balancer) bool {
	best := map[string]string{balancers.FamilyHAProxy: balancers.HAProxySource, balancers.FamilyNginx: balancers.NginxHash}[b.Family]
	return best == "" || b.Key == best || !slices.ContainsFunc(o.Balancers, func(o balancers.Balancer) bool { return o.Key == best })
}

// rest watches all arms for a round in which nobody connects, and returns how many gave a result.
func (r *runner) rest(ctx context.Context, t *report.Test, list []*arm) int {
	p := t.Plan
	for _, a := range list {
		if a.running == nil {
			continue
		}
		for i := range a.running.Nodes() {
			p.Watch = append(p.Watch, bench.Watched{Role: "balancer", Name: a.Key, PIDs: a.running.PIDs(i)})
		}
	}
	res, err := r.Watch(ctx, p)
	if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "bench: "))
	}
	n := 0
	for _, a := range list {
		var dead error
		if a.running != nil {
			dead = a.running.Check()
		}
		switch {
		case a.running == nil:
			a.Miss(a.Failed)
		case dead != nil:
			a.Miss(dead.Error())
			_ = a.stop() // it has ended already
		case err != nil:
			if ctx.Err() == nil {
				a.Miss(err.Error())
			}
		default:
			a.Add(ownPart(res, a.Key))
			n++
		}
	}
	return n
}

// ownPart is what a result says of one arm alone.
func ownPart(res *bench.Result, key string) *bench.Result {
	own := &bench.Result{Took: res.Took}
	for _, u := range res.Watched {
		if u.Name == key {
			own.Watched = append(own.Watched, u)
		}
	}
	return own
}
