package cluster

import (
	"log/slog"
	"slices"
	"time"

	"homing/balancer/pool"
)

// takeStanding takes what is news here. A backend that this node does not have yet is drained when it has: see
// followStanding.
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
		m.log.Info("cluster: a drain is followed that was ordered while this node was away",
			slog.String("backend", o.Backend.String()), slog.String("mode", plan.Mode.String()))
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
				m.log.Debug("cluster: a node is not told what was ordered before", slog.String("member", to.Name),
					slog.Any("error", err))
				return
			}
		}
	}()
}

// answerStanding gives the node that asks what was ordered before.
func (m *Membership) answerStanding(asker string) {
	members := m.Members()
	i := slices.IndexFunc(members,
		func(one Member) bool { return one.ID == asker && one.Alive && one.Meta.Role == RoleNode })
	if i >= 0 { // else it is yet to be met, and told then
		m.tellStanding(&members[i], false)
	}
}
