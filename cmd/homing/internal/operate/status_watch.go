package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"homing/cmd/homing/internal/api"
	"homing/cmd/internal/usage"
)

// terminal is what a status is watched on. Its path: open takes the screen over and its keys, show writes all of it,
// close gives everything back as it was; in between a signal may stop the process for a while.
type terminal interface {
	// open takes over, and says what happens there until close. ctx is done when the process is told to end.
	open(ctx context.Context) (context.Context, <-chan terminalEvent, error)

	size() (lines, columns int) // 0: not known
	show(text string) error     // never waits
	close()
}

// terminalEvent is a key, or 0 when the screen has changed its size or was given back.
type terminalEvent byte

const (
	// home moves the cursor to the upper left, restOfLine and restOfScreen erase what follows it (ECMA-48: CUP, EL,
	// ED).
	home         = "\x1b[H"
	restOfLine   = "\x1b[K"
	restOfScreen = "\x1b[J"

	keysHelp = "q ends; sort by n name, c conns, b bytes, l lost"
)

// watchOn shows the status until somebody ends it. A node that does not answer for a while is waited for: it may be
// handing over to another process.
func (v *statusViewer) watchOn(ctx context.Context, client *api.Client, on terminal) error {
	status := new(api.Status)
	if err := client.Get(ctx, "/v1/status", status); err != nil {
		return err
	}
	ctx, events, err := on.open(ctx)
	if err != nil {
		return err
	}
	defer on.close()
	ticker := time.NewTicker(v.every)
	defer ticker.Stop()
	trouble, since := "", time.Time{}
	for {
		page := statusPage{status: status, sort: v.sort, rows: v.rows}
		if err := on.show(page.screen(on, trouble)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case key := <-events:
			if key == 'q' || key == 'Q' {
				return nil
			}
			v.sort = sortOf(key, v.sort)
		case <-ticker.C:
			next := new(api.Status)
			err := client.Get(ctx, "/v1/status", next)
			if refused, ok := errors.AsType[*api.RefusedError](err); ok {
				return refused
			}
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil:
				status, trouble, since = next, "", time.Time{}
			default:
				if since.IsZero() {
					since = time.Now()
				}
				trouble = fmt.Sprintf("no answer since %s: %s", since.Format(time.TimeOnly), usage.OneLine(err.Error()))
			}
		}
	}
}

// sortOf is the order that a key asks for, by its first letter.
func sortOf(key terminalEvent, now statusSort) statusSort {
	for s := sortName; s <= sortLost; s++ {
		if s.String()[0] == byte(key) {
			return s
		}
	}
	return now
}

// screen is what fills a terminal, and not a line or a column more. The last line says how many backends are left out.
// Each line is erased before it is written: behind a full one some terminals would erase its end.
func (p *statusPage) screen(on terminal, trouble string) string {
	lines, columns := on.size()
	p.columns = columns
	p.fill()
	last := keysHelp
	if trouble != "" {
		last = trouble
	}
	all, shown := p.lines, p.lines
	if lines > 0 {
		shown = all[:min(len(all), max(lines-1, 0))]
	}
	hidden := 0
	for _, line := range all[len(shown):] {
		if line.backend {
			hidden++
		}
	}
	if hidden > 0 {
		last = fmt.Sprintf("and %d more; %s", hidden, last)
	}
	var b strings.Builder
	b.WriteString(home)
	for _, line := range shown {
		b.WriteString(restOfLine + cut(line.text, columns) + "\n")
	}
	b.WriteString(restOfScreen + cut(last, columns))
	return b.String()
}

// cut is as much of a line as fits.
func cut(line string, columns int) string {
	runes := []rune(line)
	if columns <= 0 || len(runes) <= columns {
		return line
	}
	return string(runes[:columns])
}

// wrapIndent is where the words of a wrapped line begin, below those of the first.
const wrapIndent = 9

// wrap breaks what is too long for the columns, after a comma or else at a space. from is the first line to look at.
func (p *statusPage) wrap(from int) {
	if p.columns <= 0 {
		return
	}
	out := slices.Clone(p.lines[:from])
	for _, line := range p.lines[from:] {
		rest := line.text
		for len(rest) > p.columns {
			at := strings.LastIndex(rest[:p.columns], ", ") + 1
			if at <= wrapIndent+1 {
				at = strings.LastIndex(rest[:p.columns], " ")
			}
			if at <= wrapIndent {
				break // cut
			}
			out = append(out, statusLine{text: rest[:at]})
			rest = strings.Repeat(" ", wrapIndent) + rest[at+1:]
		}
		out = append(out, statusLine{text: rest})
	}
	p.lines = out
}
