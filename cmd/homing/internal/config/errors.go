package config

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong in a file.
type Problem struct {
	Line   int    // from 1; 0 when it is about the file as a whole
	Column int    // from 1, in characters
	Width  int    // how many characters are at fault, at least 1
	Text   string // what is wrong, and what to write instead: one line
}

// Errors is all that is wrong with a file, in the order of its lines. There is at least one.
type Errors struct {
	File     string
	Problems []Problem

	lines []string // of the file
}

// Error is the first problem, and how many there are, in one line.
func (e *Errors) Error() string {
	text := e.heading(&e.Problems[0])
	if more := len(e.Problems) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more: homing config check %s)", more, e.File)
	}
	return text
}

// maxWritten is how many problems are written: a terminal shows no more, and what is wrong in one way in a thousand
// places is mended in one way.
const maxWritten = 20

// Write writes a block for each problem: where it is and what to do, the line of the file, and a mark below the place. Of
// very many it writes the first ones, and how many more there are.
func (e *Errors) Write(w io.Writer) error {
	for i := range e.Problems {
		text := e.heading(&e.Problems[i]) + "\n" + e.excerpt(&e.Problems[i])
		more := len(e.Problems) - maxWritten
		if i == maxWritten && more > 1 {
			text = fmt.Sprintf("%s: %d more: mend these first\n", e.File, more)
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		if i == maxWritten && more > 1 {
			return nil
		}
	}
	return nil
}

func (e *Errors) heading(p *Problem) string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, p.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, p.Line, p.Column, p.Text)
}

const (
	// maxExcerpt is how many characters of a line are shown.
	maxExcerpt = 160

	// beforeExcerpt is how many of them stand before the place where a longer line is cut.
	beforeExcerpt = 60
)

// excerpt is the line, or the part of a long one around the place, with the mark; empty where there is no such line.
func (e *Errors) excerpt(p *Problem) string {
	if p.Line < 1 || p.Line > len(e.lines) {
		return ""
	}
	line := []rune(strings.TrimRight(e.lines[p.Line-1], " \t\r"))
	from := min(max(p.Column-1, 0), len(line))
	width := min(max(p.Width, 1), max(len(line)-from, 1))
	if from > maxExcerpt-beforeExcerpt && len(line) > maxExcerpt {
		cut := min(from-beforeExcerpt, len(line)-(maxExcerpt-len(cutMark)))
		line, from = append([]rune(cutMark), line[cut:]...), from-cut+len(cutMark)
	}
	if len(line) > maxExcerpt {
		line, width = append(line[:maxExcerpt:maxExcerpt], []rune(cutMark)...), min(width, maxExcerpt-from)
	}
	// Tabs stay, so that the mark stands below its place however wide they are.
	margin := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(line[:from]))
	number := fmt.Sprintf("%5d", p.Line)
	return fmt.Sprintf("%s | %s\n%*s | %s%s\n", number, visible(string(line)), len(number), "", margin, strings.Repeat("^", width))
}

// cutMark stands where a line was cut.
const cutMark = "..."

// visible replaces what would not show as one character on a terminal, or would do something there.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, line)
}
