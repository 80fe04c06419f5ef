package replica

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// testNode is one node's store and replicator, running.
type testNode struct {
	t     testing.TB
	r     *Replicator
	store *affinity.Store
	pool  *affinity.Pool
	log   *testkit.Log
	stop  func()
}

func nodeKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// startNode starts a node; edit may change its configuration.
func startNode(t testing.TB, id string, edit ...func(*Config, *affinity.Config)) *testNode {
	t.Helper()
	n := &testNode{t: t, log: new(testkit.Log)}
	cfg := Config{
		Node: id, Bind: "127.0.0.1:0", NodeKeys: [][]byte{nodeKey(1)}, Ring: 1 << 12, times: realTimes(),
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	cfg.times.redial, cfg.times.most, cfg.times.resync = time.Millisecond, 10*time.Millisecond, time.Millisecond
	scfg := affinity.Config{Seed: 7, SeedMade: 1, TableEntries: 20_000, ClientEntries: 2000}
	for _, e := range edit {
		e(&cfg, &scfg)
	}
	var err error
	if n.r, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	scfg.Fact = n.r.Learned
	if n.store, err = affinity.NewStore(scfg); err != nil {
		t.Fatal(err)
	}
	n.pool = n.store.Pool(1)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { n.store.Run(ctx) })
	group.Go(func() { n.r.Run(ctx, n.store) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func (n *testNode) peer() Peer { return Peer{ID: n.r.cfg.Node, Addr: n.r.Addr().String()} }

// mesh tells every node of all.
func mesh(nodes ...*testNode) {
	for _, n := range nodes {
		var others []Peer
		for _, o := range nodes {
			if o != n {
				others = append(others, o.peer())
			}
		}
		n.r.SetPeers(others)
	}
}

func now() uint32 { return uint32(time.Now().Unix()) }

// learn issues session IDs first to last-1 at this node, by backend 1+i%9.
func (n *testNode) learn(first, last int) {
	for i := first; i < last; i++ {
		n.pool.IssuedID(sessionKey(i), uint32(1+i%9), now())
	}
}

func sessionKey(i int) affinity.Key { return affinity.Key(uint64(i+1) * 0x9e3779b97f4a7c15) }

// knows is how many of these session IDs the node routes to the right backend.
func (n *testNode) knows(first, last int) (known int) {
	for i := first; i < last; i++ {
		o := affinity.Offer{Kind: affinity.OfferID, ID: sessionKey(i), HasID: true}
		if h := n.pool.Find(&o, now()); h.Source == affinity.SourceSession && h.ID == uint32(1+i%9) {
			known++
		}
	}
	return known
}

// peerStats is what n says of a peer; the zero value if it has none of that ID.
func (n *testNode) peerStats(id string) PeerStats {
	for _, p := range n.r.Stats().Peers {
		if p.ID == id {
			return p
		}
	}
	return PeerStats{}
}

func TestTwoNodesShareAnEntry(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	testkit.Eventually(t, "streaming", func() bool {
		return a.peerStats("b").State == PeerStreaming && b.peerStats("a").State == PeerStreaming
	})
	a.learn(0, 1)
	b.learn(1, 2)
	testkit.Eventually(t, "a's entry at b, and b's at a", func() bool { return b.knows(0, 1) == 1 && a.knows(1, 2) == 1 })
	testkit.Eventually(t, "acknowledged", func() bool { return a.peerStats("b").Unacked == 0 && b.peerStats("a").Unacked == 0 })
	if st := a.peerStats("b"); st.Lag != 0 || st.FactsOut != 1 || st.FactsIn != 1 || st.Streams != 1 {
		t.Errorf("a says of b: %+v", st)
	}
	if b.r.Stats().Learned != 1 {
		t.Errorf("what b merged came back as its own: %+v", b.r.Stats())
	}
}
