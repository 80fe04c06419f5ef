package report

import (
	"math"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// arm of two rounds with figures that can be reckoned in the head.
func twoRounds(key, balancer string, backend time.Duration) *Arm {
	round := &Round{
		Took: 2 * time.Second, Backend: backend, Balancer: 10 * time.Millisecond, Client: 40 * time.Millisecond, Machine: 400 * time.Millisecond,
		Memory: 3_000_000, Before: 1_000_000, Answer: Quantiles{P99: 3 * time.Millisecond},
		Tally: bench.Tally{
			Attempts: 101, Shaken: 100, Done: 100, Accepted: 30, Refused: 10, Read: 1e9, Errors: map[bench.Class]int64{bench.Reset: 1},
			Backends: map[string]bench.BackendTally{"a": {Conns: 60}, "b": {Conns: 40}},
		},
		Steps: []bench.Step{{Rate: 10, Achieved: 10, Sustained: true}, {Rate: 20, Achieved: 19, Sustained: true}, {Rate: 30, Achieved: 21}},
	}
	return &Arm{Key: key, Balancer: balancer, Rounds: []*Round{round, nil}}
}

func TestMeasures(t *testing.T) {
	test := &Test{Arms: []Arm{*twoRounds("x", "x", 200*time.Millisecond), *twoRounds("x/1", "x", 100*time.Millisecond)}}
	for key, want := range map[string]float64{
		mResumed: 0.75, mRate: 50, mKept: 0.5, mBackend: 2000, mBalancer: 100, mMachine: 4000, mClient: 400, mMemory: 3e6,
		mAnswer: 3e6, mFailed: 1, mBusiest: 0.6, mSustained: 19, mGbit: 4, mBackendGB: 200, mBalancerGB: 10, mMachineGB: 400, mClientGB: 40,
		mIdle: 20_000, mHandshake: math.NaN(), mFull: math.NaN(), mResumption: math.NaN(),
	} {
		values := measure(key).Values(test, &test.Arms[0])
		if len(values) != 2 || !(math.Abs(values[0]-want) < 1e-9*max(1, want) || math.IsNaN(values[0]) && math.IsNaN(want)) || !math.IsNaN(values[1]) {
			t.Errorf("%s is %v, want %v and nothing for the round that is missing", key, values, want)
		}
	}
	if got := measure(mKept).Values(test, &test.Arms[1]); !math.IsNaN(got[0]) {
		t.Errorf("what one backend keeps of one backend is %v", got)
	}
}

// What is held against clients that keep to a backend of their own is an arm before as many backends.
func TestOfBest(t *testing.T) {
	test := &Test{Arms: []Arm{
		*twoRounds(balancers.Direct+OneBackend, balancers.Direct, 100*time.Millisecond), *twoRounds(balancers.Direct, balancers.Direct, 150*time.Millisecond),
		*twoRounds("x"+OneBackend, "x", 120*time.Millisecond), *twoRounds("x", "x", 200*time.Millisecond),
	}}
	test.Arms[1].Backends, test.Arms[3].Backends = 3, 3
	for i, want := range []float64{math.NaN(), math.NaN(), math.NaN(), 0.75} {
		got := measure(mOfBest).Values(test, &test.Arms[i])[0]
		if !(math.Abs(got-want) < 1e-9 || math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s is %v of the best, want %v", test.Arms[i].Key, got, want)
		}
	}
}

func TestNothingIsNotANumber(t *testing.T) {
	test := &Test{Arms: []Arm{{Key: "x", Balancer: "x", Rounds: []*Round{{}}}}}
	for _, m := range measures() {
		got := m.Values(test, &test.Arms[0])[0]
		if m.Key == mFailed && got == 0 {
			continue
		}
		if !math.IsNaN(got) {
			t.Errorf("%s of a round without anything is %v", m.Key, got)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{percent(1), "100.0 %"},
		{percent(0.99999), "99.9 %"}, // one was refused
		{percent(0.00001), "0.1 %"},  // one was accepted
		{percent(0), "0.0 %"},
		{percent(0.3333), "33.3 %"},
		{micros(3.14159), "3.1 us"},
		{micros(1234.5), "1,235 us"},
		{micros(-1234.5), "-1,235 us"},
		{millis(0.04), "0.0 ms"},
		{latency(250_000), "0.25 ms"},
		{latency(25_000_000), "25.0 ms"},
		{latency(2_500_000_000), "2,500 ms"},
		{bytesText(269), "269 B"},
		{bytesText(3416), "3,416 B"},
		{bytesText(52_300_000), "52.3 MB"},
		{bytesText(24e9), "24.0 GB"},
		{thousands(-1234567), "-1,234,567"},
		{thousands(999), "999"},
		{span(1500 * time.Millisecond), "1.5 s"},
		{span(50 * time.Millisecond), "50 ms"},
		{span(7*time.Minute + 12*time.Second), "7.2 min"},
		{factor(0.305), "0.30"},
		{factor(12.34), "12.3"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// Add takes the groups of a run together, and its rounds apart.
func TestAdd(t *testing.T) {
	a := &Arm{}
	fast, slow := bench.NewHistogram(), bench.NewHistogram()
	fast.Record(time.Millisecond)
	slow.Record(9 * time.Millisecond)
	for range 2 {
		a.Add(&bench.Result{
			Took: time.Second,
			Groups: []bench.Group{
				{Name: "g", Tally: bench.Tally{Done: 3, Accepted: 2}, Latency: bench.Latency{Answer: fast}},
				{Name: "h", Tally: bench.Tally{Done: 4, Refused: 1}, Latency: bench.Latency{Answer: slow}},
			},
			Client: bench.Use{CPU: 5}, Machine: bench.Use{CPU: 6},
			Watched: []bench.Use{
				{Role: "backend", CPU: 10}, {Role: "backend", CPU: 20}, {Role: "balancer", CPU: 7, Memory: 80, Before: 60}, {Role: "other", CPU: 99},
			},
			Timeline: []bench.Tick{{Done: 1, Accepted: 1}, {Done: 2, Errors: 1}},
		})
	}
	r := a.Rounds[1]
	if len(a.Rounds) != 2 || r.Tally.Done != 7 || r.Backend != 30 || r.Balancer != 7 || r.Client != 5 || r.Machine != 6 || r.Memory != 80 || r.Before != 60 {
		t.Errorf("round %+v", r)
	}
	if a.Tally.Done != 14 || a.Groups["h"].Done != 8 || a.Latency.Answer.Count() != 4 || a.Latency.Full != nil {
		t.Errorf("arm %+v", a)
	}
	if len(a.Timeline) != 2 || a.Timeline[1] != (bench.Tick{Done: 4, Errors: 2}) {
		t.Errorf("timeline %+v", a.Timeline)
	}
	if r.Answer.P50 < 900*time.Microsecond || r.Answer.P50 > 1100*time.Microsecond || r.Answer.P99 < 8*time.Millisecond {
		t.Errorf("quantiles %+v", r.Answer)
	}
	if fast.Count() != 1 {
		t.Error("a histogram of the run was changed")
	}
	a.Miss("it died")
	if len(a.Rounds) != 3 || a.Rounds[2] != nil || a.Failed != "it died" {
		t.Errorf("a round that was missed: %+v", a)
	}
}
