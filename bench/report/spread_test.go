package report

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestStatOf(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name   string
		values []float64
		want   Stat
	}{
		{"odd", []float64{3, 1, 2}, Stat{Median: 2, Min: 1, Max: 3, Rounds: 3}},
		{"even: the mean of the middle ones", []float64{4, 1, 2, 100}, Stat{Median: 3, Min: 1, Max: 100, Rounds: 4}},
		{"rounds that are missing do not count", []float64{nan, 5, nan}, Stat{Median: 5, Min: 5, Max: 5, Rounds: 1}},
	} {
		if got := statOf(c.values); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if s := statOf([]float64{nan}); s.OK() || !math.IsNaN(s.Median) {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestSpread(t *testing.T) {
	if got := statOf([]float64{90, 100, 120}).Spread(); got != 0.15 {
		t.Errorf("half the range of 90, 100, 120 is %v of the median", got)
	}
	for _, values := range [][]float64{{7}, nil, {0, 0, 0}} {
		if got := statOf(values).Spread(); !math.IsNaN(got) {
			t.Errorf("%v has a spread of %v", values, got)
		}
	}
}

func TestRatioOf(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name          string
		first, second []float64
		verdict       Verdict
		text          string
	}{
		{"less in every round", []float64{30, 33, 29}, []float64{100, 100, 100}, Less, "0.30 x"},
		{"more in every round", []float64{300, 330, 290}, []float64{100, 100, 100}, More, "3.00 x"},
		{"more and less", []float64{90, 100, 120}, []float64{100, 100, 100}, Equal, "equal"},
		{"all on one side, but nearer to 1 than three rounds can tell", []float64{105, 110, 120}, []float64{100, 100, 100}, Equal, "equal"},
		{"five rounds can tell more", []float64{130, 190, 176, 230, 150}, []float64{100, 100, 100, 100, 100}, More, "1.76 x"},
		{"two rounds can tell little", []float64{140, 200}, []float64{100, 100}, Equal, "equal"},
		{"what slows both sides of a round is no spread", []float64{50, 500, 5}, []float64{100, 1000, 10}, Less, "0.50 x"},
		{"below the resolution", []float64{1005, 1005, 1005}, []float64{1000, 1000, 1000}, Equal, "equal"},
		{"one round: its spread is not known", []float64{30}, []float64{100}, Unknown, "(0.30 x)"},
		{"a round that one of them missed", []float64{30, nan, 31}, []float64{100, 100, nan}, Unknown, "(0.30 x)"},
		{"nothing to divide", []float64{0, 0}, []float64{30, 30}, Unknown, "-"},
		{"nothing to divide by", []float64{30, 30}, []float64{0, 0}, Unknown, "-"},
		{"below 0, as a difference may be", []float64{-30, 30, -30}, []float64{-100, -100, 100}, Unknown, "-"},
		{"of different length", []float64{30, 30, 90}, []float64{100, 100}, Less, "0.30 x"},
		{"all the same", []float64{1, 1, 1}, []float64{1, 1, 1}, Equal, "equal"},
		{"hundredfold", []float64{12345, 12346}, []float64{100, 100}, More, "123 x"},
	} {
		got := ratioOf(c.first, c.second)
		if got.Verdict != c.verdict || got.Text() != c.text {
			t.Errorf("%s: verdict %d, %q, want %d, %q (%+v)", c.name, got.Verdict, got.Text(), c.verdict, c.text, got)
		}
	}
}

// Balancers that are equal are called equal 95 times of 100, however noisy the rounds and however many.
func TestVerdictsAreRightAsOftenAsTheySay(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	const tries = 20_000
	for rounds := 2; rounds <= 20; rounds++ {
		equal := 0
		for range tries {
			values := make([]float64, rounds)
			for i := range values {
				values[i] = rng.NormFloat64()
			}
			if insideSpread(values) {
				equal++
			}
		}
		if share := float64(equal) / tries; math.Abs(share-0.95) > 0.01 {
			t.Errorf("with %d rounds %.3f are called equal", rounds, share)
		}
	}
}
