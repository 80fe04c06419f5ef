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
	Label          string
	LabelX, LabelY float64
	LetterX        float64
	Strong         bool
	Bars           []bar
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

// newBars draws the amounts of one question, given by choice and run, up to max. Ticks are at values, in the order given.
func (v *view) newBars(q question, choices []choice, values func(c choice, run int) amount, max float64, ticks []tick) *bars {
	b := &bars{Top: 4}
	y := b.Top + 4
	runs := q.runs()
	height, left, labelX := float64(barAlone), float64(barLabel), float64(barLabel-8)
	if len(runs) > 1 { // whose letters need room
		height, left = barShared, barLabel+10
	}
	s := scale{min: 0, max: max, from: left, to: barEnd}
	for _, c := range choices {
		row := barRow{Label: c.name, LabelX: labelX, LetterX: left - 6, Strong: c.family == balancers.FamilyHoming}
		top := y
		for _, run := range runs {
			a := values(c, run)
			one := bar{Y: y, Height: height, TextY: y + height/2 + 4, MidY: y + height/2, Text: a.text, Tip: c.name + ": " + a.text, TextX: left + 4}
			if len(runs) > 1 {
				one.Letter = v.letter(run)
			}
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
