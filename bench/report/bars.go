package report

import (
	"math"

	"homing/bench/balancers"
)

// bars is a chart of horizontal bars: a row for each choice, in it a bar for each run.
type bars struct {
	Height float64
	Rows   []barRow
	Ticks  []tick
	Top    float64 // of the lines of ticks
	Bottom float64
}

type barRow struct {
	Label  string
	LabelY float64
	Strong bool
	Bars   []bar
}

// bar is one bar of one or more parts, with a whisker from the least to the greatest round.
type bar struct {
	Y, Height, TextY float64
	Letter           string // of the run
	Parts            []barPart
	Whisker          bool
	From, To, MidY   float64
	Text             string
	TextX            float64
	Tip              string
}

type barPart struct {
	X, Width float64
	Class    string
}

// Geometry of a chart of bars, in units.
const (
	barLabel  = 132 // where bars begin
	barEnd    = 292 // where the longest ends; its figure stands behind it
	barAlone  = 14  // height of a bar that is alone in its row
	barShared = 9   // height of one of several
	barGap    = 3   // between bars of one row
	rowGap    = 10  // between rows
)

// amount is what a bar shows: its parts, their sum's text and spread.
type amount struct {
	parts   []float64
	classes []string
	stat    Stat // of the sum; not OK: nothing to draw
	text    string
}

// newBars draws rows of amounts, given by choice and run, up to max. Ticks are at values, in the order given.
func (v *view) newBars(choices []choice, values func(c choice, run int) amount, max float64, ticks []tick) *bars {
	b := &bars{Top: 4}
	s := scale{min: 0, max: max, from: barLabel, to: barEnd}
	y := b.Top + 4
	height := float64(barAlone)
	if len(v.runs) > 1 {
		height = barShared
	}
	for _, c := range choices {
		row := barRow{Label: c.name, Strong: c.family == balancers.FamilyHoming}
		top := y
		for run := range v.runs {
			a := values(c, run)
			one := bar{Y: y, Height: height, TextY: y + height/2 + 4, MidY: y + height/2, Letter: v.letter(run), Text: a.text, Tip: c.name + ": " + a.text, TextX: barLabel + 4}
			if a.stat.OK() {
				x := s.from
				for i, part := range a.parts {
					w := s.at(part) - s.from
					one.Parts = append(one.Parts, barPart{X: x, Width: math.Min(w, barEnd-x), Class: a.classes[i]})
					x = math.Min(x+w, barEnd)
				}
				one.From, one.To = s.at(a.stat.Min), s.at(a.stat.Max)
				one.Whisker = one.To-one.From > 1.5
				one.TextX = math.Max(x, one.To) + 5
			}
			row.Bars = append(row.Bars, one)
			y += height + barGap
		}
		row.LabelY = (top+y-barGap)/2 + 4
		b.Rows = append(b.Rows, row)
		y += rowGap - barGap
	}
	b.Bottom = y - rowGap/2
	b.Height = b.Bottom + 18
	for _, t := range ticks {
		t.At = s.at(t.At)
		b.Ticks = append(b.Ticks, t)
	}
	return b
}
