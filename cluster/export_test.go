//go:build linux

package cluster

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
)

// again is a listener's socket a second time, as another process gets it.
func again(t *testing.T, listener net.Listener) *net.TCPListener {
	t.Helper()
	file, err := listener.(*net.TCPListener).File()
	check(t, err)
	defer file.Close()
	copied, err := net.FileListener(file)
	check(t, err)
	return copied.(*net.TCPListener)
}

func (s *GossipSockets) again(t *testing.T) *GossipSockets {
	t.Helper()
	file, err := s.UDP.File()
	check(t, err)
	defer file.Close()
	copied, err := net.FilePacketConn(file)
	check(t, err)
	return &GossipSockets{TCP: again(t, s.TCP), UDP: copied.(*net.UDPConn)}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A node's process is replaced five times in a row: to the others nothing happens, and what the newest says of itself
// counts, which shows that its incarnation is the highest.
func TestMemberIsReplaced(t *testing.T) {
	t.Parallel()
	log := new(safeBuffer)
	peer := startMember(t, Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	elder := startMember(t, Config{ID: "node"}, peer)
	agent := startMember(t, announcing("127.0.0.1:443", 1), peer)
	for _, m := range []*testMember{peer, elder} {
		eventually(t, "all see all", func() bool { return len(m.Members()) == 2 })
	}
	states := []State{StateDraining, StateServing, StateDraining, StateServing, StateDraining}
	check(t, elder.Update(func(m *Meta) { m.Version = "0" }))
	for i, state := range states {
		cfg := Config{ID: "node", Bind: elder.Addr(), Sockets: elder.Sockets().again(t), Meta: elder.Self().Meta}
		heir, err := Create(cfg)
		check(t, err)
		if heir.Addr() != elder.Addr() {
			t.Errorf("the heir is at %s, not %s", heir.Addr(), elder.Addr())
		}
		heir.Inherit(elder.Bequeath())
		if got := heir.Members(); len(got) != 2 || slices.ContainsFunc(got, alive) {
			t.Errorf("the heir begins with %v", got)
		}
		elder.crash()
		elder = runMember(t, heir)
		eventually(t, "the heir meets all", func() bool { return elder.sees(peer.cfg.ID, alive) && elder.sees(agent.cfg.ID, alive) })
		check(t, elder.Update(func(m *Meta) { m.State = state; m.Version = strings.Repeat("1", i+1) }))
		eventually(t, "its word counts", func() bool {
			return peer.sees("node", func(m Member) bool { return m.Meta.State == state && len(m.Meta.Version) == i+1 })
		})
	}
	for _, word := range []string{"vanished", "left", "refused"} {
		if n := log.lines(word); n > 0 {
			t.Errorf("%s:\n%s", word, log)
		}
	}
	if n := log.lines("member joined"); n != 2 {
		t.Errorf("%d members joined, want 2:\n%s", n, log)
	}
}

// A heir that never runs takes nothing away: the elder still hears.
func TestMemberHeirThatFails(t *testing.T) {
	t.Parallel()
	peer := startMember(t, Config{})
	elder := startMember(t, Config{}, peer)
	eventually(t, "they met", func() bool { return elder.sees(peer.cfg.ID, alive) })
	heir, err := Create(Config{ID: elder.cfg.ID, Bind: elder.Addr(), Sockets: elder.Sockets().again(t), Meta: elder.Self().Meta})
	check(t, err)
	late := startMember(t, Config{}, elder)
	eventually(t, "the elder takes members in", func() bool { return elder.sees(late.cfg.ID, alive) })
	check(t, heir.Shutdown())
	check(t, heir.Shutdown())
	later := startMember(t, Config{}, elder)
	eventually(t, "still", func() bool { return elder.sees(later.cfg.ID, alive) })
	if _, err := Create(Config{Bind: elder.Addr(), Sockets: elder.Sockets().again(t)}); err == nil {
		t.Error("a member without a name was made")
	}
}

// Commands that were obeyed are not obeyed again by the heir.
func TestMemberInheritsNonces(t *testing.T) {
	elder := startMember(t, Config{NodeKeys: [][]byte{nodeKey(1)}})
	sealed, err := (&KeyCommand{Op: KeyAdd, Key: NewKey()}).Seal(nodeKey(1), time.Now())
	check(t, err)
	_, _ = elder.apply(sealed, false) // it has no keyring: refused, but after it was taken for given
	heir := startMember(t, Config{NodeKeys: [][]byte{nodeKey(1)}})
	heir.Inherit(elder.Bequeath())
	if _, err := heir.apply(sealed, false); err == nil || !strings.Contains(err.Error(), "given before") {
		t.Errorf("the heir says %v", err)
	}
	legacy := MemberLegacy{Commands: map[string]time.Time{"zz": time.Now(), "00": time.Now()}}
	heir.Inherit(legacy)
	if len(heir.replays.seen) != 1 {
		t.Errorf("%d nonces", len(heir.replays.seen))
	}
}

// heirNode is the process that replaces a test node: with the same tables and socket, and its facts held back.
func heirNode(t *testing.T, elder *testNode) (n *testNode, hook *atomic.Pointer[func(affinity.Fact)]) {
	t.Helper()
	n, hook = &testNode{t: t, log: elder.log}, new(atomic.Pointer[func(affinity.Fact)])
	cfg := elder.r.cfg
	cfg.Listener = again(t, elder.r.Listener())
	var err error
	n.r, err = NewReplicator(cfg)
	check(t, err)
	seed := elder.store.Seed()
	scfg := affinity.Config{Seed: seed.Value, SeedMade: seed.Made, TableEntries: 20_000, ClientEntries: 2000}
	scfg.Fact = func(f affinity.Fact) { (*hook.Load())(f) }
	scfg.Inherit, err = elder.store.Share()
	check(t, err)
	n.store, err = affinity.NewStore(scfg)
	check(t, err)
	if !n.store.Whole() {
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
	eventually(t, "streaming", func() bool { return a.peerStats("b").State == PeerStreaming && b.peerStats("a").State == PeerStreaming })
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
		check(t, heir.r.Inherit(a.r.Bequeath(), seed))
		hook.Store(new(heir.r.Learned))
		heir.r.Take(held)
		a = heir
		mesh(a, b)
		a.run()
		learning.Wait()
		eventually(t, "all is at b, and all of b's here", func() bool {
			return b.knows(0, first+step) == first+step && a.knows(far, far+first+step) == first+step
		})
		eventually(t, "acknowledged", func() bool { return a.peerStats("b").Unacked == 0 && b.peerStats("a").Unacked == 0 })
	}
	if ab, ba := a.peerStats("b"), b.peerStats("a"); ab.Resyncs != 0 || ba.Resyncs != 1 || ba.Filled != 1 {
		t.Errorf("the whole table was sent again: a says of b %+v, b of a %+v", ab, ba)
	}
	if st := a.r.Stats(); st.Learned != 10 || st.Refused != 0 {
		t.Errorf("the last process says that it learned %d, refused %d", st.Learned, st.Refused)
	}
}

// A legacy that makes no sense is refused or passed over, and does no harm.
func TestReplicatorInheritRefuses(t *testing.T) {
	a := startNode(t, "a")
	check(t, a.r.Inherit(ReplicatorLegacy{}, affinity.Seed{}))
	for _, legacy := range []ReplicatorLegacy{
		{Instance: 1, Last: 5, Tail: []byte("x")},
		{Instance: 1, Last: 0, Tail: appendFacts(nil, []affinity.Fact{{Key: 1}})},
	} {
		if err := a.r.Inherit(legacy, affinity.Seed{}); err == nil {
			t.Errorf("taken: %+v", legacy)
		}
	}
	if legacy := (&Replicator{}).Bequeath(); legacy.Instance != 0 {
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
