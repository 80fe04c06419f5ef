package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// liveLine is a line on a terminal that is drawn over again and again; elsewhere it is not drawn at all.
type liveLine struct {
	out      io.Writer
	terminal bool
	columns  int // of the terminal, less one: a line that wraps cannot be drawn over
	shown    string
}

// leastColumns is what a terminal that does not tell its width has.
const leastColumns = 80

func newLiveLine(out io.Writer) *liveLine {
	l := &liveLine{out: out, columns: leastColumns - 1}
	f, ok := out.(*os.File)
	if !ok {
		return l
	}
	info, err := f.Stat()
	l.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && drawsOver
	if columns := columnsOf(f); columns > 1 {
		l.columns = columns - 1
	}
	return l
}

// show replaces the line.
func (l *liveLine) show(text string) {
	text = text[:min(len(text), l.columns)]
	if l.terminal && text != l.shown {
		l.shown = text
		fmt.Fprint(l.out, "\r\x1b[K"+text)
	}
}

func (l *liveLine) clear() { l.show("") }

// meterCells is how long a meter is.
const meterCells = 30

// meter draws how much of total is done: "[###...]".
func meter[N int | time.Duration](done, total N) string {
	full := 0
	if total > 0 {
		full = max(0, min(meterCells, int(meterCells*float64(done)/float64(total))))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", meterCells-full) + "]"
}
