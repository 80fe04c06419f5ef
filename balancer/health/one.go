package health

import (
	"context"
	"log/slog"
	"math/rand/v2"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// WatchOne checks one server that is in no pool, from now on, until ctx is done, and tells of each change. It begins as
// down, and the first success brings it up; from then on Rise and Fall count. While it is down it is told why: once Fall
// checks in a row have failed for one reason that has not been told last. told may wait; no check is made meanwhile. No
// agent is asked.
func (c *Checker) WatchOne(ctx context.Context, addr netaddr.Addr, told func(up bool, why string)) {
	up := false
	count := tally{rise: 1, fall: c.cfg.Fall}
	reason := reasons{need: c.cfg.Fall}
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
				reason.told(err)
			} else if !up && reason.fresh(err) {
				told(up, count.why(err))
			}
		}
		if !wait(ctx, spread(c.cfg.Interval, rand.Float64())) {
			return
		}
	}
}

// reasons tells a reason that has come to stay from those that change with each check.
type reasons struct {
	need int    // constant: as many in a row have come to stay
	said string // the last that was told; "": none
	last string // of the last check
	row  int    // how often in a row
}

// told notes that the result of a check was told.
func (r *reasons) told(err error) {
	r.said, r.last, r.row = "", "", 0
	if err != nil {
		r.said = cause(err)
	}
}

// fresh takes the result of a check, and says that its reason is to be told now.
func (r *reasons) fresh(err error) bool {
	if err == nil {
		r.last, r.row = "", 0
		return false
	}
	if why := cause(err); why != r.last {
		r.last, r.row = why, 0
	}
	r.row++
	if r.row < r.need || r.last == r.said {
		return false
	}
	r.said = r.last
	return true
}
