package bench

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimersComeInOrder(t *testing.T) {
	var h timers
	if _, ok := h.next(); ok {
		t.Error("an empty heap has a timer")
	}
	for i := range 1000 {
		h.add(timer{at: time.Duration(rand.IntN(500)), slot: int32(i)})
	}
	if _, ok := h.due(-1); ok {
		t.Error("a timer is due before its time")
	}
	seen := map[int32]bool{}
	for now := range time.Duration(500) {
		for {
			at, _ := h.next()
			x, ok := h.due(now)
			if !ok {
				break
			}
			if x.at != now || at != now {
				t.Fatalf("at %d the timer of %d came, announced for %d", now, x.at, at)
			}
			seen[x.slot] = true
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d timers of 1000 came", len(seen))
	}
}

func TestLineDelaysInOrder(t *testing.T) {
	var l line
	b := []byte("one")
	l.push(10, b, nil)
	b[0] = 'X' // the line has its own copy
	l.push(20, []byte("two"), errors.ErrUnsupported)
	if p, ok := l.pop(9); ok {
		t.Errorf("%q came too early", p.b)
	}
	if p, ok := l.pop(10); !ok || string(p.b) != "one" || p.end != nil {
		t.Errorf("%q, %v", p.b, ok)
	}
	if _, ok := l.pop(19); ok {
		t.Error("the second came too early")
	}
	if p, ok := l.pop(25); !ok || string(p.b) != "two" || p.end == nil {
		t.Errorf("%q, %v, %v", p.b, p.end, ok)
	}
	if _, ok := l.pop(1000); ok {
		t.Error("something is left")
	}
	l.push(30, []byte("three"), nil)
	l.reset()
	if _, ok := l.pop(1000); ok {
		t.Error("something is left behind a reset")
	}
}
