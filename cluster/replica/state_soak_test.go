//go:build soak

package replica

import (
	"testing"
	"time"

	"homing/balancer/affinity"
)

// TestSoakState: what a million entries cost to write, to write behind, and to load.
func TestSoakState(t *testing.T) {
	dir := t.TempDir()
	node := func(seed affinity.Seed) *testNode {
		return startNode(t, "a", func(_ *Config, c *affinity.Config) {
			c.TableEntries, c.Seed, c.SeedMade = 1_200_000, seed.Value, seed.Made
		})
	}
	a := node(affinity.Seed{Value: 7, Made: 1})
	a.learn(0, 1_000_000)
	s, _ := openState(t, dir)
	took := s.write(a.store)
	t.Logf("1,000,000 entries written in %v, %d bytes, with fsync", took, s.Stats().Bytes)
	again, _ := openState(t, dir)
	b := node(again.Seed())
	began := time.Now()
	n := again.Load(t.Context(), b.store)
	t.Logf("%d loaded in %v, %d routed home", n, time.Since(began), b.knows(0, 1_000_000))
	if n < 999_000 {
		t.Error("entries are lost")
	}
}
