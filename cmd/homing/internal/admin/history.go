package admin

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"time"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
)

// historySamples is how many samples are kept: five minutes.
const historySamples = 150

// history is the last samples of every backend.
type history struct {
	end      time.Time // of the last sample
	taken    uint64    // samples ever taken
	backends map[seriesKey]*series
}

type seriesKey struct{ pool, address string }

// series is how one backend fared lately.
type series struct {
	// Looks, one every lookEvery.
	now, before  tallyAt // the last two
	conns, bytes float64 // per second, over the last two spans between looks

	// Samples, one every sampleEvery: rings.
	last pool.Tally // at the last sample
	open ring
	rate [numRates]ring // per second
	n    int            // samples ever taken
}

type ring [historySamples]float32

// tallyAt is what had been counted at a time.
type tallyAt struct {
	pool.Tally
	at time.Time
}

const (
	rateConns = iota
	rateBytes
	rateAccepted
	rateRefused
	numRates
)

// look sees how every backend fares now; every so often it keeps that as a sample.
func (k *keeper) look(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &k.history
	if h.backends == nil {
		h.backends = make(map[seriesKey]*series)
	}
	// Ticks may come a little early; a sample must not wait for the next.
	span := now.Sub(h.end)
	due := span > sampleEvery-lookEvery/2
	for _, p := range k.src.Pools() {
		for _, b := range p.Snapshot().All() {
			key := seriesKey{p.Name(), b.Addr.String()}
			s, t := h.backends[key], tallyAt{b.Tally(), now}
			if s == nil || t.Conns < s.last.Conns { // new, or another backend of that address
				s = &series{now: t, before: t, last: t.Tally}
				h.backends[key] = s
			}
			s.look(t)
			if due {
				s.sample(float32(b.Open()), t.Tally, span)
			}
		}
	}
	for key, s := range h.backends {
		if s.now.at != now {
			delete(h.backends, key)
		}
	}
	if due {
		h.end = now
		h.taken++
	}
}

func (s *series) look(t tallyAt) {
	s.conns = perSecond(t.Conns-s.before.Conns, t.at.Sub(s.before.at))
	s.bytes = perSecond(t.BytesIn+t.BytesOut-s.before.BytesIn-s.before.BytesOut, t.at.Sub(s.before.at))
	s.before, s.now = s.now, t
}

func (s *series) sample(open float32, t pool.Tally, span time.Duration) {
	i := s.n % historySamples
	s.open[i] = open
	for r, n := range [numRates]uint64{
		rateConns: t.Conns - s.last.Conns, rateBytes: t.BytesIn + t.BytesOut - s.last.BytesIn - s.last.BytesOut,
		rateAccepted: t.Accepted - s.last.Accepted, rateRefused: t.Refused - s.last.Refused,
	} {
		s.rate[r][i] = float32(perSecond(n, span))
	}
	s.last = t
	s.n++
}

// perSecond is a rate to two decimals. Two looks at almost the same moment say nothing of rates.
func perSecond(n uint64, span time.Duration) float64 {
	return cents(float64(n) / max(span, lookEvery/2).Seconds())
}

// cents rounds to two decimals, which is as good as a rate is, and short in JSON.
func cents(v float64) float64 { return math.Round(100*v) / 100 }

// rates is how many new conns and bytes per second a backend got in the last two seconds.
func (k *keeper) rates(pool, address string) (conns, bytes float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.history.backends[seriesKey{pool, address}]
	if s == nil {
		return 0, 0
	}
	return s.conns, s.bytes
}

// list is the last samples of a ring, at most so many, the oldest first.
func (s *series) list(from *ring, most int) []float64 {
	n := min(s.n, historySamples, most)
	out := make([]float64, n)
	for i := range n {
		out[i] = cents(float64(from[(s.n-n+i)%historySamples]))
	}
	return out
}

func (s *Server) history(r *http.Request) (api.History, error) {
	in := r.FormValue("pool")
	after, err := numberAfter(r)
	if err != nil {
		return api.History{}, err
	}
	k := s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &k.history
	if after > h.taken { // a number of the process before this one
		after = 0
	}
	most := int(min(h.taken-after, historySamples))
	out := api.History{Step: sampleEvery.Seconds(), End: h.end, Next: h.taken, Backends: []api.BackendSeries{}}
	for key, one := range h.backends {
		if in != "" && in != key.pool {
			continue
		}
		out.Backends = append(out.Backends, api.BackendSeries{
			Pool: key.pool, Address: key.address, Open: one.list(&one.open, most),
			Conns: one.list(&one.rate[rateConns], most),
			Bytes: one.list(&one.rate[rateBytes], most), Accepted: one.list(&one.rate[rateAccepted], most),
			Refused: one.list(&one.rate[rateRefused], most),
		})
	}
	slices.SortFunc(out.Backends, func(a, b api.BackendSeries) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Address, b.Address))
	})
	return out, nil
}
