package report

import (
	"fmt"
	"io"
	"strings"

	"homing/bench"
)

// nameWidth is the width of a row's name; figures take what they need, and the whole stays within 130 columns.
const nameWidth = 24

// WriteText writes the report as tables for a terminal: what was asked, what came of it, how homing compares.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeHead(&b)
	for i := range r.Tests {
		writeTest(&b, &r.Tests[i])
	}
	r.writeLow(&b)
	r.writeFoot(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *Report) writeHead(b *strings.Builder) {
	fmt.Fprintf(b, "%s\n", r.machine())
	fmt.Fprintf(b, "Backends: %s. Each balancer has %d %s.\n", r.Backends, r.Threads, plural(r.Threads, "thread"))
	if len(r.Programs) > 0 {
		var list []string
		for _, p := range r.Programs {
			list = append(list, p.Name+" "+p.Version)
		}
		fmt.Fprintf(b, "Programs: %s.\n", strings.Join(list, ", "))
	}
	for _, a := range r.Absent {
		fmt.Fprintf(b, "Absent: %s: %s.\n", a.Name, a.Why)
	}
	fmt.Fprintf(b, "Command: %s\n", r.Host.Command)
	if r.Ended != "" {
		fmt.Fprintf(b, "Ended before its time: %s\n", r.Ended)
	}
}

// maxBeside is how many measures stand beside each other when runs do.
const maxBeside = 4

// WriteBeside writes what several reports have in common, their figures beside each other: A is the first of them. Runs
// were not made by turns, so nothing is said of what is equal.
func WriteBeside(w io.Writer, reports ...*Report) error {
	v := &view{runs: reports}
	var b strings.Builder
	for _, q := range v.questions(allScenarios()...) {
		list := judged(q.Scenario)
		list = list[:min(len(list), maxBeside)]
		out := table{Head: []string{"through"}}
		for _, m := range list {
			for run := range v.runs {
				out.Head = append(out.Head, m.Name+" "+v.letter(run))
			}
		}
		shared := 0
		for _, t := range q.of {
			if t != nil {
				shared++
			}
		}
		if shared < 2 {
			continue
		}
		for _, c := range v.choices([]question{q}) {
			row := tableRow{Name: c.name}
			for _, m := range list {
				for _, s := range v.stats(q, c, m) {
					row.Cells = append(row.Cells, plainCell(m.Text(s)))
				}
			}
			out.Rows = append(out.Rows, row)
		}
		fmt.Fprintf(&b, "\n%s, side by side\n\n", q.title())
		out.writeText(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the reports: %w", err)
	}
	return nil
}

// machine says where and when, in one line.
func (r *Report) machine() string {
	return fmt.Sprintf("%s, %d %s of %s, %s, Linux %s, %s; homing-bench %s, %s.", r.Started.UTC().Format("2006-01-02 15:04 UTC"),
		r.Host.CPUs, plural(r.Host.CPUs, "CPU"), r.Host.Model, bytesText(float64(r.Memory)), r.Host.Kernel, r.System, r.Host.Version, r.Host.Go)
}

func (r *Report) writeFoot(b *strings.Builder) {
	b.WriteString("\nFigures are medians of the rounds, ± half their range. A comparison is the median of the ratios by round; one that the\n" +
		"spread of these ratios explains (Lord's test, 95 %) is called equal. CPU is per conn, unless it says per GB; the\n" +
		"machine's is everything, clients included.\n")
	for _, w := range r.Warnings {
		fmt.Fprintf(b, "Warning: %s\n", w)
	}
}

func writeTest(b *strings.Builder, t *Test) {
	for i, table := range full(t) {
		if i == 0 {
			fmt.Fprintf(b, "\n%s\n%s\n", t.title(), t.settings(t.rounds()))
		}
		b.WriteByte('\n')
		table.writeText(b)
		if i > 0 {
			continue
		}
		for _, note := range t.notes() {
			fmt.Fprintf(b, "%s\n", note)
		}
	}
}

// writeLow writes what the tests of low show together: measures by rates, and the gates.
func (r *Report) writeLow(b *strings.Builder) {
	tables := (&view{runs: []*Report{r}}).lowTables()
	if gates := r.gateTable(); len(gates.Rows) > 0 {
		tables = append(tables, gates)
	}
	for _, t := range tables {
		fmt.Fprintf(b, "\n%s\n\n", t.Caption)
		t.writeText(b)
	}
}

// label is the arm's name, and that it has one backend where others have several.
func (a *Arm) label() string {
	if strings.HasSuffix(a.Key, OneBackend) {
		return a.Name + ", one"
	}
	return a.Name
}

// writeText aligns figures to the right.
func (t *table) writeText(b *strings.Builder) {
	rows := [][]string{t.Head}
	for _, row := range t.Rows {
		line := []string{row.Name}
		for _, c := range row.Cells {
			line = append(line, c.Text)
		}
		rows = append(rows, line)
	}
	bench.WriteTable(b, rows, nameWidth)
}
