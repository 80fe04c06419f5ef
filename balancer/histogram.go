//go:build linux

package balancer

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// leastTime is the upper bound of a Histogram's first bucket; each further one is twice as wide. A backend in the same
	// rack answers a connect in a tenth of it.
	leastTime = 250 * time.Microsecond

	// NumTimes is how many bounds there are: the last is 8.192 s, more than all tries to connect take by default.
	NumTimes = 16
)

// Histogram counts times by size. Counts[i] are those of at most TimeBound(i) that are above TimeBound(i-1), the last
// those above all bounds.
type Histogram struct {
	Counts [NumTimes + 1]uint64
	Sum    time.Duration
}

// TimeBound is the upper bound of a Histogram's bucket i, 0 to NumTimes-1.
func TimeBound(i int) time.Duration { return leastTime << i }

// histogram is one loop's share of a Histogram.
type histogram struct {
	counts [NumTimes + 1]atomic.Uint64
	sum    atomic.Uint64 // ns
}

// count takes no time worth mentioning: the bounds are powers of two.
func (h *histogram) count(d time.Duration) {
	d = max(d, 0) // the clock is read once a batch: what lies within one took no time
	h.counts[min(bits.Len64(uint64(max(d-1, 0)/leastTime)), NumTimes)].Add(1)
	h.sum.Add(uint64(d))
}

func (h *histogram) addTo(s *Histogram) {
	addAll(s.Counts[:], h.counts[:])
	s.Sum += time.Duration(h.sum.Load())
}

func (s *Histogram) add(one *Histogram) {
	add(s.Counts[:], one.Counts[:])
	s.Sum += one.Sum
}
