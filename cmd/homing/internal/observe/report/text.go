package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"homing/cmd/homing/internal/observe/judge"
)

// WriteText writes the report for people.
func WriteText(w io.Writer, f *judge.Findings) error {
	var b strings.Builder
	b.WriteString(wrap(Headline(f), ""))
	for _, s := range sections(f) {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(s.Title))
		for _, line := range s.Lead {
			b.WriteString(wrap(line, "  "))
		}
		writeTable(&b, &s)
		if s.Rest != "" {
			b.WriteString(wrap(s.Rest, "  "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the findings for programs; see judge.Format.
func WriteJSON(w io.Writer, f *judge.Findings) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(f)
}

// textWidth is the longest line of sentences, in characters.
const textWidth = 110

// wrap breaks a sentence into lines.
func wrap(text, indent string) string {
	var b strings.Builder
	n := 0
	for word := range strings.FieldsSeq(text) {
		switch long := utf8.RuneCountInString(word); {
		case n == 0:
			b.WriteString(indent + word)
			n = len(indent) + long
		case n+1+long > textWidth:
			b.WriteString("\n" + indent + word)
			n = len(indent) + long
		default:
			b.WriteString(" " + word)
			n += 1 + long
		}
	}
	b.WriteString("\n")
	return b.String()
}

// writeTable writes columns with the first one to the left, and so texts that are no figures.
func writeTable(b *strings.Builder, s *section) {
	if len(s.Rows) == 0 {
		return
	}
	widths := make([]int, len(s.Head))
	for i, h := range s.Head {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, r := range s.Rows {
		for i, c := range r.Cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	line := func(cells []string) {
		var l strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			l.WriteString("  ")
			if s.left(i) {
				l.WriteString(c + pad)
			} else {
				l.WriteString(pad + c)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(s.Head)
	for _, r := range s.Rows {
		line(r.Cells)
	}
}

// left reports whether a column has words.
func (s *section) left(column int) bool {
	return column == 0 || s.Head[column] == "homing" || s.Head[column] == "held by"
}
