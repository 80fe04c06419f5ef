package integration

import (
	"testing"
	"time"
)

// The clock stands still for as long as the machine was late, evenly between two looks.
func TestMachineClock(t *testing.T) {
	start := time.Now().Add(-time.Hour)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	c := &machineClock{looks: []look{{at(0), 0}, {at(1), 0}, {at(2), 900 * time.Millisecond}, {at(10), 900 * time.Millisecond}}}
	for _, tt := range []struct {
		begin, end float64
		want       time.Duration
	}{
		{0, 1, time.Second},                 // nobody else was there
		{1, 2, 100 * time.Millisecond},      // others were
		{1.5, 2, 50 * time.Millisecond},     // for half of it
		{0.5, 3, 1600 * time.Millisecond},   // among other times
		{-5, -4, time.Second},               // before it began
		{2, 9, 7 * time.Second},             // afterwards
		{1.25, 1.75, 50 * time.Millisecond}, // between two looks
	} {
		if got := c.took(stretch{at(tt.begin), at(tt.end)}).Round(time.Microsecond); got != tt.want {
			t.Errorf("from %v to %v s: %v, want %v", tt.begin, tt.end, got, tt.want)
		}
	}
}
