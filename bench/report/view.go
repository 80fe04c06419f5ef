package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"homing/bench"
	"homing/bench/balancers"
)

// view is one or several reports, ready to be drawn beside each other. Runs have letters where there are several.
type view struct {
	runs []*Report
}

// letter names a run in charts; a single one needs no name.
func (v *view) letter(run int) string {
	if len(v.runs) == 1 {
		return ""
	}
	return string(rune('A' + run%26))
}

// question is one test as all runs have it; a run without it has nil.
type question struct {
	*Test // of the first run that has it
	of    []*Test
}

// questions are the tests of these scenarios in any run, in the order in which they come.
func (v *view) questions(scenarios ...string) []question {
	var list []question
	for run, r := range v.runs {
		for i := range r.Tests {
			t := &r.Tests[i]
			if !slices.Contains(scenarios, t.Scenario) {
				continue
			}
			at := slices.IndexFunc(list, func(q question) bool { return q.Key == t.Key })
			if at < 0 {
				at = len(list)
				list = append(list, question{Test: t, of: make([]*Test, len(v.runs))})
			}
			list[at].of[run] = t
		}
	}
	return list
}

// choice is one arm as all runs and tests have it.
type choice struct {
	key, balancer, family, name string
}

// choices are the arms of these questions that were measured, in the order of balancers.All.
func (v *view) choices(list []question) []choice {
	var found []choice
	for _, q := range list {
		for _, t := range q.of {
			if t == nil {
				continue
			}
			for i := range t.Arms {
				a := &t.Arms[i]
				if !slices.ContainsFunc(found, func(c choice) bool { return c.key == a.Key }) {
					found = append(found, choice{key: a.Key, balancer: a.Balancer, family: a.Family, name: a.label()})
				}
			}
		}
	}
	order := balancers.All()
	rank := func(c choice) int {
		n := 2 * slices.IndexFunc(order, func(b balancers.Balancer) bool { return b.Key == c.balancer })
		if strings.HasSuffix(c.key, OneBackend) {
			n--
		}
		return n
	}
	slices.SortStableFunc(found, func(a, b choice) int { return rank(a) - rank(b) })
	return found
}

// class is the colour of a choice in the style sheet.
func (c choice) class() string { return "c-" + c.balancer }

// homing reports whether it is what the others are held against.
func (c choice) homing() bool { return c.family == balancers.FamilyHoming }

// stats are one measure of one choice in one question, by run.
func (v *view) stats(q question, c choice, m Measure) []Stat {
	list := make([]Stat, len(v.runs))
	for run, t := range q.of {
		list[run] = statOf(nil)
		if a := t.Arm(c.key); a != nil {
			list[run] = m.Stat(t, a)
		}
	}
	return list
}

// offers is what one choice made of the offers of all questions in these runs, each question with the same weight.
func (v *view) offers(runs []int, list []question, c choice) (mean, worst float64) {
	var sum float64
	n := 0
	worst = math.NaN()
	for _, q := range list {
		stats := v.stats(q, c, measure(mResumed))
		for _, run := range runs {
			s := stats[run]
			if !s.OK() {
				continue
			}
			sum += s.Median
			n++
			if !(s.Median >= worst) { // so written that the first one counts
				worst = s.Median
			}
		}
	}
	return ratio(sum, float64(n)), worst
}

// heads are the groups of runs that the head of the page tells apart: each run alone where runs asked the same, so that
// they are to be held against each other; else all of them together, whose questions add up.
func (v *view) heads(list []question) [][]int {
	var together []int
	var alone [][]int
	for run := range v.runs {
		together = append(together, run)
		alone = append(alone, []int{run})
	}
	for _, q := range list {
		if len(q.runs()) > 1 {
			return alone
		}
	}
	return [][]int{together}
}

// runs are the numbers of the runs that have the question.
func (q *question) runs() []int {
	var list []int
	for run, t := range q.of {
		if t != nil {
			list = append(list, run)
		}
	}
	return list
}

// lead says in a sentence what the runs found out, or the first of them where they asked the same; empty where they did
// not ask.
func (v *view) lead() string {
	list := v.questions(string(bench.Resume))
	if len(list) == 0 {
		return ""
	}
	runs := v.heads(list)[0]
	tests := 0
	for _, q := range list {
		for _, run := range q.runs() {
			if slices.Contains(runs, run) {
				tests++
			}
		}
	}
	var home, next choice
	homeWorst, nextWorst := math.NaN(), math.NaN()
	for _, c := range v.choices(list) {
		_, worst := v.offers(runs, list, c)
		switch {
		case math.IsNaN(worst) || c.family == balancers.FamilyDirect:
		case c.family == balancers.FamilyHoming:
			if !(worst <= homeWorst) {
				home, homeWorst = c, worst
			}
		default:
			if !(worst <= nextWorst) {
				next, nextWorst = c, worst
			}
		}
	}
	if math.IsNaN(homeWorst) {
		return ""
	}
	in := "In the one test of resumption"
	if tests > 1 {
		in = fmt.Sprintf("In the worst of %d tests", tests)
	}
	if l := v.letter(0); l != "" && len(runs) == 1 {
		in = l + ": " + in
	}
	text := fmt.Sprintf("%s, %s of the offers to resume were accepted through %s", in, percent(homeWorst), home.name)
	if !math.IsNaN(nextWorst) {
		text += fmt.Sprintf("; of the other balancers, %s comes nearest with %s", next.name, percent(nextWorst))
	}
	return strings.ReplaceAll(text, " %", "\u00a0%") + "."
}
