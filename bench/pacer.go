package bench

import "time"

// pacer says when conns should begin: evenly, at a rate that is known beforehand and hangs on nothing that happens. The
// zero value has none to begin.
type pacer struct {
	start time.Duration // of the stretch
	end   time.Duration // no conn begins then or later
	gap   float64       // nanoseconds from one to the next
	shift float64       // of the first from start, 0 to 1, in gaps
	begun int64
}

// newPacer paces the part of one loop, of loops that share the rate (conns per second, above 0) between them. The loops
// take turns, so that all together are as even as one alone.
func newPacer(start, length time.Duration, rate float64, loop, loops int) pacer {
	return pacer{
		start: start, end: start + length,
		gap:   float64(time.Second) / rate * float64(loops),
		shift: float64(loop) / float64(loops),
	}
}

// peek returns when the next conn should begin; false: none will.
func (p *pacer) peek() (time.Duration, bool) {
	if p.gap == 0 {
		return 0, false
	}
	at := p.start + time.Duration((float64(p.begun)+p.shift)*p.gap+0.5) // rounded, else a third of a gap too few
	return at, at < p.end
}

// take counts the conn that peek told of.
func (p *pacer) take() { p.begun++ }
