package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/bench"
	"homing/bench/balancers"
)

// lowArm has three rounds of 100 conns at one figure each: own and machine in microseconds per conn, p99 in milliseconds.
func lowArm(key, family string, own, machine float64, voluntary int64, p99 float64) Arm {
	a := Arm{Key: key, Balancer: key, Family: family, Name: key}
	for range 3 {
		r := &Round{
			Took: 2 * time.Second, Tally: bench.Tally{Done: 100}, Balancer: time.Duration(own * 100e3), Tasks: time.Duration(machine * 100e3),
			Voluntary: voluntary * 100, Handshake: Quantiles{P99: time.Duration(p99 * 1e6)},
		}
		if family != balancers.FamilyDirect {
			r.Resident = 19e6
		}
		a.Rounds = append(a.Rounds, r)
	}
	return a
}

func lowReport(rate float64, arms ...Arm) *Report {
	return &Report{Tests: []Test{{Scenario: Low, Kind: bench.PSK, Plan: bench.Plan{Rate: rate}, Arms: arms}}}
}

// texts are the gates by what is asked and the arm.
func texts(r *Report) map[string]string {
	got := map[string]string{}
	for _, g := range r.Gates() {
		got[strings.TrimSuffix(g.What, " at 50 conns/s")+" "+g.Arm] = g.Text()
	}
	return got
}

func TestGatesOfLow(t *testing.T) {
	direct := lowArm("direct", balancers.FamilyDirect, 0, 500, 0, 1)
	haproxy := lowArm("haproxy-source", balancers.FamilyHAProxy, 100, 700, 7, 2)
	got := texts(lowReport(50, direct, lowArm("x", balancers.FamilyHoming, 104, 700, 8, 1.9), lowArm("y", balancers.FamilyHoming, 109, 720, 9, 2.4), haproxy))
	want := map[string]string{
		"own CPU, of HAProxy's, x":                    "1.04 of 1.05 passed",
		"own CPU, of HAProxy's, y":                    "1.09 of 1.10 passed", // the engine that needs more
		"machine's CPU above direct, of HAProxy's, x": "200 us of 200 us passed",
		"machine's CPU above direct, of HAProxy's, y": "220 us of 200 us FAILED",
		"voluntary switches per conn x":               "8.0 of 8.0 passed",
		"voluntary switches per conn y":               "9.0 of 8.0 FAILED",
		"99 % of handshakes, of HAProxy's, x":         "0.95 of 1.00 passed",
		"99 % of handshakes, of HAProxy's, y":         "1.20 of 1.00 FAILED",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The better engine has the harder limit, whichever it is.
func TestTheBetterEngineHasTheHarderLimit(t *testing.T) {
	haproxy := lowArm("haproxy-source", balancers.FamilyHAProxy, 100, 700, 7, 2)
	for _, c := range []struct {
		x, y         float64
		wantX, wantY string
	}{
		{108, 107, "1.08 of 1.10 passed", "1.07 of 1.05 FAILED"},
		{107, 113, "1.07 of 1.05 FAILED", "1.13 of 1.10 FAILED"},
	} {
		got := texts(lowReport(50, lowArm("x", balancers.FamilyHoming, c.x, 700, 1, 2), lowArm("y", balancers.FamilyHoming, c.y, 700, 1, 2), haproxy))
		if x, y := got["own CPU, of HAProxy's, x"], got["own CPU, of HAProxy's, y"]; x != c.wantX || y != c.wantY {
			t.Errorf("%q, %q, want %q, %q", x, y, c.wantX, c.wantY)
		}
	}
	alone := texts(lowReport(50, lowArm("x", balancers.FamilyHoming, 107, 700, 1, 2), haproxy))
	if got := alone["own CPU, of HAProxy's, x"]; got != "1.07 of 1.05 FAILED" {
		t.Errorf("an engine alone is the better one: %q", got)
	}
}

// Rounds that differ by more than what is beyond the limit leave it open, but do not pass.
func TestGatesAreUnsure(t *testing.T) {
	r := lowReport(50, lowArm("x", balancers.FamilyHoming, 100, 700, 1, 2), lowArm("haproxy-source", balancers.FamilyHAProxy, 100, 700, 7, 2))
	for i, p99 := range []time.Duration{time.Millisecond, 4 * time.Millisecond, 3 * time.Millisecond} {
		r.Tests[0].Arms[0].Rounds[i].Handshake.P99 = p99
	}
	if got := texts(r)["99 % of handshakes, of HAProxy's, x"]; got != "1.50 of 1.00 unsure" {
		t.Errorf("%q", got)
	}
	if !strings.Contains(r.gateTable().Caption, ": 2 of 3 passed, 1 beyond") {
		t.Errorf("%s", r.gateTable().Caption)
	}
}

// On a machine with other work to do, what a balancer costs above direct may be less than nothing: it still can be compared.
func TestGatesBelowNothing(t *testing.T) {
	const what = "machine's CPU above direct, of HAProxy's, x"
	r := lowReport(50, lowArm("direct", balancers.FamilyDirect, 0, 500, 0, 1), lowArm("x", balancers.FamilyHoming, 100, 400, 1, 2),
		lowArm("haproxy-source", balancers.FamilyHAProxy, 100, 300, 7, 2))
	if got := texts(r)[what]; got != "-100 us of -200 us FAILED" {
		t.Errorf("%q", got)
	}
	for i, machine := range []time.Duration{40 * time.Millisecond, 70 * time.Millisecond, 10 * time.Millisecond} {
		r.Tests[0].Arms[1].Rounds[i].Tasks = machine
	}
	if got := texts(r)[what]; got != "-100 us of -200 us unsure" {
		t.Errorf("%q", got)
	}
}

// What was not measured is neither passed nor failed.
func TestGatesOfWhatWasNotMeasured(t *testing.T) {
	r := lowReport(50, lowArm("x", balancers.FamilyHoming, 100, 700, 1, 2))
	for _, g := range r.Gates() {
		if ratio := strings.Contains(g.What, "HAProxy"); math.IsNaN(g.Figure) != ratio || g.Passed == ratio || g.Unsure || ratio && g.Text() != "-" {
			t.Errorf("without HAProxy: %+v", g)
		}
	}
	for _, rate := range []float64{20, 1000} {
		if list := lowReport(rate, r.Tests[0].Arms...).Gates(); len(list) > 0 {
			t.Errorf("at %v conns/s: %+v", rate, list)
		}
	}
	if list := small().Gates(); len(list) > 0 {
		t.Errorf("of resume: %+v", list)
	}
}

func TestGatesOfRest(t *testing.T) {
	arm := func(key string, wakes int64, cpu time.Duration, resident int64) Arm {
		return Arm{Key: key, Family: balancers.FamilyHoming, Rounds: []*Round{{Took: 10 * time.Second, Voluntary: wakes, Balancer: cpu, Resident: resident}}}
	}
	got := texts(&Report{Tests: []Test{{Scenario: Rest, Arms: []Arm{arm("x", 200, 10*time.Millisecond, 20e6), arm("y", 201, 11*time.Millisecond, 21e6)}}}})
	want := map[string]string{
		"at rest: wake-ups per second x": "20.0 of 20.0 passed",
		"at rest: wake-ups per second y": "20.1 of 20.0 FAILED",
		"at rest: own CPU per minute x":  "60 ms of 60 ms passed",
		"at rest: own CPU per minute y":  "66 ms of 60 ms FAILED",
		"at rest: resident set x":        "20.0 MB of 20.0 MB passed",
		"at rest: resident set y":        "21.0 MB of 20.0 MB FAILED",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
