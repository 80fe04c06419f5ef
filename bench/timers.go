package bench

import "time"

// purpose is what a timer is for.
type purpose uint8

const (
	dueTimeout purpose = iota // the conn has lasted as long as it may
	dueConnect                // the SYN has come to the other side (Plan.Delay)
	dueUp                     // and the answer to it back
	dueIn                     // bytes have come to this side
	dueOut                    // or to the other
	dueSegment                // the gap behind a segment of the hello is over
	dueRead                   // a slow reader may read again
	dueAsk                    // think time is over, or a held conn is to be asked
	dueAgain                  // a client may connect again after a failure; its slot is the client's
)

// timer is one entry of timers. One of a conn that is gone is told by its generation.
type timer struct {
	at   time.Duration
	slot int32
	gen  uint32
	what purpose
}

// timers is a binary heap, the earliest first.
type timers []timer

func (h *timers) add(t timer) {
	*h = append(*h, t)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

// due takes the earliest if its time has come.
func (h *timers) due(now time.Duration) (timer, bool) {
	s := *h
	if len(s) == 0 || s[0].at > now {
		return timer{}, false
	}
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return first, true
		}
		if down+1 < last && s[down+1].at < s[down].at {
			down++
		}
		if s[i].at <= s[down].at {
			return first, true
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
}

// next returns when the earliest is due; false: there is none.
func (h timers) next() (time.Duration, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return h[0].at, true
}
