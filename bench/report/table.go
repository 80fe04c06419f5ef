package report

import (
	"fmt"
	"math"

	"homing/bench"
)

// table is a table of the page.
type table struct {
	Caption string
	Head    []string
	Rows    []tableRow
}

type tableRow struct {
	Name  string
	Class string // colour of the name's mark; empty: none
	Cells []cell
}

// cell is one figure. Heat is 0 to 10, worst to best; -1 is not judged.
type cell struct {
	Text string
	Heat int
}

func plainCell(text string) cell { return cell{Text: text, Heat: -1} }

// heat puts a share of accepted offers into eleven steps.
func heat(share float64) int {
	if math.IsNaN(share) {
		return -1
	}
	return int(math.Round(10 * min(max(share, 0), 1)))
}

// matrix is a table of choices by questions and runs.
func (v *view) matrix(caption string, list []question, choices []choice, fill func(q question, c choice, run int) cell) table {
	t := table{Caption: caption, Head: []string{"through"}}
	for _, q := range list {
		for run := range v.runs {
			if q.of[run] != nil {
				t.Head = append(t.Head, v.column(q, run))
			}
		}
	}
	for _, c := range choices {
		row := tableRow{Name: c.name, Class: c.class()}
		for _, q := range list {
			for run := range v.runs {
				if q.of[run] != nil {
					row.Cells = append(row.Cells, fill(q, c, run))
				}
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// column heads a question's column.
func (v *view) column(q question, run int) string {
	s := kindName(q.Kind)
	if q.Scenario == string(bench.Resume) {
		s += ", " + sourcesName(q.Sources)
	}
	if l := v.letter(run); l != "" {
		s += " (" + l + ")"
	}
	return s
}

// measureTable is a matrix of one measure.
func (v *view) measureTable(caption string, list []question, choices []choice, m Measure) table {
	return v.matrix(caption, list, choices, func(q question, c choice, run int) cell {
		s := v.stats(q, c, m)[run]
		out := plainCell(m.Text(s))
		if m.Key == mResumed {
			out.Heat = heat(s.Median)
		}
		return out
	})
}

// full is the table of all measures of one test, as the terminal has it, and how homing compares.
func full(t *Test) []table {
	list := columns(t.Scenario)
	main := table{Caption: t.title() + ": " + t.settings(t.rounds()), Head: []string{"through"}}
	for _, m := range list {
		main.Head = append(main.Head, m.Name)
	}
	for i := range t.Arms {
		a := &t.Arms[i]
		row := tableRow{Name: a.label(), Class: "c-" + a.Balancer}
		for _, m := range list {
			s := m.Stat(t, a)
			c := plainCell(m.Text(s))
			if m.Key == mResumed {
				c.Heat = heat(s.Median)
			}
			row.Cells = append(row.Cells, c)
		}
		main.Rows = append(main.Rows, row)
	}
	tables := []table{main}
	if g := groupTable(t); len(g.Rows) > 0 {
		tables = append(tables, g)
	}
	for _, s := range t.subjects() {
		tables = append(tables, against(t, s))
	}
	return tables
}

// against holds one arm against the others.
func against(t *Test, subject *Arm) table {
	out := table{Caption: subject.label() + " against the others", Head: []string{subject.label() + " against"}}
	list := judged(t.Scenario)
	for _, m := range list {
		out.Head = append(out.Head, m.Name)
	}
	for _, rival := range t.rivals(subject) {
		row := tableRow{Name: rival.label(), Class: "c-" + rival.Balancer}
		for _, m := range list {
			row.Cells = append(row.Cells, plainCell(m.Compare(t, subject, rival).Text()))
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// groupTable tells the groups of clients apart, where a test has several: what was resumed, and what failed.
func groupTable(t *Test) table {
	out := table{Caption: "resumed, and conns that failed, by group of clients", Head: []string{"through"}}
	for _, g := range t.Plan.Groups {
		out.Head = append(out.Head, g.Name)
	}
	if len(t.Plan.Groups) < 2 {
		return table{}
	}
	for i := range t.Arms {
		a := &t.Arms[i]
		row := tableRow{Name: a.label(), Class: "c-" + a.Balancer}
		for _, g := range t.Plan.Groups {
			tally, ok := a.Groups[g.Name]
			if !ok {
				row.Cells = append(row.Cells, plainCell(none))
				continue
			}
			share, any := tally.Share()
			c := plainCell(none)
			if any {
				c = cell{Text: percent(share), Heat: heat(share)}
			}
			if n := tally.Failed(); n > 0 {
				c.Text += fmt.Sprintf(", %s failed", thousands(n))
			}
			row.Cells = append(row.Cells, c)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}
