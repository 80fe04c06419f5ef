package cluster

import (
	"cmp"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"homing/balancer/pool"
)

// A drain is a state that outlasts its command: two nodes that meet give one another what was ordered before, sealed as a
// command (opStanding). One that starts again at once meets those that have not missed it, so who meets asks, too. Of two
// orders about one backend the later counts, by the clock of the node that was asked for it; so an old drain does not come
// back over the undrain that ended it.
const (
	// orderKept is for how long an order is remembered: longer than any ticket lives, and than who ordered it thinks of it.
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

// takeStanding takes what is news here. A backend that this node does not have yet is drained when it has: see followStanding.
func (m *Membership) takeStanding(o *Order) {
	now := time.Now()
	for _, one := range o.standing {
		m.standing.take(one, now)
	}
	m.followStanding(now)
}

// followStanding does what was ordered of backends that are here by now. m.applying is held.
func (m *Membership) followStanding(now time.Time) {
	followed := false
	for _, o := range m.standing {
		if o.Done {
			continue
		}
		plan := o.plan(now)
		about := &Order{Pool: o.Pool, Backend: o.Backend}
		if err := m.eachBackend(about, func(p *pool.Pool, b *pool.Backend) error {
			if m.standing.of(p.Hash(), o.Backend) != o {
				return nil // another order is about this pool alone, and later
			}
			return p.Drain(b, plan)
		}); err != nil {
			continue // it is not here, or leaves just now
		}
		o.Done, followed = true, true
		m.log.Info("cluster: a drain is followed that was ordered while this node was away", slog.String("backend", o.Backend.String()), slog.String("mode", plan.Mode.String()))
	}
	if followed {
		m.cfg.Settle()
	}
}

// FollowOrders does what was ordered of backends that have come since. It may wait for a moment.
func (m *Membership) FollowOrders() {
	m.applying.Lock()
	defer m.applying.Unlock()
	m.followStanding(time.Now())
}

// tellStanding gives a node what was ordered before, and may ask for what it knows. It returns at once.
func (m *Membership) tellStanding(node *Member, ask bool) {
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 || !node.Meta.Standing {
		return
	}
	to := reach(node)
	go func() { // ends within streamTimeout for each of the few batches
		m.applying.Lock()
		batches := slices.Collect(slices.Chunk(m.standing.sorted(), maxBatch))
		m.applying.Unlock()
		if ask && len(batches) == 0 {
			batches = append(batches, nil)
		}
		for i, batch := range batches {
			sealed, err := (&Order{Op: opStanding, asks: ask && i == 0, standing: batch}).Seal(nodeKeys[0], time.Now())
			if err == nil {
				err = m.list.SendReliable(to, m.commandMessage(sealed))
			}
			if err != nil {
				m.log.Debug("cluster: a node is not told what was ordered before", slog.String("member", to.Name), slog.Any("error", err))
				return
			}
		}
	}()
}

// answerStanding gives the node that asks what was ordered before.
func (m *Membership) answerStanding(asker string) {
	members := m.Members()
	i := slices.IndexFunc(members, func(one Member) bool { return one.ID == asker && one.Alive && one.Meta.Role == RoleNode })
	if i >= 0 { // else it is yet to be met, and told then
		m.tellStanding(&members[i], false)
	}
}
