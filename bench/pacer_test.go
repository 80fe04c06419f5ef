package bench

import (
	"slices"
	"testing"
	"time"
)

func all(p pacer) []time.Duration {
	var list []time.Duration
	for {
		at, ok := p.peek()
		if !ok {
			return list
		}
		p.take()
		list = append(list, at)
	}
}

func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		says   string
		pacers []pacer
		want   []time.Duration
	}{
		{"the zero value begins nothing", []pacer{{}}, nil},
		{"a steady rate, the end excluded", []pacer{newPacer(0, 40*ms, 100, 0, 1)}, []time.Duration{0, 10 * ms, 20 * ms, 30 * ms}},
		{"a stretch may begin late", []pacer{newPacer(time.Hour, 20*ms, 100, 0, 1)}, []time.Duration{time.Hour, time.Hour + 10*ms}},
		{"a rate below one per stretch begins one", []pacer{newPacer(0, time.Second, 0.5, 0, 1)}, []time.Duration{0}},
		{"no length, no conn", []pacer{newPacer(0, 0, 1000, 0, 1)}, nil},
		{
			"two loops take turns",
			[]pacer{newPacer(0, 40*ms, 100, 0, 2), newPacer(0, 40*ms, 100, 1, 2)},
			[]time.Duration{0, 10 * ms, 20 * ms, 30 * ms},
		},
		{
			"and so do three, where the numbers do not divide",
			[]pacer{newPacer(0, 50*ms, 100, 0, 3), newPacer(0, 50*ms, 100, 1, 3), newPacer(0, 50*ms, 100, 2, 3)},
			[]time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms},
		},
	} {
		var got []time.Duration
		for _, p := range c.pacers {
			got = append(got, all(p)...)
		}
		slices.Sort(got)
		for i := range got {
			got[i] = got[i].Round(time.Microsecond)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.says, got, c.want)
		}
	}
}

// A day at a high rate must neither drift nor overflow.
func TestPacerDoesNotDrift(t *testing.T) {
	p := newPacer(0, 24*time.Hour, 30_000, 0, 1)
	p.begun = 24*3600*30_000 - 1
	at, ok := p.peek()
	if want := 24*time.Hour - time.Second/30_000; !ok || at < want-time.Microsecond || at > want+time.Microsecond {
		t.Errorf("the last conn of a day begins at %v, %v, want %v", at, ok, want)
	}
	p.take()
	if at, ok := p.peek(); ok {
		t.Errorf("one more begins at %v", at)
	}
}
