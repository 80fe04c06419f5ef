package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// Scenarios that only a comparison has, beside those of package bench.
const (
	Second   = "second"   // one backend, then several, as fast as answers come: what the others add
	Steady   = "steady"   // the same at one steady rate for one and for several
	Distance = "distance" // a resume run with a delay between clients and balancer
	Low      = "low"      // resume, evenly paced, at rates at which a balancer mostly waits
	Rest     = "rest"     // nobody connects; the first test of low
)

func allScenarios() []string {
	list := []string{Second, Steady, Distance, Low, Rest}
	for _, s := range bench.Scenarios() {
		list = append(list, string(s))
	}
	return list
}

// columns are the measures that a scenario is judged by, in the order of its table.
func columns(scenario string) []Measure {
	keys := []string{mResumed, mBackend, mBalancer, mMachine, mClient, mMemory, mHandshake, mAnswer, mFailed}
	switch scenario {
	case Second, Steady:
		keys = []string{mRate, mKept, mOfBest, mResumed, mBackend, mBalancer, mMachine, mClient, mFailed}
	case Distance:
		keys = []string{mResumed, mHandshake, mFull, mResumption, mBackend, mBalancer, mClient, mFailed}
	case Low:
		keys = []string{mResumed, mBalancer, mTasks, mAbove, mVoluntary, mInvoluntary, mClient, mFailed}
	case Rest:
		keys = []string{mRestCPU, mWakeUps, mResident, mMemory}
	case string(bench.Rate):
		keys = []string{mSustained, mResumed, mBackend, mBalancer, mMachine, mClient} // which fails at its end on purpose
	case string(bench.Bulk):
		keys = []string{mGbit, mBackendGB, mBalancerGB, mMachineGB, mClientGB, mMemory, mFailed}
	case string(bench.Idle):
		keys = []string{mIdle, mMemory, mBalancer, mMachine, mClient, mFailed}
	case string(bench.Churn), string(bench.Failover):
		keys = []string{mResumed, mRate, mBackend, mBalancer, mMachine, mClient, mHandshake, mAnswer, mFailed}
	}
	var list []Measure
	for _, key := range keys {
		list = append(list, measure(key))
	}
	return list
}

// latencies are the measures that have a table of their own, in a scenario that has as many others.
func latencies(scenario string) []Measure {
	if scenario != Low {
		return nil
	}
	return []Measure{measure(mHandshake), measure(mHandshakeP99), measure(mAnswerP50), measure(mAnswer)}
}

// judged are the measures of a scenario in which balancers are compared: no harness's own, and nothing that is counted in
// a few units.
func judged(scenario string) []Measure {
	var list []Measure
	for _, m := range append(columns(scenario), latencies(scenario)...) {
		switch m.Key {
		case mClient, mClientGB, mFailed, mMemory, mOfBest, mInvoluntary: // the last one is a comparison itself
		default:
			list = append(list, m)
		}
	}
	return list
}

// subjects are the arms that are held against the others: homing's, before all backends.
func (t *Test) subjects() []*Arm {
	var list []*Arm
	for i := range t.Arms {
		if a := &t.Arms[i]; a.Family == balancers.FamilyHoming && !strings.HasSuffix(a.Key, OneBackend) && a.measured() {
			list = append(list, a)
		}
	}
	return list
}

// rivals are the arms that a subject is held against.
func (t *Test) rivals(subject *Arm) []*Arm {
	var list []*Arm
	for i := range t.Arms {
		if a := &t.Arms[i]; a != subject && !strings.HasSuffix(a.Key, OneBackend) && a.measured() {
			list = append(list, a)
		}
	}
	return list
}

// measured reports whether the arm got through any round.
func (a *Arm) measured() bool {
	return slices.ContainsFunc(a.Rounds, func(r *Round) bool { return r != nil })
}

// settings says in one line what each round of a test was.
func (t *Test) settings(rounds int) string {
	p := &t.Plan
	var s []string
	switch {
	case t.Scenario == string(bench.Rate):
		s = append(s, "rising rates")
	case t.Scenario == Rest:
		return fmt.Sprintf("nobody connects, all of them at once, %d %s of %s", rounds, plural(rounds, "round"),
			span(p.Duration.Round(time.Millisecond)))
	case p.Rate == 0:
		s = append(s, "as fast as answers come")
	default:
		s = append(s, count(p.Rate)+" conns/s")
	}
	s = append(s, thousands(int64(p.Clients))+" clients")
	if p.Delay > 0 {
		s = append(s, span(p.Delay)+" each way")
	}
	for _, g := range p.Groups {
		if g.Response > 0 {
			s = append(s, "answers of "+bytesText(float64(g.Response)))
			break
		}
	}
	s = append(s, fmt.Sprintf("%d %s of %s", rounds, plural(rounds, "round"), span(p.Duration.Round(time.Millisecond))))
	return strings.Join(s, ", ")
}

// notes say what went wrong, arm by arm: rounds that are missing, and conns that failed.
func (t *Test) notes() []string {
	var list []string
	for i := range t.Arms {
		a := &t.Arms[i]
		if a.Failed != "" {
			list = append(list, a.label()+": "+a.Failed)
		}
		if n := a.Tally.Failed(); n > 0 && t.Scenario != string(bench.Rate) {
			var classes []string
			for _, class := range slices.Sorted(maps.Keys(a.Tally.Errors)) {
				classes = append(classes, fmt.Sprintf("%s %s", thousands(a.Tally.Errors[class]), strings.ReplaceAll(string(class), "_", " ")))
			}
			list = append(list, fmt.Sprintf("%s: %s of %s conns failed: %s", a.label(), thousands(n), thousands(a.Tally.Attempts), strings.Join(classes, ", ")))
		}
	}
	return list
}

// rounds is how many the test had.
func (t *Test) rounds() int {
	most := 0
	for i := range t.Arms {
		most = max(most, len(t.Arms[i].Rounds))
	}
	return most
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
