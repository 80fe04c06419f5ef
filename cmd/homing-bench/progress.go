//go:build linux

package main

import (
	"fmt"
	"time"

	"homing/bench"
)

// progress shows how far a run is: a line that redraws itself on a terminal, else a line per phase.
type progress struct {
	line  *liveLine
	quiet bool
	phase string
}

func (p *progress) show(now bench.Progress) {
	if p.quiet {
		return
	}
	if !p.line.terminal && now.Phase != p.phase {
		p.phase = now.Phase
		fmt.Fprintf(p.line.out, "%s (%d conns so far)\n", now.Phase, now.Begun)
	}
	expected := now.Expected
	if expected <= 0 {
		expected = now.Elapsed
	}
	line := fmt.Sprintf("%s %4.0f s %s: %d conns", meter(now.Elapsed, expected), now.Elapsed.Truncate(time.Second).Seconds(),
		now.Phase, now.Done)
	if now.Held > 0 {
		line += fmt.Sprintf(", %d held", now.Held)
	}
	if offers := now.Accepted + now.Refused; offers > 0 {
		line += fmt.Sprintf(", %.0f %% of offers accepted", 100*float64(now.Accepted)/float64(offers))
	}
	if now.Failed > 0 {
		line += fmt.Sprintf(", %d failed", now.Failed)
	}
	p.line.show(line)
}
