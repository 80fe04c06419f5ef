package bench

import "time"

// recorder keeps what one loop saw in one stretch of the run. It is the loop's alone while that runs.
type recorder struct {
	groups   []groupRecord // by index of the plan's groups
	timeline []Tick
	start    time.Duration // of the timeline
}

// groupRecord is the record of one group. Histograms are made when the first value comes.
type groupRecord struct {
	Tally
	Latency
}

// newRecorder returns an empty record. The timeline has ticks for the given length from start on; no length, no timeline.
func newRecorder(groups int, start, length time.Duration) *recorder {
	return &recorder{
		groups:   make([]groupRecord, groups),
		timeline: make([]Tick, (length+TimelineTick-1)/TimelineTick),
		start:    start,
	}
}

// tick returns the entry of the timeline for something that ends now; nil when there is none.
func (r *recorder) tick(now time.Duration) *Tick {
	i := int((now - r.start) / TimelineTick)
	if now < r.start || i >= len(r.timeline) {
		return nil
	}
	return &r.timeline[i]
}

// record adds a latency to a histogram that may not exist yet.
func record(h **Histogram, d time.Duration) {
	if *h == nil {
		*h = NewHistogram()
	}
	(*h).Record(d)
}

// merge adds what another recorder of the same run holds.
func (r *recorder) merge(o *recorder) {
	for i := range o.groups {
		r.groups[i].Add(&o.groups[i].Tally)
		r.groups[i].Merge(&o.groups[i].Latency)
	}
	for i := range min(len(r.timeline), len(o.timeline)) {
		r.timeline[i].Add(o.timeline[i])
	}
}

// Merge adds the histograms of another group, or of the same in another run.
func (l *Latency) Merge(o *Latency) {
	for _, pair := range []struct{ to, from **Histogram }{
		{&l.Connect, &o.Connect},
		{&l.Resumed, &o.Resumed},
		{&l.Full, &o.Full},
		{&l.Answer, &o.Answer},
		{&l.Handshake, &o.Handshake},
		{&l.Service, &o.Service},
	} {
		if *pair.from == nil {
			continue
		}
		if *pair.to == nil {
			*pair.to = NewHistogram()
		}
		(*pair.to).Merge(*pair.from)
	}
}
