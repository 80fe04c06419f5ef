package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteText writes the result for a terminal.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeHead(&b)
	r.writeGroups(&b)
	r.writeSteps(&b)
	r.writeBackends(&b)
	r.writeCost(&b)
	for _, d := range r.Disturbances {
		what := "up"
		if d.Down {
			what = "down"
		}
		fmt.Fprintf(&b, "After %s: %s %s, which took %s%s.\n", span(d.Began), d.Who, what, span(d.Took), prefixed(", and failed: ", d.Error))
	}
	r.writeOutages(&b)
	if r.Ended != "" {
		fmt.Fprintf(&b, "The run ended before its time: %s.\n", r.Ended)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "Warning: %s\n", warning)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("bench: write result: %w", err)
	}
	return nil
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func (r *Result) writeHead(b *strings.Builder) {
	p := &r.Plan
	load := "closed loop"
	if p.Scenario == Rate {
		load = fmt.Sprintf("steps of %s from %.0f conns/s", span(p.Duration), p.Steps[0])
	} else if p.Rate > 0 {
		load = fmt.Sprintf("%g conns/s", p.Rate)
	}
	fmt.Fprintf(b, "%s through %s: %d clients, %s, %s after %s of warm-up, sources %s", p.Scenario, strings.Join(p.Targets, " "), p.Clients,
		load, span(r.Took), span(p.WarmUp), p.Sources)
	if p.Delay > 0 {
		fmt.Fprintf(b, ", %s each way", span(p.Delay))
	}
	fmt.Fprintf(b, ", seed %d\n%s, %d CPUs, Linux %s, %s, homing-bench %s, %s\n", p.Seed, orUnknown(r.Host.Model), r.Host.CPUs,
		orUnknown(r.Host.Kernel), r.Host.Go, orUnknown(r.Host.Version), r.Start.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(b, "Command: %s\n", r.Host.Command)
}

func orUnknown(s string) string { return cmp.Or(s, "unknown") }

// WriteTable aligns all columns but the first to the right. The first has so many columns of the terminal at least.
func WriteTable(b *strings.Builder, rows [][]string, first int) {
	widths := make([]int, len(rows[0]))
	widths[0] = first
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		fmt.Fprintf(b, "%-*s", widths[0], row[0]) // which pads by runes
		for i, cell := range row[1:] {
			fmt.Fprintf(b, "%*s", 2+widths[i+1], cell)
		}
		b.WriteByte('\n')
	}
}

func writeTable(b *strings.Builder, rows [][]string) {
	b.WriteByte('\n')
	WriteTable(b, rows, 0)
}

func (r *Result) writeGroups(b *strings.Builder) {
	rows := [][]string{{
		"", "clients", "conns", "failed", "offered", "accepted", "share", "resumed p50", "full p50", "answer p50", "p99", "p99.9", "at start p99",
	}}
	var all Group
	all.Name = "all"
	for i := range r.Groups {
		g := &r.Groups[i]
		rows = append(rows, g.row())
		all.Clients += g.Clients
		all.Add(&g.Tally)
		all.Latency.Merge(&g.Latency)
	}
	if len(r.Groups) > 1 {
		rows = append(rows, all.row())
	}
	writeTable(b, rows)
	b.WriteString("Latencies count from when the conn should have begun; \"at start\" is the answer's from when it did.\n")
	for i := range r.Groups {
		g := &r.Groups[i]
		for _, class := range slices.Sorted(maps.Keys(g.Errors)) {
			fmt.Fprintf(b, "%s: %d failed: %s.\n", g.Name, g.Errors[class], class.words())
		}
	}
	if all.EarlyOffered > 0 {
		fmt.Fprintf(b, "Early data: sent %d times, accepted %d times.\n", all.EarlyOffered, all.EarlyAccepted)
	}
	if all.Moved > 0 {
		fmt.Fprintf(b, "%d connects failed and went on to another target.\n", all.Moved)
	}
	if r.Plan.Scenario == Bulk && r.Took > 0 {
		fmt.Fprintf(b, "%.2f GB, %.2f Gbit/s.\n", float64(all.Read)/1e9, float64(all.Read)*8/1e9/r.Took.Seconds())
	}
}

func (g *Group) row() []string {
	share := "-"
	if s, ok := g.Share(); ok {
		share = fmt.Sprintf("%.1f%%", 100*s)
	}
	n := func(v int64) string { return fmt.Sprint(v) }
	l := &g.Latency
	return []string{
		g.Name, n(int64(g.Clients)), n(g.Attempts), n(g.Failed()), n(g.Offered), n(g.Accepted), share,
		quantile(l.Resumed, 0.5), quantile(l.Full, 0.5), quantile(l.Answer, 0.5), quantile(l.Answer, 0.99), quantile(l.Answer, 0.999),
		quantile(l.Service, 0.99),
	}
}

func quantile(h *Histogram, q float64) string {
	if h.Count() == 0 {
		return "-"
	}
	return span(h.Quantile(q))
}

// span writes a time with three digits.
func span(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	default:
		return fmt.Sprintf("%.3g us", float64(d)/float64(time.Microsecond))
	}
}

func (r *Result) writeSteps(b *strings.Builder) {
	if len(r.Steps) == 0 {
		return
	}
	rows := [][]string{{"rate", "done", "errors", "p99", "kept up"}}
	best := 0.0
	for _, s := range r.Steps {
		word := "no"
		if s.Sustained {
			word, best = "yes", max(best, s.Rate)
		}
		rows = append(rows, []string{
			fmt.Sprintf("%.0f", s.Rate), fmt.Sprintf("%.0f", s.Achieved), fmt.Sprint(s.Errors), span(time.Duration(s.P99) * time.Microsecond), word,
		})
	}
	writeTable(b, rows)
	fmt.Fprintf(b, "The target kept up with %.0f conns/s.\n", best)
}

// writeBackends says who answered.
func (r *Result) writeBackends(b *strings.Builder) {
	var all Tally
	for i := range r.Groups {
		all.Add(&r.Groups[i].Tally)
	}
	if _, unnamed := all.Backends[""]; len(all.Backends) == 0 || unnamed && len(all.Backends) == 1 {
		return
	}
	rows := [][]string{{"answered by", "conns", "accepted", "refused"}}
	for _, name := range slices.Sorted(maps.Keys(all.Backends)) {
		t := all.Backends[name]
		rows = append(rows, []string{orUnknown(name), fmt.Sprint(t.Conns), fmt.Sprint(t.Accepted), fmt.Sprint(t.Refused)})
	}
	writeTable(b, rows)
}

// writeCost says who spent how much.
func (r *Result) writeCost(b *strings.Builder) {
	rows := [][]string{{"CPU", "per conn", "of the machine", "memory", "before"}}
	whole := r.Took.Seconds() * float64(r.Host.CPUs)
	uses := append([]Use{r.Client}, r.Watched...)
	for _, u := range append(uses, r.Machine) {
		part, per := "-", "-"
		if whole > 0 && u.CPU > 0 {
			part = fmt.Sprintf("%.0f%%", 100*u.CPU.Seconds()/whole)
		}
		if cpu := r.CPUPerConn(&u); cpu > 0 {
			per = span(cpu)
		}
		name := strings.TrimSpace(u.Role + " " + u.Name)
		if u.Role == "machine" {
			name = "whole machine"
		}
		rows = append(rows, []string{name, per, part, size(u.Memory), size(u.Before)})
	}
	writeTable(b, rows)
	if r.Plan.Scenario != Idle {
		return
	}
	for _, u := range uses {
		if cost, ok := r.memoryPerConn(&u); ok {
			fmt.Fprintf(b, "Each conn takes %.2f kB of %s's memory.\n", float64(cost)/1000, u.Name)
		}
	}
}

// memoryPerConn is what one conn of Scenario Idle costs a process, in bytes.
func (r *Result) memoryPerConn(u *Use) (int64, bool) {
	var conns, own int64
	for i := range r.Groups {
		conns += r.Groups[i].Shaken
		own += r.Groups[i].Backends[u.Name].Conns
	}
	if own > 0 { // a backend has its own alone
		conns = own
	}
	if conns == 0 || u.Memory == 0 || u.Before == 0 {
		return 0, false
	}
	return (u.Memory - u.Before) / conns, true
}

func size(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// writeOutages says when conns failed, where something was done to the target.
func (r *Result) writeOutages(b *strings.Builder) {
	if len(r.Disturbances) == 0 {
		return
	}
	first, last, failed := -1, -1, int64(0)
	for i, t := range r.Timeline {
		if t.Errors == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		last, failed = i, failed+t.Errors
	}
	if first < 0 {
		b.WriteString("No conn failed.\n")
		return
	}
	conns := "conns"
	if failed == 1 {
		conns = "conn"
	}
	fmt.Fprintf(b, "%d %s failed, between %s and %s.\n", failed, conns,
		span(time.Duration(first)*TimelineTick), span(time.Duration(last+1)*TimelineTick))
}

// words explains a class.
func (c Class) words() string {
	return cmp.Or(map[Class]string{
		ConnectRefused: "connection refused",
		Unreachable:    "no way to the target",
		NoPorts:        "no free port on this machine",
		NoDescriptors:  "no free descriptor in this process",
		TimedOut:       "no end within the timeout",
		Reset:          "reset by the other side",
		Closed:         "closed by the other side before its time",
		Alert:          "a fatal TLS alert",
		Certificate:    "the certificate was not accepted",
		Version:        "another TLS version than the kind needs",
		Protocol:       "bytes that are not what TLS has there",
		Answer:         "an answer that is none, or not of status 2xx",
		Lost:           "still open, or not begun yet, when the run ended",
		Other:          "something else",
	}[c], "something else")
}
