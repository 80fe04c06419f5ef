package rules

import (
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// several is a script's pool with a bit of everything known: session s of B, key K of A and B, of which D has been drained, key L of
// C alone, one ticket of M, a client x at home at C, and refusals of N everywhere.
func several(t testing.TB) *script {
	s := &script{TB: t, out: io.Discard}
	for line := range strings.Lines(`pool ABCD
issue B s
issue A K.1-2
issue B K.3-4
issue D K.5-6
issue C L.1-2
issue A M.1
accept A U.1
accept B U.1
complete C client=x
refuse A N.1
refuse B N.1
refuse C N.1
refuse D N.1
drain D
claim D K.1-3
`) {
		s.command(strings.Fields(line))
	}
	return s
}

// offers is one for each way through the rules.
var offers = map[string]struct {
	names []string
	opts  map[string]string
	down  string // backends
	rule  affinity.Source
}{
	"session":           {names: []string{"s"}, rule: affinity.SourceSession},
	"good for any":      {names: []string{"U.1"}, rule: affinity.SourceSession},
	"ticket key":        {names: []string{"L.9"}, rule: affinity.SourceTicketKey},
	"several homes":     {names: []string{"K.9"}, rule: affinity.SourceTicketKey},
	"a drained home":    {names: []string{"K.9"}, down: "AB", rule: affinity.SourceTicketKey},
	"client":            {names: []string{"X.1"}, opts: map[string]string{"client": "x"}, rule: affinity.SourceClient},
	"hint":              {names: []string{"M.9"}, rule: affinity.SourceExplore},
	"explore":           {names: []string{"X.1"}, rule: affinity.SourceExplore},
	"refused by all":    {names: []string{"N.9"}, rule: affinity.SourceFresh},
	"fresh":             {rule: affinity.SourceFresh},
	"home down":         {names: []string{"s"}, down: "B", rule: affinity.SourceFresh},
	"tried in vain":     {opts: map[string]string{"tried": "ABCD", "late": "late"}, rule: affinity.SourceFresh},
	"nobody is left up": {names: []string{"s"}, down: "ABCD", rule: affinity.SourceFresh},
}

// TestAllocations: no way through the rules, nor what a conn waits for, costs a heap object.
func TestAllocations(t *testing.T) {
	for name, offer := range offers {
		s := several(t)
		for _, b := range offer.down {
			s.pool.SetUp(s.backend(string(b)), false, "test")
		}
		opts := map[string]string{}
		maps.Copy(opts, offer.opts)
		q, snapshot := s.question(offer.names, opts), s.pool.Snapshot()
		if d := Decide(q, s.known, snapshot); d.Backend == nil || d.Rule != offer.rule {
			t.Errorf("%s: %s", name, s.describe(&d))
		}
		var w pool.Wish
		if n := testing.AllocsPerRun(100, func() {
			*q.Home = s.known.Find(q.Offer, q.Now)
			d := Decide(q, s.known, snapshot)
			w = q.Wish(&d, snapshot)
			d = q.Placed(d, d.Backend)
			q.Second(s.known, snapshot)
		}); n != 0 {
			t.Errorf("%s: %v heap objects for %+v", name, n, w)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, name := range []string{"ticket key", "several homes", "explore", "fresh"} {
		b.Run(name, func(b *testing.B) {
			s := several(b)
			q, snapshot := s.question(offers[name].names, map[string]string{}), s.pool.Snapshot()
			b.ReportAllocs()
			for b.Loop() {
				if d := Decide(q, s.known, snapshot); !d.Take(snapshot) {
					b.Fatal("the turn is taken")
				}
			}
		})
	}
}

// TestDecide: in states as they come, a decision changes nothing; its backend has not been tried, is drained hard never, and takes
// no less than its rule asks of it; and whoever waits by its wish is given, of all backends that have room then, its home.
func TestDecide(t *testing.T) {
	const rounds = 1000
	s := several(t)
	rng := rand.New(rand.NewPCG(3, 4))
	names := slices.Sorted(maps.Keys(offers))
	homeAfterAll := 0
	for range rounds {
		for _, b := range s.pool.Snapshot().All() {
			s.pool.SetUp(b, rng.IntN(5) > 0, "test")
			s.pool.SetDraining(b, []pool.Drain{4: pool.DrainSoft, 5: pool.DrainHard}[rng.IntN(6)])
		}
		offer := offers[names[rng.IntN(len(names))]]
		opts := map[string]string{}
		maps.Copy(opts, offer.opts)
		if rng.IntN(3) == 0 {
			opts["tried"] = string("ABCD"[rng.IntN(4)])
		}
		q, snapshot := s.question(offer.names, opts), s.pool.Snapshot()
		turn := snapshot.Turn()
		d := Decide(q, s.known, snapshot)
		if again := Decide(q, s.known, snapshot); again != d || snapshot.Turn() != turn {
			t.Fatalf("asked again: %s, before: %s", s.describe(&again), s.describe(&d))
		}
		var homes affinity.Home
		if q.Home.Known() {
			homes = *q.Home
		}
		switch b := d.Backend; {
		case b == nil:
		case q.Tried.Has(b.ID) && !d.Anew:
			t.Errorf("%s was tried", s.describe(&d))
		case b.Draining() == pool.DrainHard:
			t.Errorf("%s is drained hard", s.describe(&d))
		case !b.Up() && snapshot.LastDown() != b:
			t.Errorf("%s is down", s.describe(&d))
		case q.Home.Known() && (d.Rule == q.Home.Source) != (homes.Has(uint32(b.ID)) && d.Why == pool.UsableOK):
			t.Errorf("%s, home is %+v", s.describe(&d), *q.Home)
		}
		home, _ := snapshot.Home(&homes, q.Tried)
		if home == nil {
			continue
		}
		// All is full, and then has room: who had a home is at home.
		var told waiter
		w := &pool.Waiter{Wish: q.Wish(&d, snapshot), Owner: &told}
		if b, result := s.pool.Wait(w); result != pool.WaitServed {
			t.Errorf("%s: result %d", s.describe(&d), result)
		} else if placed := q.Placed(d, b); placed.Rule != q.Home.Source || placed.Why != pool.UsableOK || !homes.Has(uint32(b.ID)) {
			t.Errorf("%s, and with room %s", s.describe(&d), s.describe(&placed))
		} else {
			homeAfterAll++
			b.Release()
		}
	}
	if homeAfterAll == 0 {
		t.Error("nobody had a home")
	}
}
