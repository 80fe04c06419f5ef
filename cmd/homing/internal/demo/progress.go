package demo

import (
	"fmt"
	"os"
	"strings"
)

// progress shows how far the demo is: a bar that redraws itself on a terminal, one line per step
// elsewhere.
type progress struct {
	out      *os.File
	terminal bool
	total    int // conns of all steps
	done     int
	step     string
	shown    int // width of the bar last drawn
}

const barWidth = 40

func newProgress(out *os.File, total int) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, total: total, shown: -1}
}

func (p *progress) begin(step string) {
	p.step, p.shown = step, -1
	if !p.terminal {
		fmt.Fprintln(p.out, step)
	}
	p.draw()
}

func (p *progress) add() {
	p.done++
	p.draw()
}

func (p *progress) draw() {
	width := min(p.done*barWidth/max(p.total, 1), barWidth)
	if !p.terminal || width == p.shown {
		return
	}
	p.shown = width
	fmt.Fprintf(p.out, "\r[%s%s] %-40s", strings.Repeat("#", width), strings.Repeat(".", barWidth-width), p.step)
}

// end removes the bar.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
