package pool

import (
	"slices"
	"testing"
)

func TestSequence(t *testing.T) {
	tests := []struct {
		weights []int
		want    []uint16
		why     string
	}{
		{nil, nil, "nobody takes no turns"},
		{[]int{7}, []uint16{0}, "one backend, whatever its weight, is a cycle of one"},
		{[]int{1, 1, 1}, []uint16{0, 1, 2}, "equal weights go round"},
		{[]int{500, 500}, []uint16{0, 1}, "the common divisor is taken out"},
		{[]int{5, 1, 1}, []uint16{0, 0, 1, 0, 2, 0, 0}, "nginx's own example is spread evenly"},
		{[]int{4, 2}, []uint16{0, 1, 0}, "two to one"},
	}
	for _, tt := range tests {
		if got := sequence(tt.weights); !slices.Equal(got, tt.want) {
			t.Errorf("%s: sequence(%v) = %v, want %v", tt.why, tt.weights, got, tt.want)
		}
	}
}

// TestSequenceCounts checks the promise of the doc comment, exact below maxSequence and bounded above it.
func TestSequenceCounts(t *testing.T) {
	tests := []struct {
		weights []int
		exact   bool
		why     string
	}{
		{[]int{1, 2, 3, 4, 5}, true, "small sums are exact"},
		{[]int{1000, 999, 1}, true, "a sum of 2,000 fits"},
		{[]int{1000, 999, 998, 997, 996, 995}, false, "nearly 6,000 is scaled down"},
		{[]int{1000, 1000, 1000, 1000, 1000, 1}, false, "a light backend keeps a turn"},
		{slices.Repeat([]int{1000, 1}, 1000), false, "a thousand light ones keep theirs"},
		{slices.Repeat([]int{3, 7}, MaxBackends/2), false, "as many backends as turns"},
	}
	for _, tt := range tests {
		seq := sequence(tt.weights)
		if len(seq) > maxSequence {
			t.Errorf("%s: %d turns", tt.why, len(seq))
		}
		counts := make([]int, len(tt.weights))
		for _, i := range seq {
			counts[i]++
		}
		sum, lifted := 0, 0
		for i, w := range tt.weights {
			sum += w
			if counts[i] == 1 {
				lifted++
			}
		}
		for i, w := range tt.weights {
			share, want := float64(counts[i])/float64(len(seq)), float64(w)/float64(sum)
			bound := 0.0
			if !tt.exact {
				bound = (1.5 + float64(lifted)) / maxSequence
			}
			if counts[i] == 0 || share-want > bound+1e-9 || want-share > bound+1e-9 {
				t.Errorf("%s: weight %d has %d of %d turns, a share of %.5f instead of %.5f", tt.why, w, counts[i], len(seq), share, want)
				break
			}
		}
	}
}

// TestSequenceIsSmooth: in any stretch of the cycle a backend has its share of the turns, give or take one or two.
func TestSequenceIsSmooth(t *testing.T) {
	weights := []int{9, 5, 3, 2, 1}
	seq := sequence(weights)
	seq = append(seq, seq...)
	for from := range seq {
		counts := make([]int, len(weights))
		for n, i := range seq[from:] {
			counts[i]++
			fair := float64(n+1) * float64(weights[i]) / 20
			if diff := float64(counts[i]) - fair; diff > 2 {
				t.Fatalf("backend %d has %d of the %d turns from %d, its share is %.1f", i, counts[i], n+1, from, fair)
			}
		}
	}
}
