package replica

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// wire forwards TCP to a node, and does to it what networks do.
type wire struct {
	t  *testing.T
	l  net.Listener
	to string

	mu       sync.Mutex
	conns    []net.Conn
	recorded bytes.Buffer  // from the dialer
	stop     chan struct{} // closed: what comes is not read any more
	refusing atomic.Bool
}

func newWire(t *testing.T, to *testNode) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, l: l, to: to.r.Addr().String(), stop: make(chan struct{})}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if w.refusing.Load() {
				conn.Close()
				continue
			}
			w.forward(conn)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		w.cut()
	})
	return w
}

func (w *wire) forward(in net.Conn) {
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		in.Close()
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, in, out)
	w.mu.Unlock()
	pump := func(to io.Writer, from net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err == nil {
				select {
				case <-w.stop:
					return // neither forwarded nor closed
				default:
					_, err = to.Write(buf[:n])
				}
			}
			if err != nil {
				in.Close()
				out.Close()
				return
			}
		}
	}
	go pump(io.MultiWriter(out, writerFunc(w.record)), in)
	go pump(in, out)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (w *wire) record(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.recorded.Write(b)
}

// cut closes all that is open.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// dead stops forwarding for ever, in both directions, and closes nothing.
func (w *wire) dead() { close(w.stop) }

// wired connects a, the dialer, to b over a wire.
func wired(t *testing.T, a, b *testNode) *wire {
	t.Helper()
	w := newWire(t, b)
	a.r.SetPeers([]Peer{{ID: b.r.cfg.Node, Addr: w.l.Addr().String()}})
	b.r.SetPeers([]Peer{a.peer()})
	testkit.Eventually(t, "streaming", func() bool {
		return a.peerStats("b").State == PeerStreaming && b.peerStats("a").State == PeerStreaming
	})
	return w
}

func TestThreeNodes(t *testing.T) {
	a, b, c := startNode(t, "a"), startNode(t, "b"), startNode(t, "c")
	a.learn(0, 50)
	mesh(a, b) // c is not there yet
	b.learn(50, 100)
	testkit.Eventually(t, "a and b the same", func() bool { return a.knows(0, 100) == 100 && b.knows(0, 100) == 100 })
	mesh(a, b, c)
	c.learn(100, 150)
	for _, n := range []*testNode{a, b, c} {
		testkit.Eventually(t, "all three the same", func() bool { return n.knows(0, 150) == 150 })
		if got := n.r.Stats().Learned; got != 50 {
			t.Errorf("%s learned %d facts: what it merged came back", n.r.cfg.Node, got)
		}
	}
	testkit.Eventually(t, "a new node is given the whole table", func() bool {
		return c.peerStats("a").Filled == 1 && a.peerStats("c").Resyncs == 1
	})
}

// TestAllKindsTravel: ticket keys with their sets, and client homes.
func TestAllKindsTravel(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	ticket := func(n *testNode, i byte) affinity.Ident {
		return n.pool.HashIdent(append([]byte("name of 16 bytes"), bytes.Repeat([]byte{i}, 100)...))
	}
	a.pool.Completed(5, 3, now())
	for i := range byte(2) {
		a.pool.IssuedTicket(ticket(a, i), 0, 3, now())
	}
	b.pool.IssuedTicket(ticket(b, 8), 0, 4, now())
	testkit.Eventually(t, "the key is known at b", func() bool { _, ok := b.pool.TicketKey(ticket(b, 9), 3, now()); return ok })
	b.pool.IssuedTicket(ticket(b, 9), 0, 4, now()) // one proof is enough now
	for _, n := range []*testNode{a, b} {
		testkit.Eventually(t, "two homes of the key", func() bool {
			o := affinity.Offer{Kind: affinity.OfferPSK}
			o.Add(ticket(n, 99))
			h := n.pool.Find(&o, now())
			return h.Source == affinity.SourceTicketKey && len(h.Set) == 2
		})
		testkit.Eventually(t, "the client's home", func() bool {
			o := affinity.Offer{Kind: affinity.OfferPSK, Client: 5}
			o.Add(n.pool.HashIdent([]byte("an unknown identity")))
			h := n.pool.Find(&o, now())
			return h.Source == affinity.SourceClient && h.ID == 3
		})
	}
}

func TestBreakAndResume(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	w := wired(t, a, b)
	a.learn(0, 100)
	testkit.Eventually(t, "all there", func() bool { return b.knows(0, 100) == 100 })
	w.refusing.Store(true)
	w.cut()
	testkit.Eventually(t, "the break is noticed", func() bool { return a.peerStats("b").State == PeerLost })
	a.learn(100, 300)
	b.learn(300, 400)
	if st := a.peerStats("b"); st.Unacked < 200 || st.Lag <= 0 {
		t.Errorf("lag: %+v", st)
	}
	w.refusing.Store(false)
	testkit.Eventually(t, "all there after the break",
		func() bool { return b.knows(0, 300) == 300 && a.knows(300, 400) == 100 })
	for _, st := range []PeerStats{a.peerStats("b"), b.peerStats("a")} {
		if st.Resyncs != 1 || st.Resumed != 1 || st.Overflow != 0 || st.Streams != 2 {
			t.Errorf("not resumed: %+v", st)
		}
	}
}

func TestOverflowResyncs(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	w := wired(t, a, b)
	w.refusing.Store(true)
	w.cut()
	testkit.Eventually(t, "the break is noticed", func() bool { return a.peerStats("b").State == PeerLost })
	n := len(a.r.ring.slots)
	a.learn(0, n+100)
	w.refusing.Store(false)
	testkit.Eventually(t, "all there after a resync", func() bool { return b.knows(0, n+100) == n+100 })
	if st := a.peerStats("b"); st.Resyncs != 2 || st.Overflow != 1 || st.Resumed != 0 {
		t.Errorf("%+v", st)
	}
	if st := b.peerStats("a"); st.Resumed != 1 {
		t.Errorf("the other direction did not resume: %+v", st)
	}
}

// TestSlowPeer: one that takes nothing costs nothing, is hung up on, and gets all once it is back.
func TestSlowPeer(t *testing.T) {
	quick := func(r *Config, _ *affinity.Config) {
		r.times.write, r.times.silence = time.Second, time.Second
	}
	a, b := startNode(t, "a", quick), startNode(t, "b")
	w := wired(t, a, b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w.dead()
	last := 0
	for end := time.Now().Add(20 * time.Second); a.peerStats("b").State != PeerLost; {
		a.learn(0, 10_000) // every one a new fact, also the second time
		last++
		if time.Now().After(end) {
			t.Fatal("a peer that takes nothing is not hung up on")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+4<<20 {
		t.Errorf("%d facts to a peer that takes none: the heap grew from %d to %d kB", last*10_000,
			before.HeapAlloc>>10, after.HeapAlloc>>10)
	}
	if a.peerStats("b").Overflow == 0 && a.peerStats("b").Unacked == 0 {
		t.Errorf("%+v", a.peerStats("b"))
	}
	healed := newWire(t, b)
	a.r.SetPeers([]Peer{{ID: "b", Addr: healed.l.Addr().String()}})
	testkit.Eventually(t, "all there", func() bool { return b.knows(0, 10_000) >= 9_990 })
}

// TestResyncUnderLoad: facts that are learned during a resync arrive, and it ends.
func TestResyncUnderLoad(t *testing.T) {
	big := func(r *Config, c *affinity.Config) { c.TableEntries = 200_000 }
	a, b := startNode(t, "a", big), startNode(t, "b", big)
	a.learn(0, 100_000)
	stop := make(chan struct{})
	var learned atomic.Int64
	learned.Store(100_000)
	var group sync.WaitGroup
	group.Go(func() {
		for i := 100_000; i < 150_000; i++ {
			select {
			case <-stop:
				return
			default:
				a.learn(i, i+1)
				learned.Store(int64(i + 1))
			}
		}
	})
	mesh(a, b)
	testkit.Eventually(t, "a resync ended", func() bool { return b.peerStats("a").Filled > 0 })
	close(stop)
	group.Wait()
	n := int(learned.Load())
	testkit.Eventually(t, "all there", func() bool { return b.knows(0, n) >= n-50 }) // a full bucket may lose one
	testkit.Eventually(t, "streaming", func() bool { return b.peerStats("a").State == PeerStreaming })
}

func TestWrongKey(t *testing.T) {
	a := startNode(t, "a")
	b := startNode(t, "b", func(r *Config, _ *affinity.Config) { r.NodeKeys = [][]byte{nodeKey(2)} })
	mesh(a, b)
	a.learn(0, 10)
	testkit.Eventually(t, "tried more than once", func() bool { return b.r.Stats().Refused > 2 })
	if b.knows(0, 10) != 0 || a.peerStats("b").Streams+b.peerStats("a").Streams != 0 {
		t.Error("a stream was opened")
	}
	if a.log.Lines("another node key") != 1 || b.log.Lines("level=WARN") != 1 {
		t.Errorf("a says:\n%s\nb says:\n%s", a.log, b.log)
	}
	// Trusting both, they meet.
	if err := b.r.SetNodeKeys([][]byte{nodeKey(1), nodeKey(2)}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "all there", func() bool { return b.knows(0, 10) == 10 })
	// And part when a is trusted no longer.
	if err := b.r.SetNodeKeys([][]byte{nodeKey(2)}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "parted", func() bool { return b.peerStats("a").State == PeerLost })
	a.learn(10, 20)
	refused := b.r.Stats().Refused
	testkit.Eventually(t, "refused again", func() bool { return b.r.Stats().Refused > refused })
	if b.knows(10, 20) != 0 {
		t.Error("facts under a key that is not trusted")
	}
	if err := b.r.SetNodeKeys(nil); err == nil {
		t.Error("no key at all passes")
	}
}

// TestReplayAndGarbage: what is not a handshake of a key holder changes nothing.
func TestReplayAndGarbage(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	w := wired(t, a, b)
	a.learn(0, 10)
	testkit.Eventually(t, "all there", func() bool { return b.knows(0, 10) == 10 })
	w.mu.Lock()
	replay := bytes.Clone(w.recorded.Bytes())
	w.mu.Unlock()
	merged := b.r.Stats().Merged
	for _, bytes := range [][]byte{replay, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 100_000), nil} {
		refused := b.r.Stats().Refused
		conn, err := net.Dial("tcp", b.r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(bytes) //nolint:errcheck // it may be hung up on in between
		if bytes == nil {
			conn.Close()
		}
		testkit.Eventually(t, "refused", func() bool { return b.r.Stats().Refused > refused })
		conn.Close()
	}
	if st := b.r.Stats(); st.Merged != merged || b.peerStats("a").State != PeerStreaming ||
		b.peerStats("a").Streams != 1 {
		t.Errorf("%+v", st)
	}
	for range 3 {
		conn, err := net.Dial("tcp", b.r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		refused := b.r.Stats().Refused
		conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")) //nolint:errcheck // as above
		testkit.Eventually(t, "refused", func() bool { return b.r.Stats().Refused > refused })
		conn.Close()
	}
	if n := b.log.Lines("does not look like a TLS handshake"); n != 1 {
		t.Errorf("the same thing said %d times:\n%s", n, b.log)
	}
}

// impostor speaks to node b with a good key and a protocol of its own.
func impostor(t *testing.T, b *testNode, frames ...[]byte) (answer byte) {
	t.Helper()
	cfg := b.r.credentials.Load().config()
	cfg.ServerName = "homing"
	conn, err := tls.Dial("tcp", b.r.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, f := range frames {
		conn.Write(f) //nolint:errcheck // it may be hung up on in between
	}
	var first [1]byte
	io.ReadFull(conn, first[:]) //nolint:errcheck // 0 says it
	io.Copy(io.Discard, conn)   //nolint:errcheck // until it hangs up
	return first[0]
}

func TestBrokenProtocol(t *testing.T) {
	hi := hello{helloHead{Instance: 1, Seed: affinity.Seed{Value: 7, Made: 1}}, "x"}
	good := hi.frame()
	mine := hi
	mine.Node = "b"
	fact := []affinity.Fact{{Kind: affinity.FactEntry, Key: 1, ID: 1, Time: now() + 100}}
	for _, tt := range []struct {
		sentence string
		frames   [][]byte
		says     string
	}{
		{"another version", [][]byte{{9, 1, 0, 0, 0, 0}}, "speaks another version, 9, and this node 2"},
		{"no hello", [][]byte{appendNumbers(nil, frameAck, 0, 0)}, "begins with ack"},
		{"a broken hello", [][]byte{appendNumbers(nil, frameHello, 0)}, "a hello of 8 bytes"},
		{"our own ID", [][]byte{mine.frame()}, "another node has the ID of this one"},
		{"two hellos", [][]byte{good, good}, "hello: in the middle of a stream"},
		{"an unknown frame", [][]byte{good, appendNumbers(nil, 77)}, "type 77: unknown to this version"},
		{"a gap", [][]byte{good, appendBatch(nil, frameFacts, 5, fact)}, "facts: sequence 5 after 0"},
		{
			"a missing part",
			[][]byte{good, appendNumbers(nil, frameResync, 0), appendBatch(nil, framePart, 2, fact)},
			"part: part 2 after 0",
		},
		{
			"an early end",
			[][]byte{good, appendNumbers(nil, frameResync, 0), appendNumbers(nil, frameDone, 3)},
			"done: 3 parts, 0 came",
		},
		{"an ack of the future", [][]byte{good, appendNumbers(nil, frameAck, 99, 0)}, "ack: sequence 99 of 0"},
		{"a broken ack", [][]byte{good, appendNumbers(nil, frameAck, 99)}, "ack: 8 bytes for 2 numbers"},
		{"a broken batch", [][]byte{good, appendNumbers(nil, frameFacts, 1, 1)}, "facts: a run of"},
	} {
		b := startNode(t, "b")
		if v := impostor(t, b, tt.frames...); v != protocolVersion && v != 0 {
			t.Errorf("%s: answered by version %d", tt.sentence, v)
		}
		testkit.Eventually(t, tt.sentence, func() bool { return b.log.Lines(tt.says) == 1 })
		if b.log.Lines("level=WARN") != 1 {
			t.Errorf("%s: said\n%s", tt.sentence, b.log)
		}
		b.stop()
	}
}

// TestSeedAdoption: nodes that meet with several seeds go on with one, and who had facts under another says that it
// sets them aside.
func TestSeedAdoption(t *testing.T) {
	seeded := func(made uint32) func(*Config, *affinity.Config) {
		return func(_ *Config, c *affinity.Config) { c.Seed, c.SeedMade = 1000+uint64(made), made }
	}
	a, b, c := startNode(t, "a", seeded(30)), startNode(t, "b", seeded(20)), startNode(t, "c", seeded(10))
	a.learn(0, 5)
	b.learn(5, 10)
	mesh(a, b)
	for _, n := range []*testNode{a, b} {
		testkit.Eventually(t, "both have facts: the older seed",
			func() bool { return n.store.Seed().Made == 20 && n.knows(5, 10) == 5 })
		if n.knows(0, 5) != 0 {
			t.Errorf("%s knows keys of a seed that is gone", n.r.cfg.Node)
		}
	}
	if a.log.Lines("level=INFO msg=\"seed of the cluster taken, what this node had learned alone is set aside\"") != 1 || a.log.Lines("level=WARN") != 0 || b.log.Lines("seed") != 0 {
		t.Errorf("a says:\n%sb says:\n%s", a.log, b.log)
	}
	c.learn(10, 15)
	mesh(a, b, c)
	testkit.Eventually(t, "an older seed that joins gives way to the cluster's",
		func() bool { return c.store.Seed().Made == 20 })
	testkit.Eventually(t, "c says so", func() bool { return c.log.Lines("had learned alone is set aside") == 1 })
	a.learn(20, 30)
	c.learn(30, 40)
	for _, n := range []*testNode{a, b, c} {
		testkit.Eventually(t, "they go on together", func() bool { return n.knows(5, 10)+n.knows(20, 40) == 25 })
	}
}

func TestYields(t *testing.T) {
	older, younger := affinity.Seed{Value: 2, Made: 1}, affinity.Seed{Value: 1, Made: 2}
	for _, tt := range []struct {
		sentence     string
		ours, theirs standing
		own, other   affinity.Seed
		want         bool
	}{
		{"two empty nodes keep the older seed", standingEmpty, standingEmpty, younger, older, true},
		{"so do two with facts", standingAlone, standingAlone, younger, older, true},
		{"and two clusters", standingMember, standingMember, younger, older, true},
		{"an empty node takes what one with facts has", standingEmpty, standingAlone, older, younger, true},
		{"a joining node takes what the cluster has", standingAlone, standingMember, older, younger, true},
	} {
		there := yields(tt.ours, tt.theirs, tt.own, tt.other)
		back := yields(tt.theirs, tt.ours, tt.other, tt.own)
		if there != tt.want || back == there {
			t.Errorf("%s: %v, and the other one %v", tt.sentence, there, back)
		}
	}
}

// TestClocksApart: expiries are shifted by what the clocks differ.
func TestClocksApart(t *testing.T) {
	ahead := 3600 * time.Second
	a := startNode(t, "a")
	b := startNode(t, "b", func(r *Config, _ *affinity.Config) {
		r.clock = func() time.Time { return time.Now().Add(ahead) }
	})
	mesh(a, b)
	a.learn(0, 1)                                 // lives 10 h
	b.pool.IssuedID(sessionKey(1), 2, now()+3600) // the same, by b's clock
	testkit.Eventually(t, "both there", func() bool { return a.knows(0, 2) == 2 && b.knows(0, 2) == 2 })
	lives := func(n *testNode, i int, at uint32) bool {
		o := affinity.Offer{Kind: affinity.OfferID, ID: sessionKey(i), HasID: true}
		return n.pool.Find(&o, at).Source == affinity.SourceSession
	}
	for i := range 2 {
		for n, at := range map[*testNode]uint32{a: now() + 10*3600, b: now() + 11*3600} {
			if !lives(n, i, at-60) || lives(n, i, at+60) {
				t.Errorf("entry %d at %s does not live 10 h by its clock", i, n.r.cfg.Node)
			}
		}
	}
}

func TestSkew(t *testing.T) {
	ours := time.Unix(1000, 0)
	for theirs, want := range map[float64]int64{1000: 0, 1001.4: 0, 998.6: 0, 1002.1: -2, 990: 10, 1e6: -999_000} {
		if got := skew(ours, int64(theirs*1e9)); got != want {
			t.Errorf("theirs %v: %d, want %d", theirs, got, want)
		}
	}
	if shift(5, -10) != 0 || shift(1<<32-5, 10) != 1<<32-1 || shift(5, 3) != 8 {
		t.Error("shift leaves the range")
	}
}

func TestSilentPeer(t *testing.T) {
	quick := func(r *Config, _ *affinity.Config) {
		r.times.beat, r.times.silence = 20*time.Millisecond, 200*time.Millisecond
	}
	a, b := startNode(t, "a", quick), startNode(t, "b", quick)
	w := wired(t, a, b)
	testkit.Eventually(t, "signs of life", func() bool { return a.peerStats("b").BytesIn > 500 })
	if st := a.peerStats("b"); st.State != PeerStreaming || st.Streams != 1 {
		t.Fatalf("an idle stream ended: %+v", st)
	}
	w.dead()
	testkit.Eventually(t, "hung up",
		func() bool { return a.peerStats("b").State == PeerLost && b.peerStats("a").State == PeerLost })
}

func TestReplicatorConfig(t *testing.T) {
	good := Config{Node: "a", Bind: "127.0.0.1:0", NodeKeys: [][]byte{nodeKey(1)}}
	for sentence, edit := range map[string]func(*Config){
		"no ID":         func(c *Config) { c.Node = "" },
		"no key":        func(c *Config) { c.NodeKeys = nil },
		"negative ring": func(c *Config) { c.Ring = -1 },
		"no address":    func(c *Config) { c.Bind = "nowhere" },
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s passes", sentence)
		}
	}
	r, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.ring.slots) != defaultRing || len(r.Stats().Peers) != 0 {
		t.Errorf("%+v", r.Stats())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestNothingIsLeftBehind: no goroutine survives its node.
func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	testkit.Eventually(t, "streaming", func() bool { return a.peerStats("b").State == PeerStreaming })
	a.stop()
	testkit.Eventually(t, "b notices", func() bool { return b.peerStats("a").State == PeerLost })
	b.stop()
	testkit.Eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestRefutationTravels: what one node's probe has found heals the others too, those that were away as well, and no old
// word of theirs undoes it; a later proof does.
func TestRefutationTravels(t *testing.T) {
	a, b, c := startNode(t, "a"), startNode(t, "b"), startNode(t, "c")
	ticket := func(n *testNode, i byte) affinity.Ident {
		return n.pool.HashIdent(append([]byte("name of 16 bytes"), bytes.Repeat([]byte{i}, 100)...))
	}
	key := ticket(a, 1).First
	homes := func(n *testNode, want ...uint32) func() bool {
		return func() bool {
			o := affinity.Offer{Kind: affinity.OfferPSK}
			o.Add(ticket(n, 99))
			h := n.pool.Find(&o, now())
			if len(want) == 1 {
				return h.ID == want[0]
			}
			return slices.Equal(slices.Sorted(slices.Values(h.Set)), want)
		}
	}
	began := now()
	for _, n := range []*testNode{a, c} { // c knows it by itself, and is away
		for i := range byte(2) {
			n.pool.Probed(ticket(n, i), 3, began)
			n.pool.Probed(ticket(n, i+2), 4, began)
		}
	}
	mesh(a, b)
	for _, n := range []*testNode{a, b, c} {
		if n != c {
			testkit.Eventually(t, "two homes", homes(n, 3, 4))
		}
	}
	a.pool.Refuted(key, 4, began)
	for _, n := range []*testNode{a, b} {
		testkit.Eventually(t, "one home", homes(n, 3))
	}
	testkit.Eventually(t, "c has two", homes(c, 3, 4))
	mesh(a, b, c)
	for _, n := range []*testNode{a, b, c} {
		testkit.Eventually(t, "one home everywhere", homes(n, 3))
	}
	testkit.Eventually(t, "a later second", func() bool { return now() > began })
	c.pool.Probed(ticket(c, 7), 4, now())
	for _, n := range []*testNode{a, b, c} {
		testkit.Eventually(t, "two homes again", homes(n, 3, 4))
	}
}
