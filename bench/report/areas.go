package report

import (
	"math"
	"slices"
	"strings"

	"homing/bench"
	"homing/bench/balancers"
)

// areas is a chart of conns over time, stacked: resumed, refused, failed.
type areas struct {
	Height                   float64
	Left, Right, Top, Bottom float64
	X, Y                     []tick
	Bands                    []band
	Events                   []event
}

type band struct{ Class, Path string }

// event is something that was done to a backend or a node.
type event struct {
	X, TextY float64
	Text     string
}

const (
	areaTop    = 36 // above it events are named, in two lines
	areaBottom = 126
	areaHeight = 150
	// areaTicks of a timeline are drawn as one: what ends in a tenth of a second jumps too much to be seen.
	areaTicks = 5
)

// timeline draws one arm. All arms of a test have the same scale, which ends at peak conns per second.
func timeline(t *Test, a *Arm, peak float64) *areas {
	ticks := coarse(a)
	if len(ticks) == 0 {
		return nil
	}
	wide := (areaTicks * bench.TimelineTick).Seconds()
	xs := scale{min: 0, max: t.Plan.Duration.Seconds(), from: plotLeft, to: plotRight}
	ys := scale{min: 0, max: niceMax(peak), from: areaBottom, to: areaTop}
	c := &areas{Height: areaHeight, Left: plotLeft, Right: plotRight, Top: areaTop, Bottom: areaBottom, X: seconds(xs)}
	c.Y = []tick{{At: ys.at(0), Text: "0"}, {At: ys.at(ys.max), Text: count(ys.max)}}
	base := make([]float64, len(ticks))
	for _, b := range []struct {
		class string
		of    func(bench.Tick) int64
	}{
		{"good", func(k bench.Tick) int64 { return k.Accepted }},
		{"full", func(k bench.Tick) int64 { return k.Done - k.Accepted }},
		{"bad", func(k bench.Tick) int64 { return k.Errors }},
	} {
		var up, down []point
		for i, k := range ticks {
			x := xs.at((float64(i) + 0.5) * wide)
			down = append(down, point{x, ys.at(base[i])})
			base[i] += math.Max(0, float64(b.of(k))) / wide / float64(rounds(a))
			up = append(up, point{x, ys.at(base[i])})
		}
		for _, p := range slices.Backward(down) {
			up = append(up, p)
		}
		c.Bands = append(c.Bands, band{Class: b.class, Path: path(up) + "Z"})
	}
	for i, d := range a.Disturbances {
		e := event{X: xs.at(d.Began.Seconds()), TextY: 12, Text: d.Who + " up"}
		if d.Down {
			e.Text = d.Who + " killed"
		}
		if i%2 == 1 { // beside each other they may not have the room
			e.TextY += 13
		}
		c.Events = append(c.Events, e)
	}
	return c
}

// coarse sums areaTicks ticks at a time. The last ones, which are not whole, are left out.
func coarse(a *Arm) []bench.Tick {
	var list []bench.Tick
	for i := 0; i+areaTicks <= len(a.Timeline); i += areaTicks {
		var sum bench.Tick
		for _, k := range a.Timeline[i : i+areaTicks] {
			sum.Done += k.Done
			sum.Errors += k.Errors
			sum.Accepted += k.Accepted
			sum.Refused += k.Refused
		}
		list = append(list, sum)
	}
	return list
}

// peak is the greatest number of conns per second in any arm.
func peak(t *Test) float64 {
	most := 0.0
	for i := range t.Arms {
		a := &t.Arms[i]
		for _, k := range coarse(a) {
			n := float64(k.Done+k.Errors) / (areaTicks * bench.TimelineTick).Seconds() / float64(rounds(a))
			most = math.Max(most, n)
		}
	}
	return most
}

// rounds is how many the arm got through.
func rounds(a *Arm) int {
	n := 0
	for _, r := range a.Rounds {
		if r != nil {
			n++
		}
	}
	return max(n, 1)
}

// dots is the picture at the head of the page: of 50 offers so many found their session.
type dots struct {
	Height float64
	Rows   []dotRow
}

type dotRow struct {
	Name, Class, Text string
	TextY             float64
	Strong            bool
	Dots              []dot
}

type dot struct {
	X, Y float64
	Full bool
}

const (
	dotCount     = 50
	dotPitch     = float64(chartWidth) / dotCount
	dotRowHeight = 31
)

// newDots draws the mean over these questions for each choice.
func (v *view) newDots(list []question) *dots {
	d := &dots{}
	y := 0.0
	for _, c := range v.choices(list) {
		for _, runs := range v.heads(list) {
			mean, _ := v.offers(runs, list, c)
			if math.IsNaN(mean) {
				continue
			}
			name := c.name
			if l := v.letter(runs[0]); l != "" && len(runs) == 1 {
				name = l + " " + name
			}
			row := dotRow{Name: name, Class: c.class(), Strong: c.family == balancers.FamilyHoming, Text: percent(mean), TextY: y + 13}
			for i := range dotCount {
				row.Dots = append(row.Dots, dot{X: (float64(i) + 0.5) * dotPitch, Y: y + 23, Full: float64(i) < math.Round(mean*dotCount)})
			}
			d.Rows = append(d.Rows, row)
			y += dotRowHeight
		}
	}
	d.Height = y
	return d
}

// Alt is the picture in words.
func (d *dots) Alt() string {
	parts := make([]string, len(d.Rows))
	for i, r := range d.Rows {
		parts[i] = r.Name + " " + r.Text
	}
	return "Share of the offers to resume that were accepted: " + strings.Join(parts, ", ") + "."
}
