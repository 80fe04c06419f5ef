package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"homing/bench"
	"homing/bench/balancers"
)

func draw(t *testing.T, reports ...*Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, reports...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageNeedsNothingBesideItself(t *testing.T) {
	text := strings.Replace(draw(t, fixture(), fixture()), uplotScript, "", 1)
	if n := strings.Count(text, "<script>"); n != 2 || strings.Count(text, "<script") != n {
		t.Errorf("%d scripts, want the library and the page's own", n)
	}
	for _, bad := range []string{"http:", "https:", "src=", "url(", "@import", "<link", "<iframe", "javascript:", "ZgotmplZ", "NaN", "Inf", "%!"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("the page has %q: %q", bad, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// Every chart has a name and its figures in words, every table is beside one, and no two things have the same ID.
func TestPageCanBeReadWithoutEyes(t *testing.T) {
	text := draw(t, fixture())
	var ids, refs []string
	charts, tables, sections := 0, 0, 0
	d := xml.NewDecoder(strings.NewReader(text[strings.Index(text, "<header>"):strings.Index(text, "<script>")]))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := func(name string) string {
			for _, a := range e.Attr {
				if a.Name.Local == name {
					return a.Value
				}
			}
			return ""
		}
		if id := attr("id"); id != "" {
			ids = append(ids, id)
		}
		refs = append(refs, strings.Fields(attr("aria-labelledby"))...)
		if href := attr("href"); href != "" {
			refs = append(refs, strings.TrimPrefix(href, "#"))
		}
		switch e.Name.Local {
		case "div":
			if attr("data-plot") == "" {
				continue
			}
			charts++
			if attr("role") != "img" || len(strings.Fields(attr("aria-labelledby"))) != 2 {
				t.Errorf("a chart without a name, or without words: %v", e.Attr)
			}
		case "table":
			tables++
			if attr("aria-label") == "" {
				t.Error("a table without a name")
			}
		case "section":
			sections++
		}
	}
	if charts < 21 || sections < 12 || tables < sections {
		t.Errorf("%d charts and %d tables in %d sections", charts, tables, sections)
	}
	slices.Sort(ids)
	if unique := slices.Compact(slices.Clone(ids)); len(unique) != len(ids) {
		t.Errorf("IDs that are there twice: %d of %d", len(ids)-len(unique), len(ids))
	}
	for _, r := range refs {
		if !slices.Contains(ids, r) {
			t.Errorf("nothing has the ID %s", r)
		}
	}
}

// What a program says of itself and what stands in a file is text, whatever it looks like.
func TestPageEscapes(t *testing.T) {
	r := small()
	const evil = `</title><script>alert("x")</script>`
	r.Title, r.Host.Command, r.Backends, r.Warnings, r.Tests[0].Arms[1].Name = evil, evil, evil, []string{evil}, evil
	r.Absent, r.Programs = []balancers.Absent{{Name: evil, Why: evil}}, []balancers.Program{{Name: evil, Version: evil}}
	r.Tests[0].Arms[1].Balancer = `x" onload="alert(1)`
	text := draw(t, r, r)
	if strings.Count(text, "<script") != 2 || strings.Contains(text, `x" onload`) {
		t.Error("a name got into the page as code")
	}
	if !strings.Contains(text, "&lt;script&gt;") {
		t.Error("the names are not there at all")
	}
}

func TestPageOfSeveralRuns(t *testing.T) {
	a, b := small(), small()
	a.Title, b.Title = "before", "after"
	b.Tests[0].Arms = slices.DeleteFunc(b.Tests[0].Arms, func(a Arm) bool { return a.Key == balancers.HAProxyRR })
	text := draw(t, a, b)
	for _, want := range []string{
		`<span class="badge">A</span>before`, `<span class="badge">B</span>after`, "TLS 1.2 session ID, address kept (A)", "TLS 1.2 session ID, address kept (B)",
		"A: TLS 1.2 session ID, address kept", "accepted (A)", "accepted (B)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	var beside bytes.Buffer
	if err := WriteBeside(&beside, a, b); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^HAProxy round robin +33\.0 % +- `).Match(beside.Bytes()) {
		t.Errorf("a balancer that one run had not:\n%s", &beside)
	}
	if err := WriteBeside(&beside, a); err != nil || strings.Count(beside.String(), "side by side") != 1 {
		t.Errorf("one run has nothing beside it: %v", err)
	}
}

// Runs that asked different things stand for one: their questions add up, and nothing is drawn for what a run did not ask.
func TestPageOfRunsThatShareNothing(t *testing.T) {
	a, b := small(), small()
	b.Tests[0].Key, b.Tests[0].Kind = "resume/psk/own", bench.PSK
	text := draw(t, a, b)
	for _, bad := range []string{"accepted (A)", "accepted (B)"} {
		if strings.Contains(text, bad) {
			t.Errorf("runs are told apart: %s", bad)
		}
	}
	if !strings.Contains(text, "In the worst of 2 tests, 99.7\u00a0%") {
		t.Error("the lead does not count both runs")
	}
}

func TestLead(t *testing.T) {
	lead := func(change func(*Report)) string {
		r := fixture()
		change(r)
		return strings.ReplaceAll((&view{runs: []*Report{r}}).lead(), "\u00a0", " ")
	}
	if got, want := lead(func(*Report) {}), "In the worst of 6 tests, 99.7 % of the offers to resume were accepted through homing (io_uring); of the other balancers, HAProxy round robin comes nearest with 33.0 %."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := lead(func(r *Report) { r.Tests = r.Tests[:1] }), "In the one test of resumption, 99.7 % of the offers to resume were accepted through homing (io_uring); of the other balancers, HAProxy session ID comes nearest with 100.0 %."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := lead(func(r *Report) {
		r.Tests = slices.DeleteFunc(r.Tests, func(t Test) bool { return t.Scenario == string(bench.Resume) })
	}); got != "" {
		t.Errorf("without a test of resumption it says %q", got)
	}
}

// What the plans of the sections name is there.
func TestSectionPlansNameWhatIs(t *testing.T) {
	for _, p := range sectionPlans() {
		if drawings()[p.Charts] == nil && p.Charts != "" || p.ID == "" || p.Title == "" || p.Lead == "" {
			t.Errorf("section %+v", p)
		}
		for _, s := range p.Scenarios {
			if !slices.Contains(allScenarios(), s) {
				t.Errorf("section %s: there is no scenario %s", p.ID, s)
			}
		}
		for _, table := range p.Tables {
			known := slices.ContainsFunc(measures(), func(m Measure) bool { return m.Key == table.Measure })
			if !known || table.Caption == "" || leavings()[table.Of] == nil && table.Of != "" {
				t.Errorf("section %s: table %+v", p.ID, table)
			}
		}
	}
}
