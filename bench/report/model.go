package report

import (
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// Schema is the version of Report's JSON. It changes when a field changes its meaning, not when one is added.
const Schema = 1

// Report is one run of `homing-bench compare`.
type Report struct {
	Schema  int           `json:"schema"`
	Title   string        `json:"title,omitempty"` // names the run beside others
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Ended   string        `json:"ended,omitempty"` // why before its time; empty: it was not

	Host     bench.Host          `json:"host"`
	Memory   int64               `json:"memory_bytes"` // of the machine
	System   string              `json:"system"`       // its distribution
	Backends string              `json:"backends"`     // what they are, in words
	Threads  int                 `json:"threads"`      // of each balancer
	Programs []balancers.Program `json:"programs"`
	Absent   []balancers.Absent  `json:"absent,omitempty"`

	Tests    []Test   `json:"tests"`
	Warnings []string `json:"warnings,omitempty"` // one sentence each
}

// Test is one question to all balancers.
type Test struct {
	// Key is the same for the same question in every run: "resume/psk/roam".
	Key      string        `json:"key"`
	Scenario string        `json:"scenario"` // a bench.Scenario, or one of compare's own
	Kind     bench.Kind    `json:"kind"`
	Sources  bench.Sources `json:"sources"`
	// Plan is what each round did, but for the targets and the seed.
	Plan bench.Plan `json:"plan"`
	Arms []Arm      `json:"arms"`
}

// Arm is one way from the clients to the backends.
type Arm struct {
	Key      string `json:"key"`      // the balancer's, and "/1" where it stood before one backend of several
	Balancer string `json:"balancer"` // balancers.Balancer.Key
	Family   string `json:"family"`
	Name     string `json:"name"`
	Backends int    `json:"backends"`

	// Rounds by number; null where the arm did not get through one.
	Rounds []*Round `json:"rounds"`

	// Of all rounds together. Groups, by name, where there are several.
	Tally        bench.Tally            `json:"tally"`
	Groups       map[string]bench.Tally `json:"groups,omitempty"`
	Latency      bench.Latency          `json:"latency"`
	Timeline     []bench.Tick           `json:"timeline,omitempty"`
	Disturbances []bench.Disturbed      `json:"disturbances,omitempty"` // of the first round

	// Failed says why rounds are missing.
	Failed string `json:"failed,omitempty"`
}

// Round is what one arm did in one round.
type Round struct {
	Took  time.Duration `json:"took_ns"`
	Tally bench.Tally   `json:"tally"`

	// CPU time used within Took.
	Backend  time.Duration `json:"backend_cpu_ns"`
	Balancer time.Duration `json:"balancer_cpu_ns"`
	Client   time.Duration `json:"client_cpu_ns"`
	Machine  time.Duration `json:"machine_cpu_ns"`
	Tasks    time.Duration `json:"tasks_cpu_ns"` // of all threads on the machine, more exactly: bench.Result.Tasks

	// Context switches of the balancer's threads: they waited, or had to make room.
	Voluntary   int64 `json:"voluntary_switches"`
	Involuntary int64 `json:"involuntary_switches"`

	// Memory of the balancer's processes when the round ended, and before it began.
	Memory int64 `json:"memory_bytes"`
	Before int64 `json:"memory_before_bytes"`
	// Resident set of them when the round ended.
	Resident int64 `json:"resident_bytes"`

	// Quantiles of the histograms that Arm.Latency sums up.
	Handshake Quantiles `json:"handshake"`
	Full      Quantiles `json:"full"`
	Resumed   Quantiles `json:"resumed"`
	Answer    Quantiles `json:"answer"`

	Steps []bench.Step `json:"steps,omitempty"`
}

// Quantiles of one histogram; all 0 where it is empty.
type Quantiles struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// QuantilesOf sums a histogram up; nil is an empty one.
func QuantilesOf(h *bench.Histogram) Quantiles {
	return Quantiles{P50: h.Quantile(0.5), P99: h.Quantile(0.99)}
}

// Add takes one run of the harness into the arm as the next round. The groups of the run count together.
func (a *Arm) Add(res *bench.Result) {
	r := &Round{Took: res.Took, Client: res.Client.CPU, Machine: res.Machine.CPU, Tasks: res.Tasks, Steps: res.Steps}
	var sum bench.Latency
	for i := range res.Groups {
		g := &res.Groups[i]
		r.Tally.Add(&g.Tally)
		sum.Merge(drawn(&g.Latency))
		if len(res.Groups) > 1 {
			a.addGroup(g)
		}
	}
	for _, u := range res.Watched {
		switch u.Role {
		case "backend":
			r.Backend += u.CPU
		case "balancer":
			r.Balancer += u.CPU
			r.Memory += u.Memory
			r.Before += u.Before
			r.Resident += u.Resident
			r.Voluntary += u.Voluntary
			r.Involuntary += u.Involuntary
		}
	}
	r.Handshake, r.Full = QuantilesOf(sum.Handshake), QuantilesOf(sum.Full)
	r.Resumed, r.Answer = QuantilesOf(sum.Resumed), QuantilesOf(sum.Answer)
	a.Rounds = append(a.Rounds, r)
	a.Tally.Add(&r.Tally)
	a.Latency.Merge(&sum)
	a.addTimeline(res)
}

func (a *Arm) addGroup(g *bench.Group) {
	if a.Groups == nil {
		a.Groups = map[string]bench.Tally{}
	}
	t := a.Groups[g.Name]
	t.Add(&g.Tally)
	a.Groups[g.Name] = t
}

// Miss counts a round that the arm did not get through.
func (a *Arm) Miss(why string) {
	a.Rounds = append(a.Rounds, nil)
	a.Failed = why
}

// addTimeline sums the ticks of all rounds, each counted from its own beginning.
func (a *Arm) addTimeline(res *bench.Result) {
	for i, tick := range res.Timeline {
		if i == len(a.Timeline) {
			a.Timeline = append(a.Timeline, bench.Tick{})
		}
		a.Timeline[i].Add(tick)
	}
	if a.Disturbances == nil {
		a.Disturbances = res.Disturbances
	}
}

// drawn are the histograms that reports draw.
func drawn(l *bench.Latency) *bench.Latency {
	return &bench.Latency{Resumed: l.Resumed, Full: l.Full, Answer: l.Answer, Handshake: l.Handshake}
}

// Arm returns the arm of that key; nil without one, or without a test.
func (t *Test) Arm(key string) *Arm {
	if t == nil {
		return nil
	}
	for i := range t.Arms {
		if t.Arms[i].Key == key {
			return &t.Arms[i]
		}
	}
	return nil
}
