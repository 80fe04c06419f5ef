package pool

import (
	"math/rand/v2"
	"testing"
)

// TestTallyBytes: however a flow is cut, what is counted is what it carried, and never far behind.
func TestTallyBytes(t *testing.T) {
	for _, in := range []bool{true, false} {
		b := member(newPool(t, Options{}, numbered(1)...), 0)
		var all uint64
		for range 200 {
			var flow uint64
			for range rand.IntN(20) {
				n := rand.Uint64N(3 * TallyStep)
				b.CountBytes(in, flow, flow+n)
				flow += n
				counted := b.Tally().BytesIn + b.Tally().BytesOut
				if behind := all + flow - counted; behind >= TallyStep {
					t.Fatalf("%d bytes behind", behind)
				}
			}
			b.CountRest(in, flow)
			all += flow
		}
		want := Tally{BytesOut: all}
		if in {
			want = Tally{BytesIn: all}
		}
		if got := b.Tally(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestTally(t *testing.T) {
	b := member(newPool(t, Options{}, numbered(1)...), 0)
	b.CountConn(true)
	b.CountConn(false)
	b.CountVerdict(true)
	b.CountVerdict(true)
	b.CountVerdict(false)
	b.CountLost()
	if got, want := b.Tally(), (Tally{Conns: 2, Fresh: 1, Accepted: 2, Refused: 1, Lost: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
