//go:build linux

package balancer

import (
	"testing"
	"time"
)

// TestHistogram: a time is in the bucket whose bound is the first that is not below it.
func TestHistogram(t *testing.T) {
	for _, d := range []time.Duration{
		-1, 0, 1, leastTime - 1, leastTime, leastTime + 1, 2 * leastTime, 2*leastTime + 1, time.Millisecond, time.Second, 8192 * time.Millisecond,
		8192*time.Millisecond + 1, time.Hour,
	} {
		var h histogram
		h.count(d)
		want := 0
		for want < NumTimes && d > TimeBound(want) {
			want++
		}
		var all Histogram
		h.addTo(&all)
		h.addTo(&all)
		if all.Counts[want] != 2 || all.Sum != 2*max(d, 0) {
			t.Errorf("%v: %v with a sum of %v, want it in bucket %d", d, all.Counts, all.Sum, want)
		}
	}
	if last := TimeBound(NumTimes - 1); last != 8192*time.Millisecond {
		t.Errorf("the last bound is %v", last)
	}
	var h histogram
	if n := testing.AllocsPerRun(100, func() { h.count(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
