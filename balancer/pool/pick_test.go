package pool

import (
	"sync"
	"testing"
)

// TestRoundRobinSpread: several loops together give each backend its weight in every cycle, give or take one conn.
func TestRoundRobinSpread(t *testing.T) {
	const loops, cycles = 4, 50
	p := newPool(t, Options{}, weighted(5, 3, 1, 1)...)
	counts := make([]map[ID]int, loops)
	var all sync.WaitGroup
	for loop := range loops {
		counts[loop] = make(map[ID]int)
		all.Go(func() {
			for range cycles * 10 / loops {
				counts[loop][p.Snapshot().Fresh(RoundRobin, 0, Skip{}).ID]++
			}
		})
	}
	all.Wait()
	for _, b := range p.Snapshot().All() {
		sum := 0
		for _, c := range counts {
			sum += c[b.ID]
		}
		if want := cycles * b.Weight(); sum < want-1 || sum > want+1 {
			t.Errorf("weight %d got %d conns, want %d", b.Weight(), sum, want)
		}
	}
}

// TestRoundRobinLostTurns: the turns of a backend that cannot take them do not all go to its successor.
func TestRoundRobinLostTurns(t *testing.T) {
	p := newPool(t, Options{}, numbered(4)...)
	member(p, 1).maxConns.Store(1)
	hold(member(p, 1), 1)
	counts := make(map[*Backend]int)
	for range 300 {
		counts[p.Snapshot().Fresh(RoundRobin, 0, Skip{})]++
	}
	for _, i := range []int{0, 2, 3} {
		if n := counts[member(p, i)]; n < 99 || n > 101 {
			t.Errorf("backend %d got %d of 300, want a third", i, n)
		}
	}
}

func TestFreshPassesOver(t *testing.T) {
	tests := []struct {
		prepare func(p *Pool, b *Backend)
		skip    bool
		why     string
	}{
		{func(p *Pool, b *Backend) { p.SetUp(b, false, "test") }, false, "a backend that is down"},
		{func(_ *Pool, b *Backend) { b.state.Store(stateDown) }, false, "one marked down a moment ago"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainSoft) }, false, "one that is being drained"},
		{func(p *Pool, b *Backend) { p.SetDraining(b, DrainHard) }, false, "a hard-drained one"},
		{func(_ *Pool, b *Backend) { b.maxConns.Store(2); hold(b, 2) }, false, "a full one"},
		{func(*Pool, *Backend) {}, true, "one that is skipped"},
	}
	for _, tt := range tests {
		for policy := RoundRobin; policy <= ClientHash; policy++ {
			// A light backend beside a heavy one that is out: more turns are lost than one pick draws.
			p := newPool(t, Options{}, weighted(1000, 1)...)
			var skip Skip
			if tt.skip {
				skip = skipping(member(p, 0))
			}
			tt.prepare(p, member(p, 0))
			for hash := range uint64(300) {
				if b := p.Snapshot().Fresh(policy, mix(hash), skip); b != member(p, 1) {
					t.Fatalf("%v, %s: got %v", policy, tt.why, b)
				}
			}
			skip.Add(member(p, 1).ID)
			tt.prepare(p, member(p, 1))
			if b := p.Snapshot().Fresh(policy, 7, skip); b != nil && !tt.skip {
				t.Errorf("%v, two of %s: got %v, want nil", policy, tt.why, b)
			}
		}
	}
}

func TestLeastConn(t *testing.T) {
	p := newPool(t, Options{}, weighted(1, 1, 2)...)
	tests := []struct {
		open []int
		want []int // any of
		why  string
	}{
		{[]int{0, 0, 0}, []int{2}, "the heaviest comes first"},
		{[]int{0, 0, 1}, []int{0, 1, 2}, "all would have one conn by unit of weight"},
		{[]int{5, 3, 9}, []int{1}, "the fewest by weight"},
		{[]int{5, 5, 9}, []int{2}, "nine on weight two is less than five on one"},
	}
	for _, tt := range tests {
		met := make(map[*Backend]bool)
		for i, n := range tt.open {
			member(p, i).open.Store(int64(n))
		}
		for range 12 {
			met[p.Snapshot().Fresh(LeastConn, 0, Skip{})] = true
		}
		for _, i := range tt.want {
			if !met[member(p, i)] {
				t.Errorf("%s: open %v, backend %d was not taken", tt.why, tt.open, i)
			}
		}
		if len(met) != len(tt.want) {
			t.Errorf("%s: open %v took %d backends, want %d", tt.why, tt.open, len(met), len(tt.want))
		}
	}
}

func TestClientHashKeepsItsBackend(t *testing.T) {
	p := newPool(t, Options{}, numbered(5)...)
	s := p.Snapshot()
	for hash := uint64(1); hash <= 100; hash++ {
		b := s.Fresh(ClientHash, mix(hash), Skip{})
		if again := s.Fresh(ClientHash, mix(hash), Skip{}); again != b || b != s.Maglev(mix(hash), Skip{}) {
			t.Fatalf("client %d went to %v, then to %v", hash, b.Addr, again.Addr)
		}
	}
	met := map[*Backend]bool{}
	for range s.All() {
		met[s.Fresh(ClientHash, 0, Skip{})] = true
	}
	if len(met) != len(s.All()) {
		t.Errorf("clients of whom nothing is known met at %d of %d backends", len(met), len(s.All()))
	}
}

func TestSkip(t *testing.T) {
	var skip Skip
	for id := ID(1); id <= MaxSkip; id++ {
		if skip.Has(id) || !skip.Add(id) || !skip.Has(id) {
			t.Fatalf("adding %d of %d failed", id, MaxSkip)
		}
	}
	if skip.Add(99) || skip.Has(99) {
		t.Error("a full Skip took one more")
	}
	if skip.Has(NoID) {
		t.Error("a Skip has the ID of no backend")
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	p := newPool(t, Options{}, numbered(20)...)
	a, b := member(p, 3), member(p, 11)
	set := []uint32{uint32(a.ID), uint32(b.ID)}
	skip := skipping(a)
	var hash uint64
	tests := map[string]func(){
		"Fresh, round robin": func() { p.Snapshot().Fresh(RoundRobin, 0, skip) },
		"Fresh, least conn":  func() { p.Snapshot().Fresh(LeastConn, 0, skip) },
		"Fresh, client hash": func() { hash++; p.Snapshot().Fresh(ClientHash, mix(hash), skip) },
		"Maglev":             func() { hash++; p.Snapshot().Maglev(mix(hash), skip) },
		"MaglevOf":           func() { hash++; p.Snapshot().MaglevOf(mix(hash), set, skip) },
		"ByID":               func() { p.Snapshot().ByID(a.ID) },
		"Usable":             func() { p.Snapshot().Usable(b) },
		"LastDown":           func() { p.Snapshot().LastDown() },
		"Acquire, ConnectOK": func() { a.Acquire(); p.ConnectOK(a); a.Release() },
	}
	for name, f := range tests {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
