package report

import (
	"fmt"
	"strings"
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/judge"
)

// Watch tells findings while they grow: the last minute, and the whole.
type Watch struct {
	past []look // of the last minute, and the one before them
}

// look is what had been counted at a time of the capture.
type look struct {
	at      time.Time
	tallies [affinity.NumOfferKinds]judge.Tally
}

// minute is how far the shorter of the two goes back.
const minute = time.Minute

// maxLooks bounds what is kept: looks may be taken as often as anybody likes.
const maxLooks = 120

// Screen is the report at one look.
func (w *Watch) Screen(f *judge.Findings) string {
	w.add(f)
	var b strings.Builder
	b.WriteString(wrap(Headline(f), ""))
	b.WriteString("\n")
	recent := f.Tallies
	for kind := range recent {
		recent[kind].Minus(&w.past[0].tallies[kind])
	}
	last := f.Ground.Outcome(&recent)
	s := section{Head: outcomeHead("")}
	age := seconds(f.Ended.Sub(w.past[0].at).Seconds())
	s.Rows = append(s.Rows, outcomeCells(&last, "the last "+age), outcomeCells(&f.Total, "the whole, "+seconds(f.Observed)))
	writeTable(&b, &s)
	for _, part := range []section{kinds(f), servers(f)} {
		if len(part.Rows) > 0 {
			b.WriteString("\n")
			writeTable(&b, &part)
		}
	}
	u := &f.Unjudged
	fmt.Fprintf(&b, "\n  %s not judged, %s dropped by the kernel\n", plural(u.Missing, "conn", "conns"),
		plural(f.Capture.Dropped, "packet", "packets"))
	return b.String()
}

// fewer reports whether there are fewer handshakes than there were.
func fewer(now, then *[affinity.NumOfferKinds]judge.Tally) bool {
	for kind := range now {
		a, b := &now[kind], &then[kind]
		if a.Fresh < b.Fresh || a.Failed < b.Failed || a.Accepted < b.Accepted || a.Refused < b.Refused || a.Undecided < b.Undecided {
			return true
		}
	}
	return false
}

// add keeps a look, and forgets those that are of no use any more.
func (w *Watch) add(f *judge.Findings) {
	if n := len(w.past); n > 0 && f.Ended.Before(w.past[n-1].at) {
		w.past = w.past[:0] // the clock was set back
	} else if n > 0 && fewer(&f.Tallies, &w.past[n-1].tallies) {
		// An address was found to be a balancer's: it is no part of the whole any more.
		w.past = append(w.past[:0], look{f.Ended, f.Tallies})
	}
	if len(w.past) == 0 {
		w.past = append(w.past, look{at: f.Begun})
	}
	for len(w.past) > 1 && f.Ended.Sub(w.past[1].at) >= minute {
		w.past = w.past[1:]
	}
	if n := len(w.past); n < 2 || f.Ended.Sub(w.past[n-1].at) >= minute/maxLooks*2 {
		w.past = append(w.past, look{f.Ended, f.Tallies})
	}
}
