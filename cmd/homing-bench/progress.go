package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"homing/bench"
)

// progress shows how far a run is: a line that redraws itself on a terminal, else a line per phase.
type progress struct {
	out      *os.File
	terminal bool
	quiet    bool
	phase    string
}

const barWidth = 30

func newProgress(out *os.File, quiet bool) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, quiet: quiet}
}

func (p *progress) show(now bench.Progress) {
	if p.quiet {
		return
	}
	if !p.terminal {
		if now.Phase != p.phase {
			p.phase = now.Phase
			fmt.Fprintf(p.out, "%s (%d conns so far)\n", now.Phase, now.Begun)
		}
		return
	}
	width := barWidth
	if now.Expected > 0 {
		width = min(barWidth, int(barWidth*now.Elapsed/now.Expected))
	}
	line := fmt.Sprintf("[%s%s] %4.0f s %s: %d conns", strings.Repeat("#", width), strings.Repeat(".", barWidth-width),
		now.Elapsed.Truncate(time.Second).Seconds(), now.Phase, now.Done)
	if now.Held > 0 {
		line += fmt.Sprintf(", %d held", now.Held)
	}
	if offers := now.Accepted + now.Refused; offers > 0 {
		line += fmt.Sprintf(", %.0f %% of offers accepted", 100*float64(now.Accepted)/float64(offers))
	}
	if now.Failed > 0 {
		line += fmt.Sprintf(", %d failed", now.Failed)
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}

// end removes the line.
func (p *progress) end() {
	if p.terminal && !p.quiet {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
