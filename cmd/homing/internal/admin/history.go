package admin

import (
	"cmp"
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
	end      time.Time
	backends map[seriesKey]*series
}

type seriesKey struct{ pool, address string }

// series is the last samples of one backend, a ring.
type series struct {
	last        pool.Tally
	open        [historySamples]float32
	conns, rate [historySamples]float32 // new conns and bytes per second
	n           int                     // samples ever taken
	seen        time.Time
}

// sample adds how every backend fares now.
func (k *keeper) sample(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &k.history
	if h.backends == nil {
		h.backends = make(map[seriesKey]*series)
	}
	span := now.Sub(h.end).Seconds()
	h.end = now
	for _, p := range k.src.Pools() {
		for _, b := range p.Snapshot().All() {
			key := seriesKey{p.Name(), b.Addr.String()}
			s, t := h.backends[key], b.Tally()
			if s == nil || t.Conns < s.last.Conns { // new, or another backend of that address
				s = &series{last: t}
				h.backends[key] = s
			}
			s.add(float32(b.Open()), t, span)
			s.seen = now
		}
	}
	for key, s := range h.backends {
		if s.seen != now {
			delete(h.backends, key)
		}
	}
}

func (s *series) add(open float32, t pool.Tally, span float64) {
	i := s.n % historySamples
	s.open[i] = open
	span = max(span, lookEvery.Seconds()/2) // two looks at once say nothing
	s.conns[i] = float32(float64(t.Conns-s.last.Conns) / span)
	s.rate[i] = float32(float64(t.BytesIn+t.BytesOut-s.last.BytesIn-s.last.BytesOut) / span)
	s.last = t
	s.n++
}

// rates is a backend's last sample.
func (k *keeper) rates(pool, address string) (conns, bytes float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.history.backends[seriesKey{pool, address}]
	if s == nil || s.n == 0 {
		return 0, 0
	}
	i := (s.n - 1) % historySamples
	return float64(s.conns[i]), float64(s.rate[i])
}

// list is a ring's samples, the oldest first.
func (s *series) list(ring *[historySamples]float32) []float64 {
	n := min(s.n, historySamples)
	out := make([]float64, n)
	for i := range n {
		out[i] = float64(ring[(s.n-n+i)%historySamples])
	}
	return out
}

func (s *Server) history(r *http.Request) (api.History, error) {
	in := r.FormValue("pool")
	k := s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	out := api.History{Step: lookEvery.Seconds(), End: k.history.end, Backends: []api.BackendSeries{}}
	for key, one := range k.history.backends {
		if in != "" && in != key.pool {
			continue
		}
		out.Backends = append(out.Backends, api.BackendSeries{
			Pool: key.pool, Address: key.address, Open: one.list(&one.open), Conns: one.list(&one.conns), Bytes: one.list(&one.rate),
		})
	}
	slices.SortFunc(out.Backends, func(a, b api.BackendSeries) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Address, b.Address))
	})
	return out, nil
}
