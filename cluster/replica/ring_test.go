package replica

import (
	"slices"
	"sync"
	"testing"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

func numbered(i uint64) *affinity.Fact {
	return &affinity.Fact{
		Kind: affinity.FactEntry, Pool: uint32(i) ^ 7, Key: affinity.Key(i * 3), ID: uint32(i) + 1,
		Time: uint32(i) * 5,
	}
}

func TestRingReads(t *testing.T) {
	r := newRing(7) // becomes 8
	for i := range uint64(20) {
		r.push(numbered(i+1), int64(i+1)*100)
	}
	for _, tt := range []struct {
		sentence string
		last     uint64
		room     int
		first, n uint64
		lost     bool
	}{
		{"nothing behind the last", 20, 9, 0, 0, false},
		{"the last", 19, 9, 20, 1, false},
		{"as many as there is room for", 15, 3, 16, 3, false},
		{"all that the ring holds for a resume", 13, 9, 14, 7, false},
		{"one more is lost", 11, 9, 0, 0, true},
		{"so is the first", 0, 9, 0, 0, true},
	} {
		facts, lost := r.read(tt.last, make([]affinity.Fact, 0, tt.room))
		var want []affinity.Fact
		for i := range tt.n {
			want = append(want, *numbered(tt.first + i))
		}
		if !slices.Equal(facts, want) || lost != tt.lost || r.ready(tt.last) != (tt.n > 0 || lost) {
			t.Errorf("%s: %v, %v", tt.sentence, facts, lost)
		}
	}
	if r.oldest(20) != 0 || r.oldest(19) != 2000 || r.oldest(0) != 1400 || r.holds(12) || !r.holds(13) || r.holds(21) {
		t.Errorf("oldest: %d, %d, %d", r.oldest(20), r.oldest(19), r.oldest(0))
	}
}

// TestRingSpoiltSlot: words of two facts in one slot are neither of them.
func TestRingSpoiltSlot(t *testing.T) {
	r := newRing(8)
	for i := range uint64(3) {
		r.push(numbered(i+1), 1)
	}
	r.slots[2].key.Add(1)
	if facts, lost := r.read(0, make([]affinity.Fact, 0, 9)); len(facts) != 1 || lost || r.ready(1) {
		t.Errorf("%v, %v", facts, lost)
	}
	for i := range uint64(8) { // a round later it is overwritten, and known to be lost
		r.push(numbered(i+4), 1)
	}
	if _, lost := r.read(1, make([]affinity.Fact, 0, 9)); !lost {
		t.Error("not lost")
	}
}

// TestRingConcurrent: a reader sees each fact once, in order, or is told that it has lost some.
func TestRingConcurrent(t *testing.T) {
	const writers, each = 4, 20_000
	r := newRing(1024)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				i := r.head.Load() // any number: what counts is that the words agree
				r.push(numbered(i), int64(i))
			}
		})
	}
	var cursor uint64
	var read, losses int
	facts := make([]affinity.Fact, 0, 100)
	for cursor < writers*each {
		got, lost := r.read(cursor, facts)
		if lost {
			losses++
			cursor = r.head.Load()
			continue
		}
		for _, f := range got {
			if i := uint64(f.Key) / 3; f != *numbered(i) {
				t.Fatalf("words of several facts: %+v", f)
			}
		}
		cursor += uint64(len(got))
		read += len(got)
	}
	group.Wait()
	t.Logf("%d of %d read, lost %d times", read, writers*each, losses)
}

// TestLearnedAllocatesNothing: it is called by loops.
func TestLearnedAllocatesNothing(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	testkit.Eventually(t, "streaming", func() bool { return a.peerStats("b").State == PeerStreaming })
	b.stop()
	testkit.Eventually(t, "alone", func() bool { return a.peerStats("b").State == PeerLost })
	a.r.SetPeers(nil) // nothing else runs
	f := *numbered(1)
	if n := testing.AllocsPerRun(1000, func() { a.r.Learned(f) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLearned(b *testing.B) {
	n := startNode(b, "a")
	f := *numbered(1)
	b.ReportAllocs()
	for b.Loop() {
		n.r.Learned(f)
	}
}
