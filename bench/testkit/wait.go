package testkit

import (
	"testing"
	"time"
)

const (
	// Patience is how long a test waits for what comes at once on a machine that has time. It bounds what hangs; what homing
	// promises of time has bounds of its own.
	Patience = time.Minute
	// pollEvery is the pause between two looks at a condition that nothing announces.
	pollEvery = 5 * time.Millisecond
)

// Eventually waits until a condition holds, and says how long that took. After Patience it ends the test, by the name of
// what was waited for.
func Eventually(tb testing.TB, what string, cond func() bool) time.Duration {
	tb.Helper()
	return Within(tb, Patience, what, cond)
}

// Within is Eventually with a limit of its own.
func Within(tb testing.TB, limit time.Duration, what string, cond func() bool) time.Duration {
	tb.Helper()
	start := time.Now()
	if !Wait(limit, cond) {
		tb.Fatalf("not within %v: %s", limit, what)
	}
	return time.Since(start)
}

// Wait waits until a condition holds, or the limit is over, and says whether it held.
func Wait(limit time.Duration, cond func() bool) bool {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > limit {
			return false
		}
	}
	return true
}

// Check ends a test on an error.
func Check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
