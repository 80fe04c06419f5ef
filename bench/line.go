package bench

import "time"

// line delays bytes on their way in one direction, in order, as a distance does (Plan.Delay). It costs neither a socket nor
// another process, and what stands between client and target sees bytes come as late as they would from afar.
type line struct {
	parcels []parcel
	head    int
}

// parcel is what was sent at once: bytes, or the end of the stream and why.
type parcel struct {
	at  time.Duration // of arrival
	b   []byte
	end error
}

// push sends a copy of b, and then end unless it is nil. Both arrive at the given time, which is not before that of the
// last push.
func (l *line) push(at time.Duration, b []byte, end error) {
	if l.head == len(l.parcels) {
		l.parcels, l.head = l.parcels[:0], 0
	}
	l.parcels = append(l.parcels, parcel{at, append([]byte(nil), b...), end})
}

// pop takes what has arrived first; false: nothing has.
func (l *line) pop(now time.Duration) (parcel, bool) {
	if l.head == len(l.parcels) || l.parcels[l.head].at > now {
		return parcel{}, false
	}
	p := l.parcels[l.head]
	l.parcels[l.head] = parcel{}
	l.head++
	return p, true
}

func (l *line) reset() {
	clear(l.parcels)
	l.parcels, l.head = l.parcels[:0], 0
}
