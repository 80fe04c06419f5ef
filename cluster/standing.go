package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"homing/balancer/pool"
)

// A drain is a state that outlasts its command: two nodes that meet give one another what was ordered before, sealed as
// a command (opStanding). One that starts again at once meets those that have not missed it, so who meets asks, too. Of
// two orders about one backend the later counts, by the clock of the node that was asked for it; so an old drain does
// not come back over the undrain that ended it.
const (
	// orderKept is for how long an order is remembered: longer than any ticket lives, and than who ordered it thinks of
	// it.
	orderKept = 30 * 24 * time.Hour

	// maxOrders bounds the orders, the oldest give way.
	maxOrders = 256

	// ordersEvery is how often backends are looked for that an order is waiting for; discovery has it looked at once.
	ordersEvery = time.Second
)

// target is what an order is about.
type target struct {
	pool    uint32 // 0: all that have one of the address
	backend netip.AddrPort
}

func (o *standingOrder) target() target { return target{o.Pool, o.Backend} }

// plan is what is left of it at now.
func (o *standingOrder) plan(now time.Time) pool.DrainPlan {
	left := o.End.Sub(now)
	switch {
	case o.End.IsZero() || o.Mode == pool.DrainOff:
		return pool.DrainPlan{Mode: o.Mode}
	case left <= 0:
		return pool.DrainPlan{Mode: pool.DrainHard} // as pool.Drain has it
	}
	return pool.DrainPlan{Mode: o.Mode, For: min(left, pool.MaxDrain)}
}

// standing is what was ordered of late.
type standing map[target]*standingOrder

// take notes an order that somebody has passed on, if it is later than what is known of its target.
func (r standing) take(one standingOrder, now time.Time) {
	if now.Sub(one.At) > orderKept || one.At.Sub(now) > commandAge {
		return
	}
	old := r.of(one.Pool, one.Backend)
	if old == nil || one.At.After(old.At) {
		one.Done = one.Mode == pool.DrainOff && old == nil // there is nothing that it ends
		r.keep(one)
	}
	maps.DeleteFunc(r, func(_ target, o *standingOrder) bool { return now.Sub(o.At) > orderKept })
}

// of is the last order about a pool's backend: one for all pools is about that too.
func (r standing) of(hash uint32, backend netip.AddrPort) *standingOrder {
	own, all := r[target{hash, backend}], r[target{0, backend}]
	if own == nil || all != nil && all.At.After(own.At) {
		return all
	}
	return own
}

// keep notes an order that has been followed here, or is to be.
func (r standing) keep(one standingOrder) {
	if one.Pool == 0 { // it is about those that others are about, too
		maps.DeleteFunc(r, func(about target, o *standingOrder) bool {
			return about.backend == one.Backend && !o.At.After(one.At)
		})
	}
	r[one.target()] = &one
	if len(r) > maxOrders {
		oldest := r.sorted()[0]
		delete(r, oldest.target())
	}
}

// sorted is the orders as they were given.
func (r standing) sorted() []standingOrder {
	var all []standingOrder
	for _, o := range r {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b standingOrder) int {
		return cmp.Or(a.At.Compare(b.At), a.Backend.Compare(b.Backend), cmp.Compare(a.Pool, b.Pool))
	})
	return all
}
