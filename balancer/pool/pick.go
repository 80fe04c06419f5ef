package pool

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
	for i := range min(k.N, len(k.IDs)) {
		if k.IDs[i] == id {
			return true
		}
	}
	return false
}

// maxTurns bounds the turns one pick may draw before it looks at each live backend once.
const maxTurns = 64

// Fresh picks a backend for a fresh handshake. It passes over backends that are skipped, down, being drained or full,
// and returns nil when none is left. clientHash matters for ClientHash only, and 0 is a client of
// whom nothing is known: its backends are chosen by RoundRobin.
func (s *Snapshot) Fresh(policy Policy, clientHash uint64, skip Skip) *Backend {
	switch policy {
	case LeastConn:
		return s.leastConn(&skip)
	case ClientHash:
		if clientHash != 0 { // else nothing is known of the client, and all like it would meet at one backend
			return s.clientHash(clientHash, skip)
		}
	case RoundRobin:
	}
	return s.roundRobin(&skip)
}

// takesFresh says whether a backend can have a fresh handshake. Bounded load is not asked: it protects backends from
// what affinity piles on them, and a policy for fresh handshakes spreads by itself.
func takesFresh(b *Backend, skip *Skip) bool { return b.live() && !b.full() && !skip.Has(b.ID) }

// roundRobin draws turns from the pool's counter, which all loops share: together they follow one sequence exactly. A
// turn that falls on a backend that cannot take it is lost, so that its successor in the sequence is not favoured.
func (s *Snapshot) roundRobin(skip *Skip) *Backend {
	if len(s.live) == 0 {
		return nil
	}
	var turn uint64
	for range maxTurns {
		turn = s.pool.turn.Add(1) - 1
		if b := s.live[s.seq[turn%uint64(len(s.seq))]]; takesFresh(b, skip) {
			return b
		}
	}
	for i := range s.live {
		if b := s.live[(turn+uint64(i))%uint64(len(s.live))]; takesFresh(b, skip) {
			return b
		}
	}
	return nil
}

// leastConn compares what each backend would have with this conn, (open + 1) / weight. Equal ones take turns.
func (s *Snapshot) leastConn(skip *Skip) *Backend {
	if len(s.live) == 0 {
		return nil
	}
	turn := s.pool.turn.Add(1) - 1
	var best *Backend
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
	return best
}
