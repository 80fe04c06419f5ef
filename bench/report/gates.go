package report

import (
	"fmt"
	"math"
	"slices"

	"homing/bench/balancers"
)

// Gate is what the scenario low asks of homing, and whether it is so.
type Gate struct {
	// What is asked of the arm with the key Arm.
	What, Arm string
	// Limit is the most that Figure may be, which is the median of the rounds, or of the ratios to HAProxy's by round. Not a
	// number: it was not measured, and the gate is neither passed nor failed.
	Limit, Figure float64
	Passed        bool
	// Unsure: it is beyond the limit, by no more than the spread of its rounds explains.
	Unsure bool

	format func(float64) string
}

// What the gates allow.
const (
	bestOwnCPU    = 1.05 // of HAProxy's own CPU time per conn, on the engine that needs less
	otherOwnCPU   = 1.10 // and on the other one
	mostHandshake = 1.00 // of HAProxy's 99th percentile of the handshake
	mostVoluntary = 8    // switches per conn
	mostWakeUps   = 20   // per second, when nobody connects
	mostRestCPU   = 60   // milliseconds per minute, then: a thousandth of a CPU
	mostResident  = 20e6 // bytes, then
)

// gateRates are the rates of low that have gates, in conns per second. The others are shown.
func gateRates() []float64 { return []float64{50, 200, 500, 2000} }

// Gates returns the gates of all tests that have any, test by test.
func (r *Report) Gates() []Gate {
	var list []Gate
	for i := range r.Tests {
		switch t := &r.Tests[i]; {
		case t.Scenario == Rest:
			list = append(list, t.restGates()...)
		case t.Scenario == Low && slices.Contains(gateRates(), t.Plan.Rate):
			list = append(list, t.lowGates()...)
		}
	}
	return list
}

func (t *Test) restGates() []Gate {
	var list []Gate
	for _, g := range []struct {
		what, key string
		limit     float64
	}{
		{"at rest: wake-ups per second", mWakeUps, mostWakeUps},
		{"at rest: own CPU per minute", mRestCPU, mostRestCPU},
		{"at rest: resident set", mResident, mostResident},
	} {
		for _, a := range t.subjects() {
			list = append(list, newGate(t, a, g.what, g.key, g.limit))
		}
	}
	return list
}

func (t *Test) lowGates() []Gate {
	at := " at " + count(t.Plan.Rate) + " conns/s"
	var list []Gate
	best := t.bestOwnCPU()
	for _, a := range t.subjects() {
		limit := otherOwnCPU
		if a == best {
			limit = bestOwnCPU
		}
		list = append(list, t.ratioGate(a, "own CPU, of HAProxy's,"+at, mBalancer, limit))
	}
	for _, a := range t.subjects() {
		list = append(list, t.aboveGate(a, "machine's CPU above direct, of HAProxy's,"+at))
	}
	for _, a := range t.subjects() {
		list = append(list, newGate(t, a, "voluntary switches per conn"+at, mVoluntary, mostVoluntary))
	}
	for _, a := range t.subjects() {
		list = append(list, t.ratioGate(a, "99 % of handshakes, of HAProxy's,"+at, mHandshakeP99, mostHandshake))
	}
	return list
}

// bestOwnCPU is the arm of homing's that needs the least of its own CPU time.
func (t *Test) bestOwnCPU() *Arm {
	var best *Arm
	least := math.Inf(1)
	for _, a := range t.subjects() {
		if v := measure(mBalancer).Stat(t, a).Median; v < least {
			best, least = a, v
		}
	}
	return best
}

// newGate asks that a measure of an arm be no more than the limit.
func newGate(t *Test, a *Arm, what, key string, limit float64) Gate {
	m := measure(key)
	v := m.Stat(t, a).Median
	return Gate{What: what, Arm: a.Key, Limit: limit, Figure: v, Passed: v <= limit, format: m.format}
}

// ratioGate asks that a measure of an arm be no more than so many times HAProxy's.
func (t *Test) ratioGate(a *Arm, what, key string, limit float64) Gate {
	g := Gate{What: what, Arm: a.Key, Limit: limit, Figure: math.NaN(), format: factor}
	haproxy := t.haproxy()
	if haproxy == nil {
		return g
	}
	m := measure(key)
	atMost := m.Values(t, haproxy)
	g.Figure = ratioOf(m.Values(t, a), atMost).Median
	for i := range atMost {
		atMost[i] *= limit
	}
	g.Passed = g.Figure <= limit
	g.Unsure = g.Figure > limit && ratioOf(m.Values(t, a), atMost).Verdict == Equal
	return g
}

// aboveGate asks that the CPU time of the machine above direct be no more than HAProxy's. It compares differences and no
// ratios, for on a machine with other work either may be below nothing.
func (t *Test) aboveGate(a *Arm, what string) Gate {
	m := measure(mAbove)
	g := Gate{What: what, Arm: a.Key, Limit: math.NaN(), Figure: math.NaN(), format: m.format}
	haproxy := t.haproxy()
	if haproxy == nil {
		return g
	}
	own, other := m.Values(t, a), m.Values(t, haproxy)
	var beyond []float64
	for i := range min(len(own), len(other)) {
		if d := own[i] - other[i]; !math.IsNaN(d) {
			beyond = append(beyond, d)
		}
	}
	if len(beyond) == 0 {
		return g
	}
	g.Limit, g.Figure = m.Stat(t, haproxy).Median, m.Stat(t, a).Median
	g.Passed = g.Figure <= g.Limit
	g.Unsure = !g.Passed && len(beyond) > 1 && insideSpread(beyond)
	return g
}

// haproxy is the arm that ratios are to; nil without one.
func (t *Test) haproxy() *Arm {
	at := slices.IndexFunc(t.Arms, func(a Arm) bool { return a.Family == balancers.FamilyHAProxy })
	if at < 0 {
		return nil
	}
	return &t.Arms[at]
}

// Text is the figure, its limit, and what they make.
func (g *Gate) Text() string {
	if math.IsNaN(g.Figure) {
		return none
	}
	text := g.format(g.Figure) + " of " + g.format(g.Limit)
	switch {
	case g.Passed:
		return text + " passed"
	case g.Unsure:
		return text + " unsure"
	default:
		return text + " FAILED"
	}
}

// gateTable has the gates by arms; without rows where the report has none.
func (r *Report) gateTable() table {
	gates := r.Gates()
	out := table{Caption: "What is asked of homing", Head: []string{"figure, of the most it may be"}}
	passed, unsure, known := 0, 0, 0
	for i := range gates {
		g := &gates[i]
		if !slices.Contains(out.Head[1:], g.Arm) {
			out.Head = append(out.Head, g.Arm)
		}
		if !math.IsNaN(g.Figure) {
			known++
		}
		switch {
		case g.Passed:
			passed++
		case g.Unsure:
			unsure++
		}
	}
	for i := range gates {
		what := gates[i].What
		if slices.ContainsFunc(out.Rows, func(row tableRow) bool { return row.Name == what }) {
			continue
		}
		row := tableRow{Name: what}
		for _, arm := range out.Head[1:] {
			c := plainCell(none)
			if at := slices.IndexFunc(gates, func(g Gate) bool { return g.What == what && g.Arm == arm }); at >= 0 {
				c = plainCell(gates[at].Text())
			}
			row.Cells = append(row.Cells, c)
		}
		out.Rows = append(out.Rows, row)
	}
	out.Caption += fmt.Sprintf(": %d of %d passed, %d beyond their limits by no more than the rounds differ", passed, known, unsure)
	return out
}
