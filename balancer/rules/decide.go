// Package rules decides which backend a conn goes to: the rules of DESIGN.md section 3.3, in one place. The loop asks for
// every try, the queue for what a conn waits for, and the admin look-up for an operator: all get the same answer.
//
//	what is offered, and known of it (affinity.Home) ─┐
//	the pool's snapshot, and its turn ────────────────┼─Decide─► backend, rule, why not home ─Wish─► the pool's queue
//	tried already, claims, the time, chance ──────────┘
//
// Decide changes nothing. Who acts on a decision tells what came of it: Decision.Take that the turn is used, Claims.Made
// that a conn goes to a backend which is being drained.
package rules

import (
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// Question is what a decision depends on, beside what is known of the pool's sessions and the pool itself. Its pointers are
// its owner's.
type Question struct {
	Offer  *affinity.Offer
	Home   *affinity.Home // of the offer, by affinity.Pool.Find or Look
	Client uint64         // hash of the client, for the pool's policy; 0: nothing is known of it
	Tried  *pool.Skip     // backends that were tried already
	Late   bool           // of those tried one has not answered in time: it may have room again
	Claims *Claims
	Now    uint32 // Unix seconds, by the store's clock
	Chance uint64 // a random number, see Guesses
}

// Guesses says that chance may decide: where every live backend has refused the like of the offer.
func (q *Question) Guesses() bool { return q.Offer.N > 0 && !q.Home.Known() }

// Decision is where a conn goes.
type Decision struct {
	Backend *pool.Backend   // nil: none is left, or all are full
	Rule    affinity.Source // that gave it
	Why     pool.Unusable   // why the home cannot be used; UsableOK where it can, or none is known
	Anew    bool            // Question.Tried does not count any more

	turn, next uint64
}

// Take says that the decision is acted on. false: other loops have chosen by the pool's policy meanwhile, and it is to be
// made anew.
func (d *Decision) Take(s *pool.Snapshot) bool { return s.TakeTurns(d.turn, d.next) }

// Claims says that the backend is being drained, and is to have the conn for the sake of what it offers.
func (d *Decision) Claims() bool {
	return d.Backend != nil && d.Rule != affinity.SourceFresh && !d.Backend.InService()
}

// Decide picks the backend by the rules.
func Decide(q *Question, known *affinity.Pool, s *pool.Snapshot) (d Decision) {
	if q.home(&d, s) {
		return d
	}
	q.guess(&d, known, s)
	if d.Backend == nil && q.Late { // it waits at whoever has room next, for as long as connects may take
		again := *q
		again.Tried, again.Late = new(pool.Skip), false
		d = Decide(&again, known, s)
		d.Anew = true
	}
	return d
}

// guess is the rules by which somebody else than the home may have the conn, from d.Rule on.
func (q *Question) guess(d *Decision, known *affinity.Pool, s *pool.Snapshot) {
	if d.Rule == affinity.SourceExplore {
		if d.Backend = q.explore(known, s); d.Backend != nil {
			return
		}
		d.Rule = affinity.SourceFresh
		// Every live backend has refused its like, which may have been junk under the name of a key of one of them. By
		// chance, not by turns: whoever sends junk could have the turn always come to the wrong one, and the name never be
		// learned.
		if d.Backend = s.Maglev(q.Chance, *q.Tried); d.Backend != nil {
			return
		}
	}
	d.turn = s.Turn()
	if d.Backend, d.next = s.FreshAt(d.turn, s.Options().Policy, q.Client, q.Tried); d.Backend != nil {
		return
	}
	// Every backend is down, full or tried: the one marked last may be back.
	if b := s.LastDown(); b != nil && !q.Tried.Has(b.ID) {
		d.Backend = b
	}
}

// home is rules 1 to 3: the backend, or one of the set, that is known to be able to accept the offer, or the client's.
// false: there is none, and d.Rule is the rule that comes next.
func (q *Question) home(d *Decision, s *pool.Snapshot) bool {
	if d.Rule = q.Home.Source; q.Home.ID == 0 && !q.Home.Known() {
		return false
	}
	d.Backend, d.Why = s.Home(q.Home, q.Tried)
	if d.Backend != nil && !q.MayClaim(d.Backend) {
		d.Backend, d.Why = nil, pool.UsableHardDrained // it is, for this client
	}
	// A session ID that nobody knows may be none: it is a guess too many for a backend that is to get no fresh handshakes.
	if d.Rule == affinity.SourceClient && q.Offer.N == 0 && d.Backend != nil && !d.Backend.InService() {
		d.Backend = nil
	}
	if d.Backend != nil {
		return true
	}
	if d.Rule = affinity.SourceFresh; q.Home.Known() {
		return false // nobody else can accept it
	}
	d.Why = pool.UsableOK
	if q.Offer.N > 0 {
		d.Rule = affinity.SourceExplore // it may still be somebody else's
	}
	return false
}

// MayClaim says whether the conn may go to b for the sake of what it offers.
func (q *Question) MayClaim(b *pool.Backend) bool { return q.Claims.May(q.Offer.Network, b, q.Now) }

// explore is rule 4: a backend that may have issued the unknown identifier, the same on every node, passing over those that
// have refused its kind.
func (q *Question) explore(known *affinity.Pool, s *pool.Snapshot) *pool.Backend {
	if b, _ := s.One(pool.ID(known.Hint(q.Offer, q.Now)), q.Tried); b != nil && q.MayClaim(b) {
		return b
	}
	skip := *q.Tried
	for {
		b := s.Maglev(known.Explore(q.Offer), skip)
		switch {
		case b == nil: // all have refused it, or none is live
			return nil
		case !known.WasRefused(q.Offer, uint32(b.ID), q.Now):
			return b
		case !skip.Add(b.ID): // enough looked at: one more refusal costs less than a longer walk
			return b
		}
	}
}

// Second decides on a second chance: who else may have issued what is offered, whether it has refused the like or not.
func (q *Question) Second(known *affinity.Pool, s *pool.Snapshot) Decision {
	return Decision{Backend: s.Maglev(known.Explore(q.Offer), *q.Tried), Rule: affinity.SourceExplore}
}

// Wish is what the conn waits for that cannot have d's backend now, or that has none: its homes, but for those that it may
// not claim, then that backend, then any.
func (q *Question) Wish(d *Decision, s *pool.Snapshot) pool.Wish {
	w := pool.Wish{Client: q.Client, Skip: *q.Tried}
	if q.Home.Known() {
		w.Home = *q.Home
	}
	if d.Backend != nil {
		w.Given = d.Backend.ID
	}
	mayWait := func(id pool.ID) bool {
		b := s.ByID(id)
		return b == nil || q.MayClaim(b) || w.Skip.Add(id)
	}
	may := mayWait(pool.ID(w.Home.ID))
	for _, id := range w.Home.Set {
		may = may && mayWait(pool.ID(id))
	}
	if !may { // too many to name
		w.Home = affinity.Home{}
	}
	return w
}

// Placed is what becomes of d for a conn that has waited, and was given a place at b: at home, at the backend that it would
// have had, or elsewhere.
func (q *Question) Placed(d Decision, b *pool.Backend) Decision {
	switch {
	case b == d.Backend:
	case q.Home.Known() && q.Home.Has(uint32(b.ID)):
		d.Rule, d.Why = q.Home.Source, pool.UsableOK
	default:
		if d.Rule = affinity.SourceFresh; d.Why == pool.UsableOK && q.Home.Known() {
			d.Why = pool.UsableFull
		}
	}
	d.Backend = b
	return d
}
