package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"homing/bench/compare"
)

const (
	barCells = 30
	// barColumns keeps the line within any terminal: one that wraps cannot be drawn over.
	barColumns = 79
)

// barEvery is how often the bar is drawn: it moves by the clock between two rounds.
const barEvery = 250 * time.Millisecond

// bar shows on a terminal how far a comparison is; elsewhere one line says how long it takes.
type bar struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	now     compare.Progress // guarded by mu
	since   time.Time        // guarded by mu; when the round began
	stop    chan struct{}
	stopped chan struct{}
}

func newBar(out io.Writer) *bar {
	b := &bar{out: out, stop: make(chan struct{}), stopped: make(chan struct{})}
	if f, ok := out.(*os.File); ok {
		b.terminal = isTerminal(f)
	}
	go b.run()
	return b
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show is compare.Options.Progress.
func (b *bar) show(p compare.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() && !b.terminal {
		fmt.Fprintf(b.out, "homing-bench: compare takes about %s\n", p.Total.Round(time.Second))
	}
	b.now, b.since = p, time.Now()
}

func (b *bar) run() {
	defer close(b.stopped)
	t := time.NewTicker(barEvery)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
			b.mu.Lock()
			line := barLine(b.now, time.Since(b.since))
			b.mu.Unlock()
			if b.terminal {
				fmt.Fprint(b.out, line)
			}
		}
	}
}

// barLine draws the bar over the line that the terminal has. A round that takes longer than it should does not move it.
func barLine(p compare.Progress, elapsed time.Duration) string {
	if p.Total <= 0 {
		return ""
	}
	done := p.Done + min(elapsed, p.Next)
	width := int(int64(barCells) * int64(done) / int64(p.Total))
	left := (p.Total - done).Round(time.Second)
	line := fmt.Sprintf("[%s%s] %s left  %s", strings.Repeat("#", width), strings.Repeat(".", barCells-width), left, p.What)
	return "\r\x1b[K" + line[:min(len(line), barColumns)]
}

// end removes the bar.
func (b *bar) end() {
	close(b.stop)
	<-b.stopped
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
