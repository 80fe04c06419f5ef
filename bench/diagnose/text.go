package diagnose

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// textWidth is where the sentences are broken: a terminal of 80 columns shows them whole.
const textWidth = 79

// WriteText writes the report for people: the table, the sentences of scanners, what is wrong, what fixes it, and what else is good
// to know.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.table(&b)
	fmt.Fprintf(&b, "\n%s\n%s\n%s\n", r.Caching, r.Tickets, r.TLS13)
	r.paragraphs(&b, "What is wrong", func(f *Finding) bool { return f.Problem })
	r.remedies(&b)
	r.paragraphs(&b, "Not examined", func(f *Finding) bool { return f.Code == CodeUnreachable })
	r.paragraphs(&b, "Good to know", func(f *Finding) bool { return !f.Problem && f.Code != CodeUnreachable })
	if !r.Lost && !r.Incomplete {
		seen := ""
		if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == CodeOneSource }) {
			seen = ", as far as one client address shows"
		}
		b.WriteString("\nNo resumption is lost" + seen + ".\n")
	}
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("diagnose: write report: %w", err)
	}
	return nil
}

func (r *Report) remedies(b *strings.Builder) {
	goal := ""
	for _, f := range r.Fixes {
		if goal == "" {
			b.WriteString("\nWhat fixes it\n")
		}
		if f.Goal != goal {
			goal = f.Goal
			fmt.Fprintf(b, "  %s:\n", goal)
		}
		wrap(b, "    "+f.For+": ", "      ", f.Text)
		for _, line := range f.Lines {
			fmt.Fprintf(b, "        %s\n", line)
		}
	}
}

// table writes what was seen, a row for each address and for each step from one to the next.
func (r *Report) table(b *strings.Builder) {
	rows := [][]string{{"", "TLS 1.2 session ID", "TLS 1.2 ticket", "TLS 1.3 PSK"}}
	for i := range r.Addresses {
		a := &r.Addresses[i]
		row := []string{a.title(), "-", "-", "-"}
		if a.examined() {
			for i, k := range kinds() {
				row[i+1] = a.probe(k).cell()
			}
		}
		rows = append(rows, row)
	}
	for i := range r.Across {
		x := &r.Across[i]
		row := []string{x.From + " to " + x.To}
		if x.ToSource != "" {
			row[0] = x.From + ", from " + x.FromSource + " and then " + x.ToSource
		}
		for _, k := range kinds() {
			row = append(row, x.offers(k).cell())
		}
		rows = append(rows, row)
	}
	columns(b, rows)
	rows = [][]string{}
	for i := range r.Addresses {
		rows = append(rows, r.Addresses[i].ticketRows()...)
	}
	if len(rows) > 0 {
		b.WriteString("\n")
		columns(b, rows)
	}
}

// title is the address, with the name it is for where that is not part of it.
func (a *Address) title() string {
	if a.Name == "" || strings.HasPrefix(a.Addr, a.Name) {
		return a.Addr
	}
	return a.Addr + " (" + a.Name + ")"
}

// cell is what a table says of a kind at an address.
func (p *Probe) cell() string {
	switch p.Verdict {
	case NotTried:
		if p.Refused {
			return "not spoken"
		}
		return "not examined"
	case NotIssued:
		return "none given"
	case No, Partly, Yes:
	}
	s := fmt.Sprintf("%d of %d", p.Accepted, p.Offered)
	if p.AgainOffered > 0 && p.AgainAccepted > 0 {
		s += fmt.Sprintf(" (one again: %d of %d)", p.AgainAccepted, p.AgainOffered)
	}
	return s
}

func (o *Offers) cell() string {
	if o.Offered == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", o.Accepted, o.Offered)
}

// ticketRows is what is to be told of the tickets of an address.
func (a *Address) ticketRows() [][]string {
	var rows [][]string
	for _, of := range []struct {
		label string
		*Probe
	}{{"TLS 1.2 tickets:", &a.Ticket}, {"TLS 1.3 tickets:", &a.PSK}} {
		if of.Issued > 0 {
			rows = append(rows, []string{a.Addr, of.label, say("tickets", of.Probe)})
		}
	}
	return rows
}

// Good is how long tickets are good for, empty where no lifetime is given.
func (p *Probe) Good() string {
	if p.LifetimeSeconds == 0 {
		return ""
	}
	return duration(p.LifetimeSeconds)
}

// KeyNames lists the keys for people.
func (p *Probe) KeyNames() string { return keyNames(p.Keys) }

// duration says a number of seconds in the unit that fits it.
func duration(seconds int) string {
	for _, u := range []struct {
		size int
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}} {
		if seconds >= u.size && seconds%u.size == 0 {
			return fmt.Sprintf("%d %s", seconds/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d s", seconds)
}

// columns writes rows with their columns below each other.
func columns(b *strings.Builder, rows [][]string) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
}

// paragraphs writes the findings that are wanted under a title.
func (r *Report) paragraphs(b *strings.Builder, title string, wanted func(*Finding) bool) {
	for _, f := range r.Findings {
		if !wanted(&f) {
			continue
		}
		if title != "" {
			fmt.Fprintf(b, "\n%s\n", title)
			title = ""
		}
		wrap(b, "  ", "    ", strings.Join(f.Addresses, ", ")+": "+f.Text)
		if f.Certainty != "" {
			wrap(b, "    ", "    ", f.surety())
		}
	}
}

// surety says how sure a finding is, and what would settle it.
func (f *Finding) surety() string {
	text := map[Certainty]string{Certain: "This is certain", Likely: "This is likely", Open: "This is open"}[f.Certainty]
	if f.Evidence != "" {
		text += ": " + f.Evidence
	}
	text += "."
	if f.Settle != "" && f.Certainty != Certain {
		text += " To settle it: " + f.Settle + "."
	}
	return text
}

// wrap writes text in lines of at most textWidth, as far as its words allow: the first line behind first, the others behind rest.
func wrap(b *strings.Builder, first, rest, text string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > textWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(line + "\n")
}
