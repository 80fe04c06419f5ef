package health

import (
	"context"
	"log/slog"
	"math/rand/v2"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// WatchOne checks one server that is in no pool, from now on, until ctx is done, and tells of each change. It begins as
// down, and the first success brings it up; from then on Rise and Fall count. told may wait; no check is made meanwhile.
// No agent is asked.
func (c *Checker) WatchOne(ctx context.Context, addr netaddr.Addr, told func(up bool, why string)) {
	up := false
	count := tally{rise: 1, fall: c.cfg.Fall}
	for {
		err := c.once(ctx, addr, pool.ProxyOff)
		if ctx.Err() != nil {
			return // and say nothing: the check was cut short
		}
		switch {
		case shortage(err):
			if c.short.CompareAndSwap(false, true) {
				c.cfg.Log.Warn("checks cannot be made, what was known stands", slog.String("why", cause(err)))
			}
		default:
			c.short.Store(false)
			if count.add(up, err == nil) {
				up = !up
				told(up, count.why(err))
				count.rise = c.cfg.Rise
			}
		}
		if !wait(ctx, spread(c.cfg.Interval, rand.Float64())) {
			return
		}
	}
}
