package report

import (
	"math"
	"strconv"

	"homing/bench"
	"homing/bench/balancers"
)

// curves is a chart of lines over two axes.
type curves struct {
	Height                   float64
	Left, Right, Top, Bottom float64
	X, Y                     []tick
	XName, YName             string
	Lines                    []line
}

type line struct {
	Name, Class, Path string
	Dots              []point
	Strong            bool
}

// Geometry of a chart of lines, in units.
const (
	plotLeft   = 46
	plotRight  = chartWidth - 10
	plotTop    = 24
	plotBottom = 232
	plotHeight = 272
)

func newCurves(x, y []tick, xName, yName string) *curves {
	return &curves{
		Height: plotHeight, Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom,
		X: x, Y: y, XName: xName, YName: yName,
	}
}

// maxNines ends the axis of percentiles: 99.99 %.
const maxNines = 4

// percentiles draws histograms: which part of the conns was no slower. The axis gives each further nine the same room,
// for it is the slow ones that are felt; a curve ends where one conn is left.
func (v *view) percentiles(t *Test, choices []choice) *curves {
	least, most, end := math.Inf(1), 0.0, 1.0
	for _, c := range choices {
		if h := answerOf(t, c); h.Count() > 0 {
			least = math.Min(least, milli(h.Quantile(0.05)))
			most = math.Max(most, milli(h.Max()))
			end = math.Max(end, math.Min(maxNines, math.Log10(float64(h.Count()))))
		}
	}
	if most == 0 {
		return nil
	}
	ys := scale{min: math.Max(least*0.8, 0.01), max: most * 1.2, from: plotBottom, to: plotTop, log: true}
	xs := scale{min: 0, max: end, from: plotLeft, to: plotRight}
	var x []tick
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		if n := nines(q); n <= end+0.01 {
			x = append(x, tick{At: xs.at(n), Text: strconv.FormatFloat(100*q, 'f', -1, 64) + "%"})
		}
	}
	chart := newCurves(x, decades(ys), "of the conns had their answer within", "ms")
	for _, c := range choices {
		h := answerOf(t, c)
		if h.Count() == 0 {
			continue
		}
		l := line{Name: c.name, Class: c.class(), Strong: c.family == balancers.FamilyHoming}
		var points []point
		last := math.Min(end, math.Log10(float64(h.Count())))
		const steps = 80
		for i := range steps + 1 {
			n := last * float64(i) / steps
			points = append(points, point{xs.at(n), ys.at(milli(h.Quantile(1 - math.Pow(10, -n))))})
		}
		l.Path = path(points)
		chart.Lines = append(chart.Lines, l)
	}
	return chart
}

// nines is how many nines a percentile has: 0.99 has two.
func nines(q float64) float64 { return -math.Log10(1 - q) }

func answerOf(t *Test, c choice) *bench.Histogram {
	if a := t.Arm(c.key); a != nil {
		return a.Latency.Answer
	}
	return nil
}

// rising draws what each rate did to the 99th percentile, as medians over the rounds that came so far.
func (v *view) rising(t *Test, choices []choice) *curves {
	most, least, slow := 0.0, math.Inf(1), 0.0
	all := map[string][]point{} // by choice: rate and milliseconds
	for _, c := range choices {
		a := t.Arm(c.key)
		if a == nil {
			continue
		}
		for i := range longest(a) {
			var p99 []float64
			rate := 0.0
			for _, r := range a.Rounds {
				if r != nil && i < len(r.Steps) && r.Steps[i].P99 > 0 {
					p99 = append(p99, float64(r.Steps[i].P99)/1000)
					rate = r.Steps[i].Rate
				}
			}
			if s := statOf(p99); s.OK() {
				all[c.key] = append(all[c.key], point{rate, s.Median})
				most, least, slow = math.Max(most, rate), math.Min(least, s.Median), math.Max(slow, s.Median)
			}
		}
	}
	if most == 0 {
		return nil
	}
	ys := scale{min: math.Max(least*0.8, 0.01), max: slow * 1.2, from: plotBottom, to: plotTop, log: true}
	xs := scale{min: 0, max: niceMax(most), from: plotLeft, to: plotRight}
	var x []tick
	for i := range 5 {
		at := xs.max * float64(i) / 4
		x = append(x, tick{At: xs.at(at), Text: count(at)})
	}
	chart := newCurves(x, decades(ys), "conns per second that should have begun", "p99, ms")
	for _, c := range choices {
		l := line{Name: c.name, Class: c.class(), Strong: c.family == balancers.FamilyHoming}
		for _, p := range all[c.key] {
			l.Dots = append(l.Dots, point{xs.at(p.X), ys.at(p.Y)})
		}
		if len(l.Dots) > 0 {
			l.Path = path(l.Dots)
			chart.Lines = append(chart.Lines, l)
		}
	}
	return chart
}

// longest is the number of steps of the round that has most.
func longest(a *Arm) int {
	n := 0
	for _, r := range a.Rounds {
		if r != nil {
			n = max(n, len(r.Steps))
		}
	}
	return n
}
