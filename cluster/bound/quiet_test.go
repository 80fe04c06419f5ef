package bound

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Unix(1_000_000, 0)
	q := NewQuiet(log)
	q.now = func() time.Time { return now }
	lines := func() int { return strings.Count(out.String(), "\n") }
	for range 1000 {
		q.Say(slog.LevelWarn, "a", "text")
		q.Say(slog.LevelWarn, "b", "other")
	}
	if lines() != 2 {
		t.Fatalf("%d lines:\n%s", lines(), out.String())
	}
	q.Sweep()
	if lines() != 2 {
		t.Error("swept within the minute")
	}
	now = now.Add(LogEvery)
	q.Say(slog.LevelWarn, "a", "text")
	q.Sweep()
	if lines() != 4 || strings.Count(out.String(), "again=999") != 2 {
		t.Errorf("a minute later:\n%s", out.String())
	}
	now = now.Add(LogEvery)
	q.Sweep()
	if lines() != 4 || len(q.said) != 0 {
		t.Errorf("%d lines, %d kinds when all is quiet", lines(), len(q.said))
	}
	for i := range 10 * MaxKinds {
		q.Say(slog.LevelWarn, fmt.Sprint(i), "text")
	}
	if n := lines() - 4; n > MaxKinds+1 {
		t.Errorf("%d lines of so many kinds", n)
	}
}
