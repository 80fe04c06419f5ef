package health

import (
	"fmt"
	"testing"
	"time"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

// TestPause: a small pool's checks are made at one time, a large one's are spread; none is made much sooner or later than
// the interval says.
func TestPause(t *testing.T) {
	const interval = 2 * time.Second
	for _, n := range []int{1, 3, together, together + 1, 100} {
		var specs []pool.Spec
		for i := range n {
			specs = append(specs, pool.Spec{Addr: fmt.Sprintf("127.0.0.1:%d", 1000+i)})
		}
		p, err := pool.New("web", specs, pool.Options{})
		testkit.Check(t, err)
		c, err := New(p, Config{Interval: interval})
		testkit.Check(t, err)
		now := time.Now()
		next := map[time.Time]bool{}
		for i := range n {
			ended := now.Add(time.Duration(i) * time.Millisecond)
			next[ended.Add(c.pause(ended))] = true
		}
		if n <= together && len(next) != 1 {
			t.Errorf("%d backends are checked at %d times", n, len(next))
		}
		if n > together && len(next) < n {
			t.Errorf("%d backends are checked at %d times only", n, len(next))
		}
		for i := range 100 {
			ended := now.Add(time.Duration(i) * interval / 30)
			if d := c.pause(ended); d < interval/2 || d > interval+interval/5 {
				t.Errorf("a check follows after %v", d)
			}
		}
	}
}
