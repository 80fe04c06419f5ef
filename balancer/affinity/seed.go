package affinity

import "context"

// Seed is the seed of all keys and when it was made. Nodes that meet with different seeds keep the older one.
type Seed struct {
	Value uint64
	Made  uint32 // Unix seconds, by the clock of the node that made it
}

// Older reports whether a is to be kept where a and b meet. It is a total order, so that any number of nodes end with
// the same seed in whatever order they meet.
func (a Seed) Older(b Seed) bool {
	if a.Made != b.Made {
		return a.Made < b.Made
	}
	return a.Value < b.Value
}

// Seed is the seed that the store's keys are made with.
func (s *Store) Seed() Seed { return *s.seed.Load() }

type reseed struct {
	seed Seed
	done chan struct{} // closed by Run
}

// Reseed empties the store and goes on with another seed: what was known under the old one cannot be found any more.
// The loops may go on meanwhile: a key that one of them made a moment ago is one that nobody asks for again. Run must
// be running; Reseed returns when it has done the work or ctx is done.
func (s *Store) Reseed(ctx context.Context, seed Seed) error {
	r := reseed{seed: seed, done: make(chan struct{})}
	select {
	case s.reseeds <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-r.done
	return nil
}

// reseed is Reseed's part of the owner.
func (s *Store) reseed(seed Seed) {
	for _, t := range s.tables() {
		t.header.forget() // a process that dies now leaves no table that another would trust
	}
	// First, so that nothing that is learned under the new seed is lost. What is still written under the old one nobody
	// finds.
	for _, t := range s.tables() {
		t.clear()
	}
	s.seed.Store(&seed)
	for range len(s.ring) {
		e := <-s.ring
		e.pool.waiting.Add(-1)
	}
	for range len(s.merges) {
		if m := <-s.merges; m.seen != nil {
			close(m.seen)
		}
	}
	for _, p := range s.allPools() {
		// A pool made after this loop reads the new seed.
		p.hasher.Store(newHasher(seed.Value, p.hash))
		p.untold = nil
		clear(p.keys)
		clear(p.rooms)
		clear(p.gone)
		p.publish()
	}
	for _, t := range s.tables() {
		t.header.write(seed, t.buckets)
	}
}
