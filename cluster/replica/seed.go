package replica

import (
	"context"
	"fmt"
	"log/slog"

	"homing/balancer/affinity"
)

// yields reports whether the node with the first standing and seed takes the other's. Exactly one of two nodes does. A
// joining node takes the cluster's, one without facts that of one with facts, and among equals the older seed stays, by
// one clock.
func yields(ours, theirs standing, own, other affinity.Seed) bool {
	if ours != theirs {
		return ours < theirs
	}
	return other.Older(own)
}

func (r *Replicator) standing() standing {
	switch {
	case r.member.Load():
		return standingMember
	case r.store.Changes() > 0:
		return standingAlone
	default:
		return standingEmpty
	}
}

// adopt takes the cluster's seed in place of own. What this node knows it can find no more.
func (r *Replicator) adopt(ctx context.Context, own, seed affinity.Seed, from string) error {
	r.reseed.Lock()
	defer r.reseed.Unlock()
	if r.store.Seed() != own {
		return errEnded // another peer's was taken meanwhile
	}
	had := r.standing()
	if err := r.store.Reseed(ctx, seed); err != nil {
		return fmt.Errorf("take the seed of the cluster: %w", err)
	}
	r.newInstance()
	r.member.Store(false)
	for _, s := range *r.streaming.Load() {
		s.hangUp() // its keys are of the old seed
	}
	switch had {
	case standingEmpty:
		r.log.Info("seed of the cluster taken", slog.String("from", from))
	case standingAlone: // what joining a cluster costs a node that was alone
		r.log.Info("seed of the cluster taken, what this node had learned alone is set aside",
			slog.String("from", from))
	case standingMember:
		r.log.Warn("two clusters have met: the seed of the other is taken, and the table of this one set aside",
			slog.String("from", from))
	}
	return errEnded
}
