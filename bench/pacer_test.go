package bench

import (
	"math/rand/v2"
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
		{"a steady rate, the end excluded", []pacer{newPacer(0, 40*ms, 100, 0, 1, nil)}, []time.Duration{0, 10 * ms, 20 * ms, 30 * ms}},
		{"a stretch may begin late", []pacer{newPacer(time.Hour, 20*ms, 100, 0, 1, nil)}, []time.Duration{time.Hour, time.Hour + 10*ms}},
		{"a rate below one per stretch begins one", []pacer{newPacer(0, time.Second, 0.5, 0, 1, nil)}, []time.Duration{0}},
		{"no length, no conn", []pacer{newPacer(0, 0, 1000, 0, 1, nil)}, nil},
		{
			"two loops take turns",
			[]pacer{newPacer(0, 40*ms, 100, 0, 2, nil), newPacer(0, 40*ms, 100, 1, 2, nil)},
			[]time.Duration{0, 10 * ms, 20 * ms, 30 * ms},
		},
		{
			"and so do three, where the numbers do not divide",
			[]pacer{newPacer(0, 50*ms, 100, 0, 3, nil), newPacer(0, 50*ms, 100, 1, 3, nil), newPacer(0, 50*ms, 100, 2, 3, nil)},
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

// Loops that draw where in its gap a conn comes have as many as those that do not, and which of them comes first is open
// each time.
func TestPacersThatDrawDoNotTakeTurns(t *testing.T) {
	const n, gap = 1000, 10 * time.Millisecond
	loop := func(number, loops int, length time.Duration) []time.Duration {
		return all(newPacer(time.Hour, length, float64(loops)*100, number, loops, rand.New(rand.NewPCG(uint64(number), 0))))
	}
	one, two := loop(0, 2, n*gap), loop(1, 2, n*gap)
	if len(one) != n || len(two) != n {
		t.Fatalf("%d and %d conns, want %d each", len(one), len(two), n)
	}
	first, again := 0, 0
	for i := range one {
		for _, at := range []time.Duration{one[i], two[i]} {
			if since := at - time.Hour; since < time.Duration(i)*gap || since > time.Duration(i+1)*gap {
				t.Fatalf("conn %d comes %v after the start", i, since)
			}
		}
		if one[i] < two[i] {
			first++
		}
		if i > 0 && (one[i] < two[i]) == (one[i-1] < two[i-1]) {
			again++
		}
	}
	if first < n/3 || first > 2*n/3 || again < n/3 || again > 2*n/3 {
		t.Errorf("the first of two loops came first %d times of %d, and in the order of the time before %d times", first, n, again)
	}
	for length := gap; length < 3*gap; length += gap / 7 { // stretches that end within a gap
		for number := range 3 {
			got, want := loop(number, 3, length), all(newPacer(time.Hour, length, 300, number, 3, nil))
			if len(got) != len(want) || len(got) > 0 && got[len(got)-1] != want[len(want)-1] {
				t.Errorf("loop %d of 3 has %v in %v, without drawing %v", number, got, length, want)
			}
		}
	}
}

// A day at a high rate must neither drift nor overflow.
func TestPacerDoesNotDrift(t *testing.T) {
	p := newPacer(0, 24*time.Hour, 30_000, 0, 1, nil)
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
