package report

import (
	_ "embed" // the plans
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"homing/bench/balancers"
)

// section is one question of the page: charts, and tables whose cells are bars.
type section struct {
	ID, Title, Lead string
	Charts          []chart
	Tables          []table
}

// sectionsJSON has the plans of the sections, in the order of the page. What no table there has is among all figures of a
// test, at the end of the page.
//
//go:embed sections.json
var sectionsJSON []byte

// sectionPlan says what a section is made of.
type sectionPlan struct {
	ID, Title, Lead string
	Scenarios       []string
	Tables          []tablePlan
	Charts          string // of each test, see drawings; empty: none
	Groups          bool   // a table of the groups of clients, for each test
	Gates           bool   // a table of the gates, for each run that has any
}

// tablePlan is a table of one measure. Of leaves choices out, see leavings; empty: none.
type tablePlan struct{ Measure, Caption, Of string }

// drawings are what charts are drawn by.
func drawings() map[string]func(t *Test, choices []choice) []chart {
	return map[string]func(t *Test, choices []choice) []chart{"percentiles": percentiles, "rising": rising, "timelines": timelines}
}

// leavings are what tables leave choices out by.
func leavings() map[string]func([]choice) []choice {
	return map[string]func([]choice) []choice{"several": several, "balancing": balancing}
}

func sectionPlans() []sectionPlan {
	var plans []sectionPlan
	if err := json.Unmarshal(sectionsJSON, &plans); err != nil {
		panic(err) // a mistake in this package
	}
	return plans
}

// section makes a section; nil where no run asked.
func (v *view) section(p *sectionPlan) *section {
	list := v.questions(p.Scenarios...)
	if len(list) == 0 {
		return nil
	}
	choices := v.choices(list)
	s := &section{ID: p.ID, Title: p.Title, Lead: p.Lead}
	if strings.Contains(s.Lead, "%s") {
		s.Lead = fmt.Sprintf(s.Lead, span(list[0].Plan.Delay))
	}
	for _, q := range list {
		for run, t := range q.of {
			if t == nil {
				continue
			}
			if draw := drawings()[p.Charts]; draw != nil {
				for _, c := range draw(t, choices) {
					c.Title = strings.TrimPrefix(v.letter(run)+": "+c.Title, ": ")
					c.ID = fmt.Sprintf("%s-%d", p.ID, len(s.Charts)+1)
					s.Charts = append(s.Charts, c)
				}
			}
			if g := groupTable(t); p.Groups && len(g.Rows) > 0 {
				g.Caption = strings.TrimSpace(v.letter(run) + " " + t.title())
				s.Tables = append(s.Tables, g)
			}
		}
	}
	for _, plan := range p.Tables {
		s.Tables = append(s.Tables, v.planned(plan, list, choices))
	}
	for run, r := range v.runs {
		if g := r.gateTable(); p.Gates && len(g.Rows) > 0 {
			g.Caption = strings.TrimSpace(v.letter(run) + " " + g.Caption)
			s.Tables = append(s.Tables, g)
		}
	}
	if len(s.Charts)+len(s.Tables) == 0 {
		return nil
	}
	return s
}

// planned is the table of a plan.
func (v *view) planned(plan tablePlan, list []question, choices []choice) table {
	if leave := leavings()[plan.Of]; leave != nil {
		choices = leave(choices)
	}
	return v.measureTable(plan.Caption, list, choices, measure(plan.Measure))
}

// several leaves out what stands before one backend where others stand before several.
func several(choices []choice) []choice {
	return slices.DeleteFunc(slices.Clone(choices), func(c choice) bool { return strings.HasSuffix(c.key, OneBackend) })
}

// balancing leaves out the way without a balancer, and what stands before one backend where others stand before several.
func balancing(choices []choice) []choice {
	return slices.DeleteFunc(several(choices), func(c choice) bool { return c.family == balancers.FamilyDirect })
}
