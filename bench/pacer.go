package bench

import (
	"math/rand/v2"
	"time"
)

// pacer says when conns should begin: at a rate that is known beforehand, and hangs on nothing that happens. How many there
// are is fixed; each comes anywhere in a gap of its own. Were the loops' conns to come strictly by turns, then a balancer
// that deals them out by turns to as many backends as there are loops would bring every client home, by no merit of its
// own. The zero value has none to begin.
type pacer struct {
	start time.Duration // of the stretch
	end   time.Duration // no conn begins then or later
	gap   float64       // nanoseconds
	shift float64       // of this loop's gaps against those of the first, 0 to 1, in gaps: who has one more than others
	begun int64
	rng   *rand.Rand // draws the place in a gap; nil: where shift says, so that all loops together are even
	where float64    // of the next conn in its gap, 0 to 1
}

// newPacer paces the part of one loop, of loops that share the rate (conns per second, above 0) between them.
func newPacer(start, length time.Duration, rate float64, loop, loops int, rng *rand.Rand) pacer {
	p := pacer{
		start: start, end: start + length,
		gap:   float64(time.Second) / rate * float64(loops),
		shift: float64(loop) / float64(loops), rng: rng,
	}
	p.draw()
	return p
}

func (p *pacer) draw() {
	p.where = p.shift
	if p.rng != nil {
		p.where = p.rng.Float64()
	}
}

// peek returns when the next conn should begin; false: none will.
func (p *pacer) peek() (time.Duration, bool) {
	if p.gap == 0 || p.at(p.begun, p.shift) >= p.end {
		return 0, false
	}
	if p.at(p.begun+1, p.shift) >= p.end {
		return p.at(p.begun, p.shift), true // the last one: its gap may be cut short, and it shall have time until the end
	}
	return p.at(p.begun, p.where), true
}

// at is a place in the gap of that number.
func (p *pacer) at(number int64, where float64) time.Duration {
	return p.start + time.Duration((float64(number)+where)*p.gap+0.5) // rounded, else a third of a gap too few
}

// take counts the conn that peek told of.
func (p *pacer) take() {
	p.begun++
	p.draw()
}
