package report

import (
	"cmp"
	_ "embed" // the page's template and style
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"homing/bench"
	"homing/bench/balancers"
)

//go:embed page.html
var pageTemplate string

//go:embed page.css
var pageStyle string

// page is what the template draws.
type page struct {
	Title    string
	Lead     string
	Style    template.CSS
	Hero     *dots
	Runs     []runHead
	Sections []*section
	Details  []detail
}

// runHead says where and how a run was made.
type runHead struct {
	Letter, Title, When, Machine, Backends, Command, Ended string
	Programs                                               []string
	Absent                                                 []string
	Warnings                                               []string
}

// section is one question of the page, with its charts and the table that says the same.
type section struct {
	ID, Title, Lead string
	Legend          []legend
	Panels          []panel
	Tables          []table
	More            []table // for those who look closer
}

// Side reports whether the charts leave room for the tables beside them on a wide screen.
func (s *section) Side() bool {
	for _, t := range s.Tables {
		if len(t.Head) > 4 {
			return false
		}
	}
	return len(s.Panels) == 1
}

type legend struct{ Class, Name string }

// panel is one chart.
type panel struct {
	ID, Title, Alt string
	Bars           *bars
	Curves         *curves
	Areas          *areas
}

// detail is all figures of one test.
type detail struct {
	Title, Settings string
	Tables          []table
	Notes           []string
}

// WriteHTML draws one or several reports as one page that needs nothing beside itself.
func WriteHTML(w io.Writer, reports ...*Report) error {
	t, err := template.New("page").Funcs(template.FuncMap{"n": num}).Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	if err := t.Execute(w, newPage(&view{runs: reports})); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func newPage(v *view) *page {
	p := &page{Title: "What becomes of TLS sessions behind a balancer", Lead: v.lead(), Style: template.CSS(pageStyle)} //nolint:gosec // our own file
	if list := v.questions(string(bench.Resume)); len(list) > 0 {
		p.Hero = v.newDots(list)
	}
	for run, r := range v.runs {
		p.Runs = append(p.Runs, v.head(run, r))
		for i := range r.Tests {
			p.Details = append(p.Details, v.detail(run, &r.Tests[i]))
		}
	}
	for _, s := range []func() section{
		v.resumedSection, v.costSection, v.latencySection, v.secondSection, v.steadySection, v.distanceSection, v.rateSection,
		v.bulkSection, v.idleSection, v.churnSection, v.failoverSection, v.shapesSection,
	} {
		if one := s(); len(one.Panels)+len(one.Tables) > 0 {
			p.Sections = append(p.Sections, &one)
		}
	}
	for i := range p.Sections {
		s := p.Sections[i]
		for n := range s.Panels {
			s.Panels[n].ID = fmt.Sprintf("%s-%d", s.ID, n+1)
		}
	}
	return p
}

func (v *view) head(run int, r *Report) runHead {
	h := runHead{
		Letter: v.letter(run), Title: r.Title, When: r.Started.UTC().Format("2 January 2006, 15:04 UTC"),
		Machine: fmt.Sprintf("%d %s of %s, %s of memory, Linux %s, %s", r.Host.CPUs, plural(r.Host.CPUs, "CPU"), r.Host.Model,
			bytesText(float64(r.Memory)), r.Host.Kernel, r.System),
		Backends: fmt.Sprintf("%s; each balancer has %d %s", r.Backends, r.Threads, plural(r.Threads, "thread")),
		Command:  r.Host.Command, Ended: r.Ended, Warnings: r.Warnings,
		Programs: []string{"homing-bench " + r.Host.Version + " (" + r.Host.Go + ")"},
	}
	for _, p := range r.Programs {
		h.Programs = append(h.Programs, p.Name+" "+p.Version)
	}
	for _, a := range r.Absent {
		h.Absent = append(h.Absent, a.Name+": "+a.Why)
	}
	return h
}

func (v *view) detail(run int, t *Test) detail {
	d := detail{Title: t.title(), Settings: t.settings(t.rounds()), Tables: full(t)}
	if l := v.letter(run); l != "" {
		d.Title = l + " " + d.Title
	}
	d.Notes = t.notes()
	return d
}

// legends are the colours of choices.
func legends(choices []choice) []legend {
	var list []legend
	for _, c := range choices {
		list = append(list, legend{Class: c.class(), Name: c.name})
	}
	return list
}

// panelTitle names a question's chart.
func panelTitle(q question) string {
	s := cmp.Or(kindName(q.Kind), q.Scenario)
	if q.Scenario == string(bench.Resume) {
		s += ", " + sourcesName(q.Sources)
	}
	return s
}

// barPanels draws one measure of each question. All panels of a section have the same scale, so that they can be held
// against each other.
func (v *view) barPanels(list []question, choices []choice, m Measure, top float64, ticks []tick) []panel {
	var panels []panel
	for _, q := range list {
		b := v.newBars(q, choices, func(c choice, run int) amount {
			s := v.stats(q, c, m)[run]
			return amount{parts: []float64{s.Median}, classes: []string{c.class()}, stat: s, text: m.shortText(s)}
		}, top, ticks)
		panels = append(panels, panel{Title: panelTitle(q), Bars: b, Alt: alt(m.About, b)})
	}
	return panels
}

// shortText leaves the spread to the whisker.
func (m Measure) shortText(s Stat) string {
	if !s.OK() {
		return none
	}
	return m.format(s.Median)
}

// alt is a chart of bars in words.
func alt(what string, b *bars) string {
	var parts []string
	for _, row := range b.Rows {
		for _, one := range row.Bars {
			parts = append(parts, strings.TrimSpace(one.Letter+" "+one.Tip))
		}
	}
	return what + ". " + strings.Join(parts, "; ") + "."
}

// greatest is the greatest median of a measure in any question, and the end of its axis.
func (v *view) greatest(list []question, choices []choice, m Measure) float64 {
	most := 0.0
	for _, q := range list {
		for _, c := range choices {
			for _, s := range v.stats(q, c, m) {
				if s.OK() {
					most = math.Max(most, s.Median)
				}
			}
		}
	}
	return niceMax(most)
}

// evenTicks are four steps of an axis that begins at 0.
func evenTicks(m Measure, top float64) []tick {
	return []tick{{At: 0, Text: "0"}, {At: top / 2, Text: m.format(top / 2)}, {At: top, Text: m.format(top)}}
}

// without leaves out what stands before one backend where others stand before several.
func without(choices []choice) []choice {
	return slices.DeleteFunc(slices.Clone(choices), func(c choice) bool {
		return strings.HasSuffix(c.key, OneBackend)
	})
}

// notDirect leaves out the way without a balancer.
func notDirect(choices []choice) []choice {
	return slices.DeleteFunc(slices.Clone(choices), func(c choice) bool { return c.family == balancers.FamilyDirect })
}
