package report

import (
	_ "embed" // the page's template, style, script, and the library that draws
	"fmt"
	"html/template"
	"io"
	"math"

	"homing/bench"
)

//go:embed page.html
var pageTemplate string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// uPlot draws lines: 50 kB, no dependencies, MIT (uplot/LICENSE), kept since 2019, as npm has it.
//
//go:embed uplot/uPlot.iife.min.js
var uplotScript string

//go:embed uplot/uPlot.min.css
var uplotStyle string

// uplotLicence goes with every copy.
//
//go:embed uplot/LICENSE
var uplotLicence string

// page is what the template draws.
type page struct {
	Title    string
	Lead     string
	Style    template.CSS
	Scripts  []template.JS
	Hero     *table
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

// detail is all figures of one test.
type detail struct {
	Title, Settings string
	Tables          []table
	Notes           []string
}

// WriteHTML draws one or several reports as one page that needs nothing beside itself.
func WriteHTML(w io.Writer, reports ...*Report) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	if err := t.Execute(w, newPage(&view{runs: reports})); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func newPage(v *view) *page {
	p := &page{
		Title: "What becomes of TLS sessions behind a balancer", Lead: v.lead(), Hero: v.hero(),
		Style:   template.CSS(uplotStyle + pageStyle),                                                              // our own files
		Scripts: []template.JS{template.JS("/*\n" + uplotLicence + "*/\n" + uplotScript), template.JS(pageScript)}, // the same
	}
	for run, r := range v.runs {
		p.Runs = append(p.Runs, v.head(run, r))
		for i := range r.Tests {
			p.Details = append(p.Details, v.detail(run, &r.Tests[i]))
		}
	}
	for _, plan := range sectionPlans() {
		if s := v.section(&plan); s != nil {
			p.Sections = append(p.Sections, s)
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

// hero is the table at the head of the page: which part of the offers found their session, the mean of all tests of
// resumption. Nil without such a test.
func (v *view) hero() *table {
	list := v.questions(string(bench.Resume))
	if len(list) == 0 {
		return nil
	}
	out := &table{Caption: "Offers to resume that found their session: the mean of all tests of resumption on this page", Head: []string{"through"}}
	groups := v.heads(list)
	for _, runs := range groups {
		name := "accepted"
		if len(groups) > 1 {
			name += " (" + v.letter(runs[0]) + ")"
		}
		out.Head = append(out.Head, name)
	}
	for _, c := range v.choices(list) {
		row := tableRow{Name: c.name, Class: c.class(), Strong: c.homing()}
		for _, runs := range groups {
			mean, _ := v.offers(runs, list, c)
			if math.IsNaN(mean) {
				row.Cells = append(row.Cells, plainCell(none))
				continue
			}
			row.Cells = append(row.Cells, cell{Text: percent(mean), Bar: newBar(Stat{Median: mean, Min: mean, Max: mean, Rounds: 1}, 1)})
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}
