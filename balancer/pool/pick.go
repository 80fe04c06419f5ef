package pool

import (
	"slices"

	"homing/balancer/affinity"
)

// Policy says how a backend is chosen for a fresh handshake.
type Policy uint8

const (
	// RoundRobin takes turns by weight (smooth weighted round robin).
	RoundRobin Policy = iota
	// LeastConn takes the backend with the fewest open conns by unit of weight.
	LeastConn
	// ClientHash takes the backend that the client's hash maps to (Maglev).
	ClientHash
)

func (p Policy) String() string {
	return word(int(p), "round-robin", "least-conn", "client-hash")
}

// MaxSkip is the number of backends a Skip holds.
const MaxSkip = 16

// Skip names backends to pass over: those that failed or refused this offer already. A value, so that it lives on
// the stack.
type Skip struct {
	IDs [MaxSkip]ID
	N   int
}

// Add adds a backend, and says whether there was room. A caller that gets false has tried enough.
func (k *Skip) Add(id ID) bool {
	if k.N == len(k.IDs) {
		return false
	}
	k.IDs[k.N] = id
	k.N++
	return true
}

// Has says whether a backend is to be passed over.
func (k *Skip) Has(id ID) bool {
	return slices.Contains(k.IDs[:min(k.N, len(k.IDs))], id)
}

// One is the backend of that ID, if it can take its own and is not skipped. nil: it cannot, and why.
func (s *Snapshot) One(id ID, skip *Skip) (b *Backend, why Unusable) {
	if b = s.byID[id]; b == nil || skip.Has(id) {
		return nil, UsableDown
	}
	if why = s.Usable(b); why != UsableOK {
		return nil, why
	}
	return b, UsableOK
}

// Home is the backend that is h, or one of the set that h is, if it can take its own and is not skipped. nil: none can,
// and why is what the one says that is nearest to it; UsableDown where there is none.
func (s *Snapshot) Home(h *affinity.Home, skip *Skip) (b *Backend, why Unusable) {
	switch {
	case h.Any:
		b = s.Maglev(h.Hash, *skip)
	case len(h.Set) > 0:
		b = s.homeOfSet(h, skip)
	default:
		return s.One(ID(h.ID), skip)
	}
	if b == nil {
		why = s.whyNone(h, skip)
	}
	return b, why
}

// homeOfSet is one of several homes: of those that are not doubted, while one of them can be used.
func (s *Snapshot) homeOfSet(h *affinity.Home, skip *Skip) *Backend {
	if h.Doubted != 0 {
		trusted := *skip
		for i, id := range h.Set[:min(len(h.Set), 64)] {
			if h.Doubted>>i&1 != 0 && !trusted.Add(ID(id)) {
				break // so many doubts are none
			}
		}
		if b := s.MaglevOf(h.Hash, h.Set, trusted); b != nil {
			return b
		}
	}
	return s.MaglevOf(h.Hash, h.Set, *skip)
}

// whyNone is the reason of that one of several homes which is nearest to taking its own.
func (s *Snapshot) whyNone(h *affinity.Home, skip *Skip) Unusable {
	why := UsableDown
	nearer := func(b *Backend) {
		if u := s.Usable(b); u > UsableDown && (why == UsableDown || u < why) && !skip.Has(b.ID) {
			why = u
		}
	}
	if h.Any {
		for _, b := range s.live {
			nearer(b)
		}
	}
	for _, id := range h.Set {
		nearer(s.byID[ID(id)])
	}
	return why
}

// maxTurns bounds the turns one pick may draw before it looks at each live backend once.
const maxTurns = 64

// Turn is the pool's turn now, which backends of a policy are chosen by. All loops share it: together they follow one
// sequence exactly.
func (s *Snapshot) Turn() uint64 { return s.pool.turn.Load() }

// TakeTurns uses the turns from turn up to next. false: others have used some of them meanwhile, and the choice is to be
// made anew.
func (s *Snapshot) TakeTurns(turn, next uint64) bool {
	return turn == next || s.pool.turn.CompareAndSwap(turn, next)
}

// Fresh is FreshAt the pool's turn, which it takes.
func (s *Snapshot) Fresh(policy Policy, clientHash uint64, skip Skip) *Backend {
	for {
		turn := s.Turn()
		if b, next := s.FreshAt(turn, policy, clientHash, &skip); s.TakeTurns(turn, next) {
			return b
		}
	}
}

// FreshAt picks a backend for a fresh handshake, and says which turn is the next. It passes over backends that are skipped,
// down, being drained or full, and returns nil when none is left. clientHash matters for ClientHash only, and 0 is a client
// of whom nothing is known: its backends are chosen by RoundRobin.
func (s *Snapshot) FreshAt(turn uint64, policy Policy, clientHash uint64, skip *Skip) (b *Backend, next uint64) {
	switch policy {
	case LeastConn:
		return s.leastConn(turn, skip)
	case ClientHash:
		if clientHash != 0 { // else nothing is known of the client, and all like it would meet at one backend
			return s.clientHash(clientHash, *skip), turn
		}
	case RoundRobin:
	}
	return s.roundRobin(turn, skip)
}

// takesFresh says whether a backend can have a fresh handshake. Bounded load is not asked: it protects backends from
// what affinity piles on them, and a policy for fresh handshakes spreads by itself.
func takesFresh(b *Backend, skip *Skip) bool { return b.live() && !b.full() && !skip.Has(b.ID) }

// roundRobin goes through the sequence. A turn that falls on a backend that cannot take it is lost, so that its successor
// in the sequence is not favoured.
func (s *Snapshot) roundRobin(turn uint64, skip *Skip) (b *Backend, next uint64) {
	if len(s.live) == 0 {
		return nil, turn
	}
	for range maxTurns {
		b := s.live[s.seq[turn%uint64(len(s.seq))]]
		turn++
		if takesFresh(b, skip) {
			return b, turn
		}
	}
	for i := range s.live {
		if b := s.live[(turn+uint64(i))%uint64(len(s.live))]; takesFresh(b, skip) {
			return b, turn
		}
	}
	return nil, turn
}

// leastConn compares what each backend would have with this conn, (open + 1) / weight. Equal ones take turns.
func (s *Snapshot) leastConn(turn uint64, skip *Skip) (best *Backend, next uint64) {
	if len(s.live) == 0 {
		return nil, turn
	}
	var bestOpen, bestWeight int64
	for i := range s.live {
		b := s.live[(turn+uint64(i))%uint64(len(s.live))]
		if !takesFresh(b, skip) {
			continue
		}
		open, weight := b.open.Load()+1, b.freshWeight()
		if best == nil || open*bestWeight < bestOpen*weight {
			best, bestOpen, bestWeight = b, open, weight
		}
	}
	return best, turn + 1
}
