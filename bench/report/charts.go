package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"homing/bench"
)

// chart is one chart, which page.js has uPlot draw. Alt says in words what it shows.
type chart struct {
	ID, Title, Alt string
	Plot           plot
}

// plot is the data of a chart.
type plot struct {
	Kind   string    `json:"kind"` // percentiles, rates, timeline
	X      []figure  `json:"x"`
	Series []series  `json:"series"`
	Events []atEvent `json:"events,omitempty"`
}

// series has a figure for each of the plot's X.
type series struct {
	Name   string   `json:"name"`
	Class  string   `json:"class"` // colour, in the style sheet
	Strong bool     `json:"strong,omitempty"`
	Y      []figure `json:"y"`
}

// atEvent is something that was done to a backend or a node.
type atEvent struct {
	X    figure `json:"x"`
	Text string `json:"text"`
}

// figure is a number to four digits; not a number is null, where a line has a gap.
type figure float64

// MarshalJSON is of json.Marshaler.
func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'g', 4, 64), nil
}

// JSON is the data as page.js reads it.
func (p plot) JSON() (string, error) {
	b, err := json.Marshal(p)
	return string(b), err
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// chartTitle names a test's chart.
func chartTitle(t *Test) string {
	s := cmp.Or(kindName(t.Kind), t.Scenario)
	if t.Scenario == string(bench.Resume) {
		s += ", " + sourcesName(t.Sources)
	}
	return s
}

// maxNines ends the axis of percentiles: 99.99 %.
const maxNines = 4

// percentiles draws histograms: which part of the conns was no slower. X is the number of nines of that part, 0 to 4, so
// that each further nine has the same room, for it is the slow ones that are felt; a curve ends where one conn is left.
func percentiles(t *Test, choices []choice) []chart {
	const steps = 80
	c := chart{Title: chartTitle(t), Alt: "Percentiles of the time to the answer; the table has the median and the 99th.", Plot: plot{Kind: "percentiles"}}
	for i := range steps + 1 {
		c.Plot.X = append(c.Plot.X, figure(maxNines*float64(i)/steps))
	}
	for _, one := range choices {
		a := t.Arm(one.key)
		if a == nil || a.Latency.Answer.Count() == 0 {
			continue
		}
		h, s := a.Latency.Answer, one.series()
		last := math.Log10(float64(h.Count()))
		for _, n := range c.Plot.X {
			y := math.NaN()
			if float64(n) <= last {
				y = milli(h.Quantile(1 - math.Pow(10, -float64(n))))
			}
			s.Y = append(s.Y, figure(y))
		}
		c.Plot.Series = append(c.Plot.Series, s)
	}
	return c.unlessEmpty()
}

// rising draws what each rate did to the 99th percentile, in milliseconds, as medians over the rounds that came so far.
func rising(t *Test, choices []choice) []chart {
	c := chart{Title: chartTitle(t), Alt: "99th percentile by rate; the table has the greatest rate kept up.", Plot: plot{Kind: "rates"}}
	p99s := map[string]map[float64][]float64{} // by choice and rate
	var rates []float64
	for _, one := range choices {
		a := t.Arm(one.key)
		if a == nil {
			continue
		}
		p99s[one.key] = map[float64][]float64{}
		for _, r := range a.Rounds {
			if r == nil {
				continue
			}
			for _, s := range r.Steps {
				if s.P99 > 0 {
					p99s[one.key][s.Rate] = append(p99s[one.key][s.Rate], float64(s.P99)/1000)
					rates = append(rates, s.Rate)
				}
			}
		}
	}
	slices.Sort(rates)
	rates = slices.Compact(rates)
	for _, rate := range rates {
		c.Plot.X = append(c.Plot.X, figure(rate))
	}
	for _, one := range choices {
		if len(p99s[one.key]) == 0 {
			continue
		}
		s := one.series()
		for _, rate := range rates {
			s.Y = append(s.Y, figure(statOf(p99s[one.key][rate]).Median))
		}
		c.Plot.Series = append(c.Plot.Series, s)
	}
	return c.unlessEmpty()
}

// unlessEmpty is a list of the chart, or an empty one.
func (c *chart) unlessEmpty() []chart {
	if len(c.Plot.Series) == 0 {
		return nil
	}
	return []chart{*c}
}

func (c choice) series() series { return series{Name: c.name, Class: c.class(), Strong: c.homing()} }

// timelineTicks of a timeline are drawn as one: what ends in a tenth of a second jumps too much to be seen.
const timelineTicks = 5

// timelines draws each arm: conns per second, resumed, full and failed, over the seconds of the test.
func timelines(t *Test, choices []choice) []chart {
	var list []chart
	const wide = float64(timelineTicks*bench.TimelineTick) / float64(time.Second)
	for _, one := range choices {
		a := t.Arm(one.key)
		if a == nil || len(a.Timeline) < timelineTicks {
			continue
		}
		share := "no offers"
		if f, ok := a.Tally.Share(); ok {
			share = percent(f)
		}
		c := chart{
			Title: one.name + ", " + kindName(t.Kind),
			Alt:   fmt.Sprintf("Conns over time. %s of the offers were accepted, %s conns failed.", share, thousands(a.Tally.Failed())),
			Plot: plot{Kind: "timeline", Series: []series{
				{Name: "resumed", Class: "good"}, {Name: "full handshake", Class: "full"}, {Name: "failed", Class: "bad"},
			}},
		}
		// The last ones, which are not whole, are left out.
		for i := 0; i+timelineTicks <= len(a.Timeline); i += timelineTicks {
			var sum bench.Tick
			for _, k := range a.Timeline[i : i+timelineTicks] {
				sum.Add(k)
			}
			c.Plot.X = append(c.Plot.X, figure((float64(i)/timelineTicks+0.5)*wide))
			for j, n := range []int64{sum.Accepted, max(0, sum.Done-sum.Accepted), sum.Errors} {
				c.Plot.Series[j].Y = append(c.Plot.Series[j].Y, figure(float64(n)/wide/float64(a.through())))
			}
		}
		for _, d := range a.Disturbances {
			what := " up"
			if d.Down {
				what = " killed"
			}
			c.Plot.Events = append(c.Plot.Events, atEvent{figure(d.Began.Seconds()), d.Who + what})
		}
		list = append(list, c)
	}
	return list
}

// through is how many rounds the arm got through, at least 1.
func (a *Arm) through() int {
	n := 0
	for _, r := range a.Rounds {
		if r != nil {
			n++
		}
	}
	return max(n, 1)
}
