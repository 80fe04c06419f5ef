package compare

import (
	"cmp"
	"slices"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

// tests returns the tests to make, in the order in which they are asked for, with plans but for targets and watches.
func (o *Options) tests() []report.Test {
	var list []report.Test
	for _, s := range o.Scenarios {
		if s == report.Low {
			list = append(list, o.low()...)
			continue
		}
		for _, k := range o.kinds(s) {
			for _, from := range o.sourcesOf(s) {
				list = append(list, report.Test{
					Key: s + "/" + string(k) + "/" + string(from), Scenario: s, Kind: k, Sources: from, Plan: o.plan(s, k, from),
				})
			}
		}
	}
	return list
}

// kinds are the kinds that a scenario is run with: one is enough where handshakes are not what it is about.
func (o *Options) kinds(scenario string) []bench.Kind {
	switch scenario {
	case string(bench.Bulk), string(bench.Idle), string(bench.Slow), report.Low:
		return o.Kinds[len(o.Kinds)-1:]
	}
	return o.Kinds
}

// sourcesOf are where the clients of a scenario come from. Only resume asks whether addresses change.
func (o *Options) sourcesOf(scenario string) []bench.Sources {
	if scenario == string(bench.Resume) {
		return o.Sources
	}
	return o.Sources[:1]
}

// plan is what a round of a test does. A scenario's own numbers suit a laptop: every balancer keeps up with its rate.
func (o *Options) plan(scenario string, kind bench.Kind, from bench.Sources) bench.Plan {
	base := bench.Scenario(scenario)
	switch scenario {
	case report.Second, report.Steady, report.Distance, report.Low, report.Rest:
		base = bench.Resume
	}
	p, err := bench.NewPlan(base, o.Backends.Addrs()[0])
	if err != nil {
		panic(err) // a scenario of Scenarios() that bench does not know
	}
	p.Names, p.Roots, p.Sources = []string{o.ServerName}, o.Backends.Roots(), from
	p.ReuseKeyShare = true // spares this harness, and no server
	p.Clients, p.Rate, p.Duration, p.WarmUp = 60, 500, time.Second, 500*time.Millisecond
	switch scenario {
	case report.Second:
		p.Clients, p.Rate, p.Duration, p.WarmUp = 32, 0, time.Second, 500*time.Millisecond
	case report.Distance:
		p.Delay = cmp.Or(o.Delay, 50*time.Millisecond)
		p.Rate, p.Duration, p.WarmUp = 100, 3*time.Second, 1500*time.Millisecond
	case report.Rest:
		p.Duration, p.WarmUp = 10*time.Second, time.Second
	case report.Low: // one thread of clients: two would make its figures depend on which of them has a conn
		p.Clients, p.Loops, p.Even = 40, 1, true
	case string(bench.Rate):
		p.Clients, p.Rate, p.Duration = 200, 500, time.Second
	case string(bench.Bulk):
		p.Clients, p.Rate, p.Duration = 4, 0, 3*time.Second
	case string(bench.Idle):
		p.Clients, p.Rate, p.Duration, p.WarmUp = 1000, 500, 4*time.Second, time.Second
	case string(bench.Slow): // an answer takes a slow reader half a second: it should be done when it should come again
		p.Clients, p.Rate, p.Duration, p.WarmUp = 600, 200, 3*time.Second, 1500*time.Millisecond
	case string(bench.Churn), string(bench.Failover):
		p.Duration, p.WarmUp = 15*time.Second, time.Second
	}
	p.Groups = withKind(p.Groups, kind)
	p.Clients, p.Rate = cmp.Or(o.Clients, p.Clients), cmp.Or(o.Rate, p.Rate)
	p.Duration, p.WarmUp = cmp.Or(o.Duration, p.Duration), cmp.Or(o.WarmUp, p.WarmUp)
	if scenario == string(bench.Rate) {
		p.Steps = steps(p.Rate)
	}
	p.Disturb = o.disturb(scenario, p.Duration)
	return p
}

// withKind keeps what groups do and lets all of them resume in the one way that the test is about.
func withKind(groups []bench.GroupPlan, kind bench.Kind) []bench.GroupPlan {
	var list []bench.GroupPlan
	for _, g := range groups {
		g.Kind = kind
		if g.Name == "" {
			g.Name = cmp.Or(g.Shape.String(), "plain")
		}
		if !slices.ContainsFunc(list, func(o bench.GroupPlan) bool { return o.Name == g.Name }) {
			list = append(list, g)
		}
	}
	return list
}

// steps are rates, each a fifth above the one before it: to a thirty-fold of the first.
func steps(first float64) []float64 {
	var list []float64
	for r := first; len(list) < 20; r *= 1.2 {
		list = append(list, r)
	}
	return list
}

// nodeTwo is the node that Failover kills.
const nodeTwo = "node2"

// disturb is what happens on the way: one backend after the other goes and comes back, or one of two nodes does.
func (o *Options) disturb(scenario string, d time.Duration) []bench.Disturbance {
	at := func(part float64, down bool, who string) bench.Disturbance {
		return bench.Disturbance{At: time.Duration(part * float64(d)), Down: down, Who: who}
	}
	switch scenario {
	case string(bench.Churn):
		who := o.Backends.Watched()
		last := who[len(who)-1].Name
		first := who[max(len(who)-2, 0)].Name
		return []bench.Disturbance{
			at(0.15, true, first), at(0.45, false, first),
			at(0.55, true, last), at(0.85, false, last),
		}
	case string(bench.Failover):
		return []bench.Disturbance{at(0.3, true, nodeTwo), at(0.7, false, nodeTwo)}
	}
	return nil
}

// arm is one arm of a test, with the balancer that carries it.
type arm struct {
	*report.Arm
	balancer balancers.Balancer
	backends int // of Options.Backends, from the first on
	running  *balancers.Running
}

// arms are the ways that a test compares. The direct way has one backend; in second, also all of them, with each client
// bound to one: as well as any balancer could do.
func (o *Options) arms(scenario string) []*arm {
	all := len(o.Backends.Addrs())
	var list []*arm
	add := func(b balancers.Balancer, key, name string, backends int) {
		list = append(list, &arm{
			Arm:      &report.Arm{Key: key, Balancer: b.Key, Family: b.Family, Name: name, Backends: backends},
			balancer: b, backends: backends,
		})
	}
	for _, b := range o.Balancers {
		direct := b.Family == balancers.FamilyDirect
		switch scenario {
		case report.Low, report.Rest:
			if direct && scenario == report.Rest { // which does nothing
				continue
			}
			if o.homeByAddress(b) {
				add(b, b.Key, b.Name, all) // each client that goes direct to one of them, as its conns do through a balancer
			}
		case string(bench.Churn), string(bench.Failover):
			if !direct { // which has nowhere to go
				add(b, b.Key, b.Name, all)
			}
		case report.Second, report.Steady:
			add(b, b.Key+report.OneBackend, b.Name, 1)
			if all == 1 {
				continue
			}
			if direct {
				add(b, b.Key, "each client its own", all)
			} else {
				add(b, b.Key, b.Name, all)
			}
		default:
			if direct {
				add(b, b.Key, b.Name, 1)
			} else {
				add(b, b.Key, b.Name, all)
			}
		}
	}
	return list
}
