package report

import (
	"math"
	"math/rand/v2"
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// fixture is a report of every scenario with figures that are made up, the same in every run. What a balancer does to
// sessions is as it was measured once; nothing else is to be believed.
func fixture() *Report {
	rng := rand.New(rand.NewPCG(1, 2))
	r := bare()
	for _, from := range []bench.Sources{bench.SourceOwn, bench.SourceRoam} {
		for _, kind := range []bench.Kind{bench.ID, bench.Ticket, bench.PSK} {
			r.Tests = append(r.Tests, made(rng, string(bench.Resume), kind, from))
		}
	}
	for _, s := range []string{
		Second, Steady, Distance, string(bench.Rate), string(bench.Bulk), string(bench.Idle),
		string(bench.Churn), string(bench.Failover), string(bench.Fragment), Rest, Low,
	} {
		r.Tests = append(r.Tests, made(rng, s, bench.PSK, bench.SourceOwn))
	}
	return r
}

// small is the same with the first test alone.
func small() *Report {
	r := bare()
	r.Tests = []Test{made(rand.New(rand.NewPCG(1, 2)), string(bench.Resume), bench.ID, bench.SourceOwn)}
	return r
}

// bare is a report without tests.
func bare() *Report {
	return &Report{
		Schema: Schema, Title: "made up", Started: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC), Took: 7*time.Minute + 12*time.Second,
		Host: bench.Host{
			CPUs: 2, Model: "AMD EPYC", Kernel: "6.18.44", Go: "go1.26.8", Version: "v1.2.3",
			Command: "homing-bench compare --scenario all --html report.html",
		},
		Memory: 24e9, System: "Debian GNU/Linux 12 (bookworm)", Backends: "three nginx 1.22.1, RSA 2048", Threads: 1,
		Programs: []balancers.Program{
			{Name: "homing", Path: "/usr/bin/homing", Version: "v1.2.3"}, {Name: "haproxy", Path: "/usr/sbin/haproxy", Version: "2.6.12"},
		},
		Absent:   []balancers.Absent{{Key: "nginx", Name: "nginx", Why: "nginx has no streams: apt-get install libnginx-mod-stream"}},
		Warnings: []string{"The clients used more than half of the machine (3 of 90 rounds)"},
	}
}

// made makes a test up: a share of resumptions for each balancer, and all that follows from it.
func made(rng *rand.Rand, scenario string, kind bench.Kind, from bench.Sources) Test {
	t := Test{
		Key: scenario + "/" + string(kind) + "/" + string(from), Scenario: scenario, Kind: kind, Sources: from,
		Plan: bench.Plan{Clients: 60, Rate: 300, Duration: 2 * time.Second, Groups: []bench.GroupPlan{{Name: "plain", Kind: kind}}},
	}
	switch scenario {
	case Rest:
		t.Key, t.Kind, t.Sources = Low+"/"+Rest, "", ""
	case Low:
		t.Key, t.Plan.Rate = t.Key+"/50", 50
	case string(bench.Churn), string(bench.Failover):
		t.Plan.Duration = 10 * time.Second
		t.Plan.Disturb = []bench.Disturbance{{At: 3 * time.Second, Down: true, Who: "node2"}}
	case string(bench.Fragment):
		t.Plan.Groups = append(t.Plan.Groups, bench.GroupPlan{Name: "records:32", Kind: kind})
	case Distance:
		t.Plan.Delay = 50 * time.Millisecond
	case string(bench.Bulk):
		t.Plan.Groups[0].Response = 64 << 20
	}
	for _, b := range balancers.All() {
		if b.Key == balancers.Homing || b.Key == balancers.NginxHash {
			continue
		}
		backends := 3
		if b.Family == balancers.FamilyDirect {
			backends = 1
		}
		if scenario == Second || scenario == Steady {
			t.Arms = append(t.Arms, madeArm(rng, &t, b, 1))
			t.Arms[len(t.Arms)-1].Key += OneBackend
			backends = 3
		}
		t.Arms = append(t.Arms, madeArm(rng, &t, b, backends))
	}
	if scenario == string(bench.Idle) { // one balancer dies on the way
		a := &t.Arms[len(t.Arms)-1]
		a.Rounds[1], a.Rounds[2] = nil, nil
		a.Failed = a.Name + " ended by itself: out of memory"
	}
	return t
}

// shareOf is what a balancer was once seen to do.
func shareOf(b balancers.Balancer, kind bench.Kind, from bench.Sources, backends int) float64 {
	switch {
	case backends == 1 || b.Family == balancers.FamilyDirect:
		return 1
	case b.Family == balancers.FamilyHoming:
		return 0.997
	case b.Key == balancers.HAProxyID && kind == bench.ID:
		return 1
	case b.Key == balancers.HAProxyID && kind == bench.Ticket:
		return 0.74
	case b.Key == balancers.HAProxySource && from == bench.SourceOwn:
		return 1
	default:
		return 0.33
	}
}

func madeArm(rng *rand.Rand, t *Test, b balancers.Balancer, backends int) Arm {
	a := Arm{Key: b.Key, Balancer: b.Key, Family: b.Family, Name: b.Name, Backends: backends}
	share := shareOf(b, t.Kind, t.Sources, backends)
	for range 3 {
		a.Add(madeResult(rng, t, &a, share))
	}
	return a
}

func madeResult(rng *rand.Rand, t *Test, a *Arm, share float64) *bench.Result {
	const conns = 600
	res := &bench.Result{Took: t.Plan.Duration}
	noise := func(v float64) float64 { return v * (0.97 + 0.06*rng.Float64()) }
	cost := noise(150*share+900*(1-share)) * float64(time.Microsecond) * conns
	for _, g := range t.Plan.Groups {
		accepted := int64(math.Round(share * conns))
		group := bench.Group{Name: g.Name, Kind: g.Kind, Tally: bench.Tally{
			Attempts: conns, Shaken: conns, Done: conns, Offered: conns, Accepted: accepted, Refused: conns - accepted, Requests: conns, Read: 4e9,
			Backends: map[string]bench.BackendTally{"a": {Conns: 200}, "b": {Conns: 250}, "c": {Conns: 150}},
		}, Latency: bench.Latency{
			Answer: bench.NewHistogram(), Handshake: bench.NewHistogram(), Full: bench.NewHistogram(), Resumed: bench.NewHistogram(),
		}}
		if a.Family == balancers.FamilyNginx {
			group.Errors = map[bench.Class]int64{bench.Reset: 2}
		}
		for i := range conns {
			base := 400 * math.Exp(rng.NormFloat64()/3)
			d := time.Duration(base*float64(time.Microsecond)) + t.Plan.Delay
			if i < int(accepted) {
				group.Latency.Resumed.Record(d)
			} else {
				d += time.Duration(noise(1200))*time.Microsecond + 2*t.Plan.Delay
				group.Latency.Full.Record(d)
			}
			group.Latency.Handshake.Record(d)
			group.Latency.Answer.Record(d + time.Duration(rng.ExpFloat64()*200)*time.Microsecond)
		}
		res.Groups = append(res.Groups, group)
	}
	res.Watched = []bench.Use{{Role: "backend", Name: "b1", CPU: time.Duration(cost)}}
	res.Client = bench.Use{CPU: time.Duration(noise(120)) * time.Microsecond * conns}
	if a.Family != balancers.FamilyDirect {
		own := map[string]float64{balancers.FamilyHoming: 30, balancers.FamilyHAProxy: 34, balancers.FamilyNginx: 41}[a.Family]
		res.Watched = append(res.Watched, bench.Use{
			Role: "balancer", Name: a.Key, CPU: time.Duration(noise(own) * float64(time.Microsecond) * conns), Memory: 30e6 + 2e6, Before: 30e6,
			Resident: 34e6, Voluntary: 6 * conns, Involuntary: 20,
		})
	}
	res.Machine = bench.Use{CPU: time.Duration(cost) + 2*res.Client.CPU}
	res.Tasks = res.Machine.CPU
	for _, u := range res.Watched {
		if u.Role == "balancer" {
			res.Tasks += 2 * u.CPU
		}
	}
	if t.Scenario == string(bench.Rate) {
		for rate := 500.0; rate < noise(5000); rate *= 1.2 {
			res.Steps = append(res.Steps, bench.Step{Rate: rate, Achieved: rate, P99: int64(noise(800 + rate*rate/2000)), Sustained: rate < 4000})
		}
	}
	if len(t.Plan.Disturb) > 0 {
		for i := range int(t.Plan.Duration / bench.TimelineTick) {
			k := bench.Tick{Done: 30, Accepted: int64(noise(30 * share))}
			if i > 30 && i < 45 {
				k.Done, k.Accepted, k.Errors = 22, k.Accepted/2, 8
			}
			k.Refused = k.Done - k.Accepted
			res.Timeline = append(res.Timeline, k)
		}
		res.Disturbances = []bench.Disturbed{
			{Disturbance: t.Plan.Disturb[0], Began: 3 * time.Second},
			{Disturbance: bench.Disturbance{Who: "node2"}, Began: 7 * time.Second},
		}
	}
	return res
}
