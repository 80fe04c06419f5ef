package pool

import (
	"math"
	"reflect"
	"slices"
	"testing"
)

// slotsOf counts the slots of each live backend by ID.
func slotsOf(s *Snapshot) map[ID]int {
	counts := make(map[ID]int)
	for slot := range uint32(maglevSlots) {
		i := s.table.at(slot)
		counts[s.live[i].ID]++
	}
	return counts
}

// TestMaglevWidth: a pool has no larger table than its backends need.
func TestMaglevWidth(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: maglevSlots, 256: maglevSlots, 257: 2 * maglevSlots} {
		table := newPool(t, Options{}, numbered(n)...).Snapshot().table
		if got := len(table.narrow) + 2*len(table.wide); got != want {
			t.Errorf("%d backends: a table of %d bytes, want %d", n, got, want)
		}
	}
}

func TestMaglevBalance(t *testing.T) {
	tests := []struct {
		weights []int
		why     string
	}{
		{[]int{1}, "one backend owns everything"},
		{[]int{1, 1, 1}, "three equal ones"},
		{[]int{1, 2, 3}, "small weights"},
		{[]int{1000, 1}, "a heavy and a light one"},
		{slices.Repeat([]int{1}, 100), "a hundred equal ones"},
		{append(slices.Repeat([]int{100}, 20), 150, 250), "a mixed pool"},
		{slices.Repeat([]int{1}, 256), "as many as narrow slots take"},
		{slices.Repeat([]int{1}, 257), "one more"},
	}
	for _, tt := range tests {
		s := newPool(t, Options{}, weighted(tt.weights...)...).Snapshot()
		counts := slotsOf(s)
		for _, b := range s.Live() {
			got, want := float64(counts[b.ID]), maglevSlots*float64(b.Weight())/float64(s.liveWeight)
			if math.Abs(got-want) > max(2, 0.02*want) {
				t.Errorf("%s: weight %d owns %.0f slots, its share is %.0f", tt.why, b.Weight(), got, want)
			}
		}
	}
}

// TestMaglevDisruption: when one of N leaves, its own slots move, and of the others' no more than 2 %.
func TestMaglevDisruption(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100} {
		p := newPool(t, Options{}, numbered(n)...)
		before := p.Snapshot()
		gone := member(p, n/2)
		p.SetUp(gone, false, "test")
		after := p.Snapshot()
		moved := 0
		for slot := range uint32(maglevSlots) {
			if before.live[before.table.at(slot)] != after.live[after.table.at(slot)] {
				moved++
			}
		}
		if share := float64(moved) / maglevSlots; share > 1/float64(n)+0.02 {
			t.Errorf("one of %d left: %.1f %% of the slots moved", n, 100*share)
		}
		p.SetUp(gone, true, "test")
		if !reflect.DeepEqual(p.Snapshot().table, before.table) {
			t.Errorf("one of %d came back: the table is not the one from before", n)
		}
	}
}

// TestMaglevSameOnEveryNode: neither the order of the specs nor the history of the pool shows in the table.
func TestMaglevSameOnEveryNode(t *testing.T) {
	specs := weighted(3, 1, 4, 1, 5, 9, 2, 6)
	first := newPool(t, Options{}, specs...)
	slices.Reverse(specs)
	second := newPool(t, Options{}, specs[:3]...)
	if err := second.Set(specs); err != nil {
		t.Fatal(err)
	}
	a, b := first.Snapshot(), second.Snapshot()
	if !reflect.DeepEqual(a.table, b.table) {
		t.Error("two nodes with the same backends have different tables")
	}
	other, err := New("mail", specs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(a.table, other.Snapshot().table) {
		t.Error("two pools of the same backends have the same table")
	}
	rnd := hashes()
	set := []uint32{uint32(a.All()[1].ID), uint32(a.All()[4].ID), uint32(a.All()[6].ID)}
	turned := []uint32{set[2], set[0], set[1]}
	for range 1000 {
		hash := rnd.Uint64()
		if x, y := a.Maglev(hash, Skip{}), b.Maglev(hash, Skip{}); x.ID != y.ID {
			t.Fatalf("Maglev(%x) = %v and %v", hash, x.Addr, y.Addr)
		}
		if x, y := a.MaglevOf(hash, set, Skip{}), b.MaglevOf(hash, turned, Skip{}); x.ID != y.ID {
			t.Fatalf("MaglevOf(%x) = %v and %v", hash, x.Addr, y.Addr)
		}
	}
}

// TestMaglevWalk: each backend that is skipped leads to another one, until all have been met once.
func TestMaglevWalk(t *testing.T) {
	for _, n := range []int{1, 3, MaxSkip} {
		s := newPool(t, Options{}, numbered(n)...).Snapshot()
		var skip Skip
		met := make(map[ID]bool)
		for {
			b := s.Maglev(12345, skip)
			if b == nil {
				break
			}
			if met[b.ID] {
				t.Fatalf("of %d: %v came twice", n, b.Addr)
			}
			met[b.ID] = true
			skip.Add(b.ID)
		}
		if len(met) != n {
			t.Errorf("the walk met %d of %d", len(met), n)
		}
	}
}

// TestMaglevSuccessors: what one backend cannot take spreads over all the others.
func TestMaglevSuccessors(t *testing.T) {
	s := newPool(t, Options{}, numbered(5)...).Snapshot()
	counts := make(map[ID]int)
	rnd := hashes()
	const picks = 40000
	for range picks {
		hash := rnd.Uint64()
		first := s.Maglev(hash, Skip{})
		if first != s.All()[0] {
			continue
		}
		counts[s.Maglev(hash, skipping(first)).ID]++
	}
	for id, n := range counts {
		if n < picks/5/4*9/10 || n > picks/5/4*11/10 {
			t.Errorf("%x takes over %d, its share is %d", id, n, picks/5/4)
		}
	}
}

func TestMaglevPassesOver(t *testing.T) {
	tests := []struct {
		prepare func(p *Pool, b *Backend)
		why     string
	}{
		{func(p *Pool, b *Backend) { p.SetUp(b, false, "test") }, "a backend that is down"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainSoft) }, "a backend that is being drained"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainHard) }, "a hard-drained backend"},
		{func(_ *Pool, b *Backend) { b.maxConns.Store(2); hold(b, 2) }, "a full backend"},
		{func(_ *Pool, b *Backend) { hold(b, 500) }, "an overloaded backend"},
		{func(_ *Pool, b *Backend) { b.state.Store(stateDown) }, "a backend marked down a moment ago, still in the table"},
	}
	for _, tt := range tests {
		p := newPool(t, Options{}, numbered(4)...)
		rnd := hashes()
		target := p.Snapshot().Maglev(99, Skip{})
		tt.prepare(p, target)
		s := p.Snapshot()
		for range 500 {
			if b := s.Maglev(rnd.Uint64(), Skip{}); b == nil || b == target {
				t.Fatalf("%s was not passed over: %v", tt.why, b)
			}
		}
	}
}

// TestMaglevLastResort: where only overloaded backends are left they are better than none, and in a large pool the
// one backend that is left is found although no walk meets it.
func TestMaglevLastResort(t *testing.T) {
	p := newPool(t, Options{}, numbered(3)...)
	s := p.Snapshot()
	hold(member(p, 0), 500)
	if b := s.Maglev(1, skipping(member(p, 1), member(p, 2))); b != member(p, 0) {
		t.Errorf("the overloaded backend alone is left, but Maglev = %v", b)
	}
	set := []uint32{uint32(member(p, 0).ID)}
	if b := s.MaglevOf(1, set, Skip{}); b != nil {
		t.Errorf("MaglevOf an overloaded backend = %v, want nil", b)
	}

	p = newPool(t, Options{}, numbered(2000)...)
	for _, b := range p.Snapshot().All()[1:] {
		b.state.Store(stateDown)
	}
	if b := p.Snapshot().Maglev(1, Skip{}); b != member(p, 0) {
		t.Errorf("one of 2,000 is left, but Maglev = %v", b)
	}
	member(p, 0).state.Store(stateDown)
	if b := p.Snapshot().Maglev(1, Skip{}); b != nil {
		t.Errorf("none of 2,000 is left, but Maglev = %v", b)
	}
}

func TestMaglevOfStaysInTheSet(t *testing.T) {
	for _, size := range []int{2, 3, 50, 100} {
		p := newPool(t, Options{}, numbered(100)...)
		s := p.Snapshot()
		set := make([]uint32, size)
		counts := make(map[ID]int)
		for i := range set {
			set[i] = uint32(member(p, i*100/size).ID)
		}
		rnd := hashes()
		const picks = 40000
		for range picks {
			b := s.MaglevOf(rnd.Uint64(), set, Skip{})
			if b == nil || !slices.Contains(set, uint32(b.ID)) {
				t.Fatalf("MaglevOf a set of %d left it: %v", size, b)
			}
			counts[b.ID]++
		}
		for id, n := range counts {
			if fair := float64(picks) / float64(size); math.Abs(float64(n)-fair) > 0.02*fair+4*math.Sqrt(fair) { // 4 sigma of chance
				t.Errorf("a set of %d: %x got %d of %d, its share is %.0f", size, id, n, picks, fair)
			}
		}
	}
}

func TestMaglevOf(t *testing.T) {
	p := newPool(t, Options{}, numbered(4)...)
	a, b := member(p, 0), member(p, 1)
	both := []uint32{uint32(a.ID), uint32(b.ID)}
	tests := []struct {
		prepare func()
		set     []uint32
		skip    Skip
		want    *Backend
		why     string
	}{
		{nil, nil, Skip{}, nil, "an empty set"},
		{nil, []uint32{0, 12345, uint32(AnyID)}, Skip{}, nil, "IDs that nobody has"},
		{nil, []uint32{12345, uint32(b.ID)}, Skip{}, b, "an unknown member beside a known one"},
		{nil, both, skipping(a), b, "one member is skipped"},
		{nil, both, skipping(a, b), nil, "all members are skipped"},
		{func() { p.SetDraining(a, DrainSoft) }, both, Skip{}, b, "a drained member is spared"},
		{nil, both, skipping(b), a, "unless no other will do"},
		{func() { p.SetUp(b, false, "test") }, both, Skip{}, a, "whether it is skipped or down"},
		{func() { p.SetDraining(a, DrainHard) }, both, Skip{}, nil, "a hard-drained member gets nothing"},
		{func() { p.SetUp(member(p, 2), false, ""); p.SetUp(member(p, 3), false, "") }, both, Skip{}, nil, "nothing is live, there is no table"},
		{func() { p.SetDraining(a, DrainSoft) }, both, Skip{}, a, "nothing is live, but the drained member still takes its own"},
	}
	for _, tt := range tests {
		if tt.prepare != nil {
			tt.prepare()
		}
		for hash := range uint64(20) {
			if got := p.Snapshot().MaglevOf(hash, tt.set, tt.skip); got != tt.want {
				t.Errorf("%s: MaglevOf = %v, want %v", tt.why, got, tt.want)
			}
		}
	}
}

// TestTableIsKept: the tables are built again only when the live backends or their weights change.
func TestTableIsKept(t *testing.T) {
	p := newPool(t, Options{}, numbered(3)...)
	p.SetUp(member(p, 0), false, "test")
	table := p.Snapshot().table
	p.SetDraining(member(p, 0), DrainSoft)
	if err := p.Set(numbered(3)); err != nil {
		t.Fatal(err)
	}
	if p.Snapshot().table != table {
		t.Error("the table was built again although the live backends are the same")
	}
	if err := p.Set([]Spec{numbered(3)[0], numbered(3)[1], {Addr: numbered(3)[2].Addr, Weight: 2}}); err != nil {
		t.Fatal(err)
	}
	if p.Snapshot().table == table {
		t.Error("a weight changed but the table did not")
	}
}
