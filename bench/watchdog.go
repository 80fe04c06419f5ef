package bench

import (
	"fmt"
	"time"
)

const (
	// hopeless is how long nothing may get through while conns fail, before the run ends.
	hopeless = 5 * time.Second
	// hopelessFailures is how many must have failed meanwhile: a slow client or two prove nothing.
	hopelessFailures = 20
)

// watchdog ends runs that lead to nothing.
type watchdog struct {
	done   int64 // conns that had got through when that last changed
	failed int64 // and those that had failed
	since  time.Duration
}

// look returns why the run should end, empty if it should not.
func (w *watchdog) look(r *run, p *Progress) string {
	for _, l := range r.loops {
		switch f := l.stats.newest.Load(); {
		case f == nil:
		case f.class == NoDescriptors:
			return "no more descriptors: this process may not open so many conns: raise ulimit -n, or take fewer clients"
		case f.class == NoPorts:
			return "no more ports: the kernel has none free for a client's address (" + f.err.Error() +
				"): widen net.ipv4.ip_local_port_range, or take a lower rate or more source addresses"
		}
	}
	through := p.Done + p.Held
	if w.since == 0 || through != w.done || p.Failed == w.failed {
		*w = watchdog{done: through, failed: p.Failed, since: p.Elapsed}
		return ""
	}
	if r.plan.Scenario == Churn || r.plan.Scenario == Failover || p.Elapsed-w.since < hopeless || p.Failed-w.failed < hopelessFailures {
		return ""
	}
	return fmt.Sprintf("nothing got through for %v, the newest of %d failures: %v", hopeless, p.Failed, p.Newest)
}
