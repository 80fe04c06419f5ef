//go:build linux

package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"homing/bench/compare"
)

// barEvery is how often the bar is drawn: it moves by the clock between two rounds.
const barEvery = 250 * time.Millisecond

// bar shows on a terminal how far a comparison is; elsewhere one line says how long it takes.
type bar struct {
	line *liveLine

	mu      sync.Mutex
	now     compare.Progress // guarded by mu
	since   time.Time        // guarded by mu; when the round began
	stop    chan struct{}
	stopped chan struct{}
}

func newBar(out io.Writer) *bar {
	b := &bar{line: newLiveLine(out), stop: make(chan struct{}), stopped: make(chan struct{})}
	go b.run()
	return b
}

// show is compare.Options.Progress.
func (b *bar) show(p compare.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() && !b.line.terminal {
		fmt.Fprintf(b.line.out, "homing-bench: compare takes about %s\n", p.Total.Round(time.Second))
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
			b.line.show(line)
		}
	}
}

// barLine is the bar. A round that takes longer than it should does not move it.
func barLine(p compare.Progress, elapsed time.Duration) string {
	if p.Total <= 0 {
		return ""
	}
	done := p.Done + min(elapsed, p.Next)
	return fmt.Sprintf("%s %s left  %s", meter(done, p.Total), (p.Total - done).Round(time.Second), p.What)
}

// end removes the bar.
func (b *bar) end() {
	close(b.stop)
	<-b.stopped
	b.line.clear()
}
