package affinity

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// export is all that s knows at now, in an order of its own.
func export(s *Store, now uint32) []Fact {
	var all []Fact
	var c Cursor
	for part := make([]Fact, 0, 64); !c.Done(); part = part[:0] {
		part = s.Export(&c, part, now)
		all = append(all, part...)
	}
	slices.SortFunc(all, func(a, b Fact) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// merge merges facts and lets the owner do its part.
func merge(s *Store, facts []Fact, now uint32) int {
	n := 0
	for part := range slices.Chunk(facts, mergeSize) {
		n += s.Merge(context.Background(), part, now)
		s.takeMerges()
	}
	return n
}

// randomFacts makes facts that often speak of the same keys, junk among them.
func randomFacts(r *rand.Rand, n int) []Fact {
	var facts []Fact
	for range n {
		f := Fact{Kind: FactKind(r.IntN(4)), Key: makeKey(mix(r.Uint64N(40)+1), 0), ID: r.Uint32N(4) + 1, Time: t0 - 20 + r.Uint32N(100)}
		switch {
		case f.Kind == FactKeyHome, f.Kind == FactKeyGone:
			f.Key, f.Pool, f.Length = makeKey(mix(r.Uint64N(8)+100), 0), r.Uint32N(2)+1, uint8(PrefixLen(r.IntN(NumLengths)))
			f.Time -= 90 // proofs lie behind
		case f.Kind == FactClient:
			f.Key = makeKey(mix(uint64(f.Key)), 0)
			f.Time &^= clientBits
		case r.IntN(10) == 0:
			f.ID = AnyID
		}
		if f.Kind != FactKeyHome && f.Kind != FactKeyGone {
			f.Span = uint8(f.Time % 100)
		}
		facts = append(facts, f)
	}
	return facts
}

// dumbMerge is the rule of Merge over a map.
func dumbMerge(facts []Fact, now uint32) map[Fact]Fact {
	m := make(map[Fact]Fact)
	for _, f := range facts {
		switch f.Kind {
		case FactEntry, FactClient:
			at := Fact{Kind: f.Kind, Key: f.Key}
			old := m[at]
			if f.Time > now && (f.Time > old.Time || f.Time == old.Time && f.ID > old.ID) {
				m[at] = f
			}
		case FactKeyHome:
			at := Fact{Kind: f.Kind, Pool: f.Pool, Key: f.Key, ID: f.ID}
			if m[at].Time < f.Time {
				m[at] = f
			}
		case FactKeyGone:
			at := Fact{Kind: f.Kind, Pool: f.Pool, Key: f.Key, ID: f.ID}
			if f.Length = 0; m[at].Time < f.Time {
				m[at] = f
			}
		}
	}
	for at, gone := range m { // of a pair the later word counts, and the bad one of two equals
		if at.Kind == FactKeyGone {
			home := at
			if home.Kind = FactKeyHome; m[home].Time > gone.Time {
				delete(m, at)
			} else {
				delete(m, home)
			}
		}
	}
	return m
}

func TestMergeIsCommutativeAndIdempotent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		facts := randomFacts(r, 300)
		lengths := make(map[Key]uint8) // a key has one length
		for i, f := range facts {
			if f.Kind == FactKeyHome || f.Kind == FactKeyGone {
				if l := lengths[f.Key]; l != 0 {
					facts[i].Length = l
				}
				lengths[f.Key] = facts[i].Length
			}
		}
		a, b := newStore(t), newStore(t)
		merge(a, facts, t0)
		got := export(a, t0)
		for i := range facts {
			if facts[i].Kind != FactKeyHome && facts[i].Kind != FactKeyGone {
				facts[i].Pool = 0 // it is in the key
			}
		}
		want := slices.SortedFunc(maps.Values(dumbMerge(facts, t0)), func(a, b Fact) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
		})
		if !slices.Equal(got, want) {
			t.Fatalf("merged %d facts, not the %d they should be:\n got %v\nwant %v", len(got), len(want), got, want)
		}

		r.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
		merge(b, facts, t0)
		if other := export(b, t0); !slices.Equal(other, export(a, t0)) {
			t.Fatal("another order gives another result")
		}
		merge(b, facts, t0)
		if n := merge(b, export(a, t0), t0); !slices.Equal(export(b, t0), export(a, t0)) {
			t.Fatalf("the same again changes something, %d", n)
		}
	}
}

func TestMergeTellsNobody(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Fact = func(f Fact) { t.Errorf("told %+v", f) } })
	r := rand.New(rand.NewPCG(3, 4))
	merge(s, randomFacts(r, 500), t0)
	s.age(t0)
	if before := s.Changes(); before == 0 || merge(s, nil, t0) != 0 || s.Changes() != before {
		t.Errorf("%d changes", before)
	}
}

func TestMergeRefusesJunk(t *testing.T) {
	s := newStore(t)
	if n := merge(s, []Fact{
		{Kind: FactEntry, Key: 0, ID: 1, Time: t0 + 9},
		{Kind: FactEntry, Key: 1, ID: 0, Time: t0 + 9},
		{Kind: FactEntry, Key: 1, ID: 1, Time: t0},
		{Kind: FactEntry, Key: 1, ID: 1, Time: t0 + maxLife + 1},
		{Kind: FactClient, Key: 1, ID: AnyID, Time: t0 + 9},
		{Kind: FactClient, Key: 1, ID: 1, Time: t0 + maxLife + 1},
		{Kind: 99, Key: 1, ID: 1, Time: t0 + 9},
	}, t0); n != 0 {
		t.Errorf("%d of them were taken", n)
	}
	merge(s, []Fact{
		{Kind: FactKeyHome, Length: 15, Pool: 1, Key: 1, ID: 1, Time: t0},
		{Kind: FactKeyHome, Length: 16, Pool: 1, Key: 0, ID: 1, Time: t0},
		{Kind: FactKeyHome, Length: 16, Pool: 1, Key: 1, ID: 0, Time: t0},
		{Kind: FactKeyHome, Length: 16, Pool: 1, Key: 1, ID: AnyID, Time: t0},
		{Kind: FactKeyHome, Length: 16, Pool: 1, Key: 1, ID: 1, Time: t0 - s.ttl.ticket},
		{Kind: FactKeyGone, Pool: 1, Key: 0, ID: 1, Time: t0},
		{Kind: FactKeyGone, Pool: 1, Key: 1, ID: 0, Time: t0},
		{Kind: FactKeyGone, Pool: 1, Key: 1, ID: 1, Time: t0 - s.ttl.ticket},
		{Kind: FactKeyGone, Pool: 1, Key: 1, ID: 1, Time: t0 + maxAhead + 1},
	}, t0)
	if got := export(s, t0); len(got) != 0 {
		t.Errorf("exported: %+v", got)
	}
}

func TestMergeKeepsStrikes(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	refuse := func() { p.Refused(&Offer{Kind: OfferPSK, Client: 9}, SourceClient, 1, t0) }
	p.Completed(9, 1, t0)
	refuse()
	later := []Fact{{Kind: FactClient, Key: 9, ID: 1, Time: t0 + 80_000}}
	if merge(s, later, t0) != 1 || p.clientHome(9, t0+70_000) != 1 {
		t.Error("the later expiry of the same home is not taken")
	}
	refuse()
	if p.clientHome(9, t0) != 0 {
		t.Error("the strike was forgotten by a merge")
	}
	later[0].Time += 100
	if merge(s, later, t0) != 0 || p.clientHome(9, t0) != 0 {
		t.Error("another node brings back a home that refused twice here")
	}
	later[0].ID = 2
	if merge(s, later, t0) != 1 || p.clientHome(9, t0) != 2 {
		t.Error("another home is not taken")
	}
}

func TestMergeKeepsTheYoungerWhereItIsFull(t *testing.T) {
	tab := newTable(t, 4) // two buckets: every key may use both
	for i := range uint32(8) {
		tab.Insert(Key(i+1), 1, t0+1000, t0+100+i)
	}
	if tab.merge(Key(50).with(spanOf(90_000)), word1(1, t0+80_000), t0+200, laterEntry) {
		t.Error("an entry that is older than all took a place")
	}
	if !tab.merge(Key(51).with(spanOf(200)), word1(1, t0+390), t0+200, laterEntry) {
		t.Error("an entry that is younger than all got no place")
	}
	if _, _, ok := tab.Lookup(1, t0+200); ok {
		t.Error("it was not the oldest that went")
	}
}

// TestMergedKeyRoutes: a ticket key that another node confirmed routes here, and
// confirmed here it reaches others, but not while it is on probation.
func TestMergedKeyRoutes(t *testing.T) {
	var told []Fact
	a := newStore(t, func(c *Config) { c.Fact = func(f Fact) { told = append(told, f) } })
	b := newStore(t)
	pa, pb := a.Pool(1), b.Pool(1)
	for i := range byte(2) {
		pa.IssuedTicket(pa.HashIdent(ticketOf(200, "name of 16 bytes", i)), 0, 7, t0)
		pa.IssuedTicket(pa.HashIdent(ticketOf(200, "four", i)), 0, 8, t0)
	}
	a.takeEvidence()
	merge(b, told, t0)
	if h := pb.Find(offerOf(pb, OfferPSK, ticketOf(200, "name of 16 bytes", 9)), t0); h.Source != SourceTicketKey || h.ID != 7 {
		t.Errorf("routed %+v", h)
	}
	four := offerOf(pb, OfferPSK, ticketOf(200, "four", 9))
	if h := pb.Find(four, t0); h.Source != SourceExplore {
		t.Errorf("a 4-byte name on probation was told: %+v", h)
	}
	told = nil
	pa.IssuedTicket(pa.HashIdent(ticketOf(200, "four", 7)), 0, 8, t0)
	a.takeEvidence()
	merge(b, told, t0)
	if h := pb.Find(four, t0); h.Source != SourceTicketKey || h.ID != 8 {
		t.Errorf("a 4-byte name that has proved itself: %+v", h)
	}
	if got, want := export(b, t0), export(a, t0); !slices.Equal(got[len(got)-2:], want[len(want)-2:]) {
		t.Errorf("b exports %v, a %v", got, want)
	}
}

func TestExportBeginsWithKeys(t *testing.T) {
	s := newStore(t)
	merge(s, []Fact{{Kind: FactKeyHome, Length: 16, Pool: 3, Key: 5, ID: 6, Time: t0}}, t0)
	s.Pool(3).Completed(11, 6, t0)
	s.Pool(3).IssuedID(12, 6, t0)
	s.entries.words[0].Store(1) // half of a pair, whose other half says it lives
	s.entries.words[1].Store(word1(1, t0+9))
	var c Cursor
	var got []FactKind
	for !c.Done() {
		for _, f := range s.Export(&c, make([]Fact, 0, ways), t0) {
			got = append(got, f.Kind)
		}
	}
	if want := []FactKind{FactKeyHome, FactClient, FactEntry}; !slices.Equal(got, want) {
		t.Errorf("exported %v, want %v", got, want)
	}
	keys := s.ExportKeys()
	if n := len(s.Export(&keys, make([]Fact, 0, 99), t0)); n != 1 || !keys.Done() {
		t.Errorf("%d ticket keys", n)
	}
}

func TestReseed(t *testing.T) {
	dir := memoryDir(t)
	s := newStore(t, func(c *Config) { c.Memory = dir })
	p := s.Pool(1)
	id := []byte("a session ID")
	old := p.HashID(id)
	p.IssuedID(old, 3, t0)
	for i := range byte(2) {
		p.IssuedTicket(p.HashIdent(ticketOf(200, "name of 16 bytes", i)), 0, 7, t0)
	}
	s.takeEvidence()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	seed := Seed{Value: 99, Made: 5}
	if err := s.Reseed(ctx, seed); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if got := export(s, t0); len(got) != 0 || s.Seed() != seed {
		t.Errorf("seed %v, known %v", s.Seed(), got)
	}
	if h := p.HashID(id); h == old || h != newHasher(99, 1).sum(KindID, id) || s.Pool(2).HashID(id) == h {
		t.Error("keys are not of the new seed")
	}
	if err := s.Reseed(ctx, seed); err == nil {
		t.Error("reseeded without an owner")
	}
	p.IssuedID(p.HashID(id), 3, t0)
	again := newStore(t, func(c *Config) { c.Memory = dir })
	if again.Seed() != seed || len(export(again, t0)) != 1 {
		t.Errorf("found again: seed %v, %v", again.Seed(), export(again, t0))
	}
}

func TestSeedsAreOrdered(t *testing.T) {
	order := []Seed{{5, 1}, {9, 1}, {1, 2}, {5, 2}}
	for i, a := range order {
		for j, b := range order {
			if a.Older(b) != (i < j) {
				t.Errorf("%v older than %v: %v", a, b, a.Older(b))
			}
		}
	}
}

// memoryDir is a directory on a tmpfs.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir := tempIn(t, "/dev/shm")
	return filepath.Join(dir, "homing")
}
