package bench

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files; read the diff")

// sample is a result with something of everything.
func sample() *Result {
	answers := func(ms ...int) *Histogram {
		h := NewHistogram()
		for _, v := range ms {
			h.Record(time.Duration(v) * time.Millisecond)
		}
		return h
	}
	r := &Result{
		Schema: ResultSchema, Start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Took: 10 * time.Second, Ended: "interrupted", Lost: 2,
		Plan: Plan{
			Scenario: Churn, Targets: []string{"127.0.0.1:443", "127.0.0.2:443"}, Clients: 30, Rate: 12.5, WarmUp: 3 * time.Second,
			Duration: 10 * time.Second, Sources: SourceOwn, Delay: 50 * time.Millisecond, Seed: 7,
		},
		Groups: []Group{
			{Name: "psk", Kind: PSK, Clients: 20, Tally: Tally{
				Attempts: 100, Shaken: 97, Done: 95, Offered: 98, Accepted: 90, Refused: 7, EarlyOffered: 3, EarlyAccepted: 2, Moved: 4, Read: 1e9,
				Errors:   map[Class]int64{ConnectRefused: 3, Lost: 2},
				Backends: map[string]BackendTally{"backend1": {60, 55, 3}, "backend2": {35, 35, 4}},
			}, Latency: Latency{Resumed: answers(1, 2, 3), Full: answers(8), Answer: answers(2, 4, 1500), Service: answers(2, 4, 9)}},
			{Name: "full13 browser+records:32", Kind: Full13, Clients: 10, Tally: Tally{Attempts: 10, Shaken: 10, Done: 10}},
		},
		Steps:    []Step{{Rate: 100, Achieved: 99.6, P99: 1234, Sustained: true}, {Rate: 110, Achieved: 80, Errors: 5, P99: 900_000}},
		Timeline: []Tick{{Done: 5}, {Done: 3, Errors: 2}, {}, {Errors: 3}, {Done: 9}},
		Disturbances: []Disturbed{
			{Disturbance: Disturbance{Down: true, Who: "backend1"}, Began: time.Second, Took: 4 * time.Millisecond},
			{Disturbance: Disturbance{Who: "backend1"}, Began: 2 * time.Second, Took: 30 * time.Millisecond, Error: "no such file"},
		},
		Client:   Use{Role: "client", Name: "homing-bench", CPU: 20 * time.Millisecond, Memory: 30 << 20},
		Machine:  Use{Role: "machine", CPU: 8 * time.Second},
		Watched:  []Use{{Role: "balancer", Name: "homing", CPU: 5 * time.Millisecond, Memory: 10 << 20, Before: 9 << 20}},
		Warnings: []string{"Two things must be known."},
		Host:     Host{CPUs: 2, Model: "A CPU", Kernel: "6.1", Go: "go1.26", Version: "v1", Command: "homing-bench churn"},
	}
	return r
}

func TestResultText(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "result.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if strings.HasSuffix(line, " ") {
			t.Errorf("%q ends in a space", line)
		}
	}
}

func TestWarnings(t *testing.T) {
	for want, change := range map[string]func(*Result){
		"took 60 % of the machine's CPU": func(r *Result) { r.Client.CPU = 12 * time.Second },
		"the backend backend2 1ms": func(r *Result) {
			r.Client.CPU, r.Took = 107*2*time.Millisecond, time.Second
			r.Watched = []Use{{Role: "backend", Name: "backend1", CPU: time.Second}, {Role: "backend", Name: "backend2", CPU: 35 * time.Millisecond}}
		},
		"2 conns were still open":         func(*Result) {},
		"This was a closed loop":          func(r *Result) { r.Plan.Rate = 0 },
		"group psk had anything to offer": func(r *Result) { r.Groups[0].Total = Tally{Shaken: 5} },
		"group psk could send early data": func(r *Result) { r.Groups[0].Kind, r.Groups[0].Total = Early, Tally{Shaken: 5, Offered: 5} },
	} {
		res := sample()
		change(res)
		res.Warnings = nil
		r := run{shared: shared{plan: &res.Plan}, result: res}
		r.groups = make([]group, 1)
		r.groups[0].GroupPlan = &GroupPlan{}
		r.warn()
		if all := strings.Join(res.Warnings, "\n"); !strings.Contains(all, want) {
			t.Errorf("want a warning with %q: %s", want, all)
		}
	}
	// A cheap client has nothing to be warned of, nor has a dear one on a machine with room for it.
	for _, backend := range []time.Duration{time.Second, 35 * time.Millisecond} {
		res := sample()
		res.Warnings, res.Lost = nil, 0
		res.Client.CPU = 107 * 2 * time.Millisecond
		res.Watched = []Use{{Role: "backend", Name: "backend1", CPU: backend}}
		r := run{shared: shared{plan: &res.Plan}, result: res}
		r.groups = []group{{GroupPlan: &GroupPlan{}}}
		if r.warn(); len(res.Warnings) != 0 {
			t.Errorf("%q", res.Warnings)
		}
	}
}
