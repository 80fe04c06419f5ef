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

// Write writes a block for each problem: where it is and what to do, the line of the file, and a mark below the place.
func (e *Errors) Write(w io.Writer) error {
	for i := range e.Problems {
		if _, err := io.WriteString(w, e.heading(&e.Problems[i])+"\n"+e.excerpt(&e.Problems[i])); err != nil {
			return err
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

// maxExcerpt is how many characters of a line are shown.
const maxExcerpt = 160

// excerpt is the line with the mark; empty where there is no such line.
func (e *Errors) excerpt(p *Problem) string {
	if p.Line < 1 || p.Line > len(e.lines) {
		return ""
	}
	line := []rune(strings.TrimRight(e.lines[p.Line-1], " \t\r"))
	from := min(max(p.Column-1, 0), len(line))
	if from >= maxExcerpt {
		return ""
	}
	// Tabs stay, so that the mark stands below its place however wide they are.
	margin := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(line[:from]))
	number := fmt.Sprintf("%5d", p.Line)
	width := min(max(p.Width, 1), max(len(line)-from, 1))
	if len(line) > maxExcerpt {
		line, width = append(line[:maxExcerpt:maxExcerpt], []rune("...")...), min(width, maxExcerpt-from)
	}
	return fmt.Sprintf("%s | %s\n%s | %s%s\n", number, visible(string(line)), strings.Repeat(" ", len(number)), margin, strings.Repeat("^", width))
}

// visible replaces what would not show as one character on a terminal, or would do something there.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, line)
}
