package testkit

import (
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	asked := 0
	if Wait(time.Millisecond, func() bool { asked++; return false }) || asked == 0 {
		t.Errorf("a condition that never holds was met, or never asked: %d", asked)
	}
	if !Wait(time.Hour, func() bool { asked--; return asked <= 0 }) {
		t.Error("a condition that holds was not seen")
	}
}
