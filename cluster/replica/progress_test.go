//go:build linux

package replica

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// heirNode is the process that replaces a test node: with the same tables and socket, and its facts held back.
func heirNode(t *testing.T, elder *testNode) (n *testNode, hook *atomic.Pointer[func(affinity.Fact)]) {
	t.Helper()
	n, hook = &testNode{t: t, log: elder.log}, new(atomic.Pointer[func(affinity.Fact)])
	cfg := elder.r.cfg
	cfg.Listener = testkit.Again(t, elder.r.Listener())
	var err error
	n.r, err = New(cfg)
	testkit.Check(t, err)
	seed := elder.store.Seed()
	scfg := affinity.Config{Seed: seed.Value, SeedMade: seed.Made, TableEntries: 20_000, ClientEntries: 2000}
	scfg.Fact = func(f affinity.Fact) { (*hook.Load())(f) }
	scfg.Import, err = elder.store.ExportTables()
	testkit.Check(t, err)
	n.store, err = affinity.NewStore(scfg)
	testkit.Check(t, err)
	if !n.store.Imported() {
		t.Error("the heir has tables of its own")
	}
	n.pool = n.store.Pool(1)
	return n, hook
}

func (n *testNode) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { n.store.Run(ctx) })
	group.Go(func() { n.r.Run(ctx, n.store) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if err := n.store.Close(); err != nil {
			n.t.Error(err)
		}
	})
	n.t.(*testing.T).Cleanup(n.stop)
}

// The process of a node is replaced while both nodes learn: nothing is lost, and nobody needs the whole table again.
func TestReplicatorIsReplaced(t *testing.T) {
	const step, far = 2000, 1_000_000
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	testkit.Eventually(t, "streaming",
		func() bool { return a.peerStats("b").State == PeerStreaming && b.peerStats("a").State == PeerStreaming })
	for first := 0; first < 4*step; first += step {
		var learning sync.WaitGroup
		learning.Go(func() { b.learn(first+far, first+far+step) })
		heir, hook := heirNode(t, a)
		held := NewForwarder()
		hook.Store(new(held.Learned))
		a.learn(first, first+step-10) // most are not sent when it ends
		heir.learn(first+step-10, first+step)
		// In the order of a hand-over, but that the elder's store is closed here too.
		seed := a.store.Seed()
		a.stop()
		testkit.Check(t, heir.r.Import(a.r.Export(), seed))
		hook.Store(new(heir.r.Learned))
		heir.r.Take(held)
		a = heir
		mesh(a, b)
		a.run()
		learning.Wait()
		testkit.Eventually(t, "all is at b, and all of b's here", func() bool {
			return b.knows(0, first+step) == first+step && a.knows(far, far+first+step) == first+step
		})
		testkit.Eventually(t, "acknowledged",
			func() bool { return a.peerStats("b").Unacked == 0 && b.peerStats("a").Unacked == 0 })
	}
	if ab, ba := a.peerStats("b"), b.peerStats("a"); ab.Resyncs != 0 || ba.Resyncs != 1 || ba.Filled != 1 {
		t.Errorf("the whole table was sent again: a says of b %+v, b of a %+v", ab, ba)
	}
	if st := a.r.Stats(); st.Learned != 10 || st.Refused != 0 {
		t.Errorf("the last process says that it learned %d, refused %d", st.Learned, st.Refused)
	}
}

// Progress that makes no sense is refused or passed over, and does no harm.
func TestImportRefuses(t *testing.T) {
	a := startNode(t, "a")
	testkit.Check(t, a.r.Import(Progress{}, affinity.Seed{}))
	for _, progress := range []Progress{
		{Instance: 1, Last: 5, Tail: []byte("x")},
		{Instance: 1, Last: 0, Tail: appendFacts(nil, []affinity.Fact{{Key: 1}})},
	} {
		if err := a.r.Import(progress, affinity.Seed{}); err == nil {
			t.Errorf("taken: %+v", progress)
		}
	}
	if progress := (&Replicator{}).Export(); progress.Instance != 0 {
		t.Error("a replicator that never ran has a past")
	}
}

// The ring of an heir goes on where that of the elder was.
func TestRingResumes(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 30} {
		r := newRing(8)
		var tail []affinity.Fact
		for i := range n {
			tail = append(tail, *numbered(uint64(100 - n + 1 + i)))
		}
		r.resume(100, tail, 5)
		kept := min(n, 7)
		r.push(numbered(101), 6)
		for last := range uint64(103) {
			want := last >= uint64(100-min(kept, 6)) && last <= 101 // one more has taken a slot
			if kept < 7 {
				want = last >= uint64(100-kept) && last <= 101
			}
			if r.holds(last) != want {
				t.Errorf("%d facts: holds %d: %v", n, last, !want)
			}
			facts, lost := r.read(last, make([]affinity.Fact, 0, 200))
			if want && last < 101 && (lost || facts[0] != *numbered(last + 1) || len(facts) != int(101-last)) {
				t.Errorf("%d facts: behind %d: %v, lost %v", n, last, facts, lost)
			}
			// The ring has one slot more than holds promises.
			if !want && last < 101 && !lost && (len(facts) != 8 || facts[0] != *numbered(last + 1)) {
				t.Errorf("%d facts: behind %d nothing is lost: %v", n, last, facts)
			}
		}
		if at := r.oldest(0); at == 0 {
			t.Errorf("%d facts: no oldest", n)
		}
	}
}
