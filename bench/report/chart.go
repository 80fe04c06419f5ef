package report

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Charts are drawn for a width of 360 units, in which letters of 12 units can be read on a phone; on wider screens
// several stand beside each other.
const chartWidth = 360

// point is a place in a chart.
type point struct{ X, Y float64 }

// num writes a coordinate, to a tenth of a unit.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// path joins points by straight lines.
func path(points []point) string {
	var b strings.Builder
	for i, p := range points {
		if i == 0 {
			b.WriteByte('M')
		} else {
			b.WriteByte('L')
		}
		b.WriteString(num(p.X) + " " + num(p.Y))
	}
	return b.String()
}

// tick is a mark of an axis.
type tick struct {
	At   float64
	Text string
	Kind string // class of its line: "" or "ref"
}

// Anchor keeps the text of a mark at the right edge inside the chart.
func (t tick) Anchor() string {
	if t.At > chartWidth-24 {
		return "end"
	}
	return "middle"
}

// scale maps values to a range of units, in proportion or by logarithm.
type scale struct {
	min, max float64 // values
	from, to float64 // units
	log      bool
}

func (s scale) at(v float64) float64 {
	lo, hi := s.min, s.max
	if s.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(max(v, s.min))
	}
	if hi == lo {
		return s.from
	}
	return s.from + (s.to-s.from)*min(max((v-lo)/(hi-lo), 0), 1)
}

// niceMax is the round number a little above v that ends an axis.
func niceMax(v float64) float64 {
	if !(v > 0) || math.IsInf(v, 1) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if m*unit >= v*0.999 {
			return m * unit
		}
	}
	return 10 * unit
}

// decades are the ticks of an axis of milliseconds by logarithm: 1, 2, 5, 10 and so on.
func decades(s scale) []tick {
	var list []tick
	for e := math.Floor(math.Log10(s.min)); e <= math.Ceil(math.Log10(s.max)); e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if v >= s.min*0.999 && v <= s.max*1.001 {
				list = append(list, tick{At: s.at(v), Text: strconv.FormatFloat(v, 'g', 6, 64)})
			}
		}
	}
	return list
}

// seconds are the ticks of an axis of time.
func seconds(s scale) []tick {
	step := niceMax((s.max - s.min) / 5)
	var list []tick
	for v := 0.0; v <= s.max*1.001; v += step {
		list = append(list, tick{At: s.at(v), Text: strconv.FormatFloat(v, 'f', -1, 64) + " s"})
	}
	return list
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
