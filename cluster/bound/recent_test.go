package bound

import (
	"testing"
	"time"
)

func TestRecent(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := Recent[int]{Max: 2}
	if r.Has(1, now) {
		t.Error("nothing is remembered yet")
	}
	for key, want := range map[int]bool{1: true, 2: true} {
		if got := r.Note(key, now.Add(time.Duration(key)*time.Second), now); got != want {
			t.Errorf("%d: %v", key, got)
		}
	}
	if r.Note(3, now.Add(time.Minute), now) || r.Has(3, now) {
		t.Error("there was room for a third")
	}
	if !r.Note(2, now.Add(time.Minute), now) {
		t.Error("what is known needs no room")
	}
	now = now.Add(time.Second)
	if r.Has(1, now) || !r.Has(2, now) || !r.Note(3, now.Add(time.Second), now) || len(r.All()) != 2 {
		t.Errorf("a second later: %v", r.All())
	}
}
