package task

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// It looks at once and then on whole seconds: one look for each, although a look takes its time.
func TestEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var at []time.Duration
		EverySecond(ctx, func(now time.Time) {
			at = append(at, now.Sub(begun))
			time.Sleep(200 * time.Millisecond)
		})
		const ms = time.Millisecond
		if diff := cmp.Diff([]time.Duration{0, 700 * ms, 1700 * ms, 2700 * ms, 3700 * ms, 4700 * ms}, at); diff != "" {
			t.Error(diff)
		}
	})
}
