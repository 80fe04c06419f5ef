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
	Name   string
	Class  string // colour of the name's mark and of the bars; empty: none
	Strong bool
	Cells  []cell
}

// cell is one figure, and how it looks among those of its table; nil: as a figure.
type cell struct {
	Text string
	Bar  *bar
}

// bar is drawn in a cell, in parts of the greatest of its table, 0 to 100. From the least to the greatest round runs a
// thin line.
type bar struct{ Width, Least, Spread float64 }

func newBar(s Stat, greatest float64) *bar {
	if !s.OK() || !(greatest > 0) {
		return nil
	}
	part := func(v float64) float64 { return math.Round(1000*min(max(v/greatest, 0), 1)) / 10 }
	b := &bar{Width: part(s.Median), Least: part(s.Min)}
	b.Spread = math.Round(10*(part(s.Max)-b.Least)) / 10
	return b
}

func plainCell(text string) cell { return cell{Text: text} }

// column heads a question's column.
func (v *view) column(q question, run int) string {
	s := kindName(q.Kind)
	if q.Scenario == Low {
		s = count(q.Plan.Rate) + "/s"
	}
	if q.Scenario == string(bench.Resume) {
		s += ", " + sourcesName(q.Sources)
	}
	if l := v.letter(run); l != "" {
		s += " (" + l + ")"
	}
	return s
}

// measureTable is a table of one measure: of choices by questions and runs, its cells with bars.
func (v *view) measureTable(caption string, list []question, choices []choice, m Measure) table {
	out := table{Caption: caption, Head: []string{"through"}}
	greatest := 0.0
	for _, q := range list {
		for _, run := range q.runs() {
			out.Head = append(out.Head, v.column(q, run))
		}
		for _, c := range choices {
			for _, s := range v.stats(q, c, m) {
				if s.OK() {
					greatest = max(greatest, s.Max)
				}
			}
		}
	}
	for _, c := range choices {
		row := tableRow{Name: c.name, Class: c.class(), Strong: c.homing()}
		for _, q := range list {
			stats := v.stats(q, c, m)
			for _, run := range q.runs() {
				row.Cells = append(row.Cells, cell{Text: m.Text(stats[run]), Bar: newBar(stats[run], greatest)})
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// full is the table of all measures of one test, as the terminal has it, and how homing compares.
func full(t *Test) []table {
	tables := []table{t.table(t.title()+": "+t.settings(t.rounds()), columns(t.Scenario))}
	if list := latencies(t.Scenario); len(list) > 0 {
		tables = append(tables, t.table("how long it took", list))
	}
	if g := groupTable(t); len(g.Rows) > 0 {
		tables = append(tables, g)
	}
	for _, s := range t.subjects() {
		tables = append(tables, against(t, s))
	}
	return tables
}

// table has the arms of the test by measures.
func (t *Test) table(caption string, list []Measure) table {
	out := table{Caption: caption, Head: []string{"through"}}
	for _, m := range list {
		out.Head = append(out.Head, m.Name)
	}
	for i := range t.Arms {
		a := &t.Arms[i]
		row := tableRow{Name: a.label(), Class: "c-" + a.Balancer}
		for _, m := range list {
			row.Cells = append(row.Cells, plainCell(m.Text(m.Stat(t, a))))
		}
		out.Rows = append(out.Rows, row)
	}
	return out
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
				c = plainCell(percent(share))
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
