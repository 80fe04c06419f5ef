package report

import (
	"math"
	"slices"
)

// Stat sums up what one arm's rounds showed of one measure.
type Stat struct {
	Median, Min, Max float64
	Rounds           int
}

// OK reports whether there was any round.
func (s Stat) OK() bool { return s.Rounds > 0 }

// Spread is half the range of the rounds as a part of the median; not a number with one round, or around 0.
func (s Stat) Spread() float64 {
	if s.Rounds < 2 || s.Median == 0 {
		return math.NaN()
	}
	return (s.Max - s.Min) / 2 / math.Abs(s.Median)
}

// statOf sums up values; those that are not numbers do not count.
func statOf(values []float64) Stat {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return Stat{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	slices.Sort(v)
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return Stat{Median: mid, Min: v[0], Max: v[len(v)-1], Rounds: len(v)}
}

// Verdict is what may be said of two arms.
type Verdict int

// The verdicts.
const (
	Unknown Verdict = iota // fewer than two rounds have both: nothing is known of the spread
	Equal                  // inside the spread
	Less                   // the first arm's figure is smaller
	More                   // the first arm's figure is greater
)

// resolution is the difference below which two figures are equal even when every round says the same: the accounts of
// CPU time and the counts of conns are no better.
const resolution = 0.01

// Ratio compares two arms: each round of the first by the same round of the second. Arms take turns within a round, so
// what the machine did to one of them it did to the other.
type Ratio struct {
	Stat
	Verdict Verdict
}

// ratioOf compares values by round; a pair does not count with a value that is not a number, or not above 0.
func ratioOf(first, second []float64) Ratio {
	var ratios, logs []float64
	for i := range min(len(first), len(second)) {
		if first[i] > 0 && second[i] > 0 {
			r := first[i] / second[i]
			ratios, logs = append(ratios, r), append(logs, math.Log(r))
		}
	}
	r := Ratio{Stat: statOf(ratios)}
	switch {
	case r.Rounds < 2:
		r.Verdict = Unknown
	case math.Abs(r.Median-1) < resolution || insideSpread(logs):
		r.Verdict = Equal
	case r.Median < 1:
		r.Verdict = Less
	default:
		r.Verdict = More
	}
	return r
}

// insideSpread reports whether the mean of values differs from 0 by no more than their own range explains: E. Lord's test
// for few values (Biometrika 34, 1947), two-sided, at 95 %. Logarithms of ratios are what it is asked about: to be half and
// to be twice are equally far from being equal.
func insideSpread(values []float64) bool {
	// The greatest mean, as a part of the range, that two values, three values and so on have by chance.
	limits := [...]float64{
		6.353, 1.304, 0.717, 0.507, 0.399, 0.333, 0.288, 0.255, 0.230, 0.210, 0.194, 0.181, 0.170, 0.160, 0.151, 0.144, 0.137, 0.131, 0.126,
	}
	if len(values) < 2 {
		return true
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	limit := limits[min(len(values)-2, len(limits)-1)]
	return math.Abs(sum/float64(len(values))) <= limit*(slices.Max(values)-slices.Min(values))
}
