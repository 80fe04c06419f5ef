package affinity

import (
	"slices"
	"sync/atomic"
)

const (
	// roomTickets is how many tickets of a backend wait for a second one with the same prefix.
	roomTickets = 64

	// After quietAfter tickets without repetition a backend looks nameless (Go 1.21 and newer, Erlang): from then on
	// only one ticket in lookEvery is looked at, never none, for it may be replaced by one that names its keys.
	quietAfter = 64
	lookEvery  = 64

	// Four equal bytes are weak evidence: they count only among this many of a backend's tickets, one after another,
	// and must be seen again within trial.
	fourAmong = 4
	fourTrial = 16
)

// room is the waiting room of one backend: the tickets whose key name, if they have one, is not confirmed yet.
type room struct {
	// Atomic: added up by the loops, read by them.
	seen atomic.Uint32
	// Atomic: written by the owner, read by the loops.
	quiet atomic.Uint32 // tickets since one repeated a prefix

	// Owned by Store.Run.
	tickets [roomTickets]waiting
	n       int     // tickets ever added; the next goes to n % roomTickets
	last    uint32  // time of the last evidence
	trials  []trial // 4-byte names that have to prove themselves
}

// waiting is what is kept of a ticket in a room.
type waiting struct {
	exact  Key
	prefix [NumLengths]Key
}

// trial is a 4-byte name of a backend on probation.
type trial struct {
	key    Key
	misses int
}

// look reports whether the next ticket deserves the owner's time. rare says that it is already routed well enough.
func (r *room) look(rare bool) bool {
	n := r.seen.Add(1)
	return !rare && r.quiet.Load() < quietAfter || n%lookEvery == 0
}

// add looks at one ticket of the backend and keeps it. It returns the longest prefix, as an index, that the ticket
// shares with a different one in the room; -1 for none. The longest alone is what the pair proves: had a shorter one
// been the name, the rest would be random. (One pair in 256 agrees in a byte more; its key serves its own tickets well
// and the next pair proves the shorter one.)
func (r *room) add(t *Ident) int {
	best := NumLengths
	for back := 1; back <= min(r.n, roomTickets); back++ {
		w := &r.tickets[(r.n-back)%roomTickets]
		if w.exact == t.Exact {
			return -1 // the same ticket again proves nothing
		}
		for i := range best {
			if i == len4 && back >= fourAmong {
				continue
			}
			if t.Prefix[i] != 0 && t.Prefix[i] == w.prefix[i] {
				best = i
				break
			}
		}
	}
	r.tickets[r.n%roomTickets] = waiting{exact: t.Exact, prefix: t.Prefix}
	r.n++
	if best == NumLengths {
		r.quiet.Add(1)
		return -1
	}
	r.quiet.Store(0)
	return best
}

// holds reports whether a ticket with this prefix waits here.
func (r *room) holds(length int, k Key) bool {
	here := func(w waiting) bool { return w.prefix[length] == k }
	return slices.ContainsFunc(r.tickets[:min(r.n, roomTickets)], here)
}

// try advances the trials by one ticket. stands is called for a name that the ticket shows again, falls for one that
// was not among the last fourTrial.
func (r *room) try(t *Ident, stands, falls func(Key)) {
	kept := r.trials[:0]
	for _, x := range r.trials {
		switch {
		case x.key == t.Prefix[len4]:
			stands(x.key)
		case x.misses+1 >= fourTrial:
			falls(x.key)
		default:
			kept = append(kept, trial{x.key, x.misses + 1})
		}
	}
	r.trials = kept
}
