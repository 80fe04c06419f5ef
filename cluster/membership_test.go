package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/bench/testkit"
)

// testMember is a member with its Run, on a free port of loopback.
type testMember struct {
	*Membership
	stop  func() // ends Run
	crash func() // ends it without a word; may be called more than once
}

func loopback() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:0") }

// startMember starts a member that knows the seeds, and ends it with the test.
func startMember(t *testing.T, cfg Config, seeds ...*testMember) *testMember {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = NewID()
	}
	if !cfg.Bind.IsValid() {
		cfg.Bind = loopback()
	}
	if cfg.Meta.Role == 0 {
		cfg.Meta = Meta{Role: RoleNode, State: StateServing}
	}
	for _, seed := range seeds {
		cfg.Join = append(cfg.Join, seed.Addr().String())
	}
	m, err := Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return runMember(t, m)
}

// runMember runs a member, and ends it with the test.
func runMember(t *testing.T, m *Membership) *testMember {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-done
	}
	member := &testMember{Membership: m, stop: stop, crash: sync.OnceFunc(func() {
		stop()
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(member.crash)
	return member
}

func (m *testMember) sees(id string, is func(Member) bool) bool {
	return slices.ContainsFunc(m.Members(), func(one Member) bool { return one.ID == id && is(one) })
}

func alive(m Member) bool { return m.Alive }

func (m *testMember) leave(t *testing.T) {
	t.Helper()
	m.stop()
	if err := m.Leave(4 * time.Second); err != nil {
		t.Error(err)
	}
	m.crash()
}

func ringOf(t *testing.T, keys ...[]byte) *Keyring {
	t.Helper()
	r, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func announcing(backend string, started int64) Config {
	return Config{Meta: Meta{Role: RoleAgent, State: StateServing, Announced: Announcement{
		Pool: "web", Backend: netip.MustParseAddrPort(backend), Weight: 1, Started: started,
	}}}
}

// TestMembership: what a member says of itself is known to all, a departure is told from a crash.
func TestMembership(t *testing.T) {
	t.Parallel()
	a := startMember(t, Config{Keys: ringOf(t, key(1)), Label: "l"})
	b := startMember(t, Config{Keys: ringOf(t, key(1)), Label: "l"}, a)
	cfg := announcing("127.0.0.1:443", 1)
	cfg.Keys, cfg.Label = ringOf(t, key(1)), "l"
	agent := startMember(t, cfg, a)
	for _, m := range []*testMember{a, b} {
		testkit.Eventually(t, "all see all", func() bool { return len(m.Members()) == 2 && m.sees(agent.cfg.ID, alive) })
	}
	if got := a.Members(); !slices.IsSortedFunc(got, func(x, y Member) int { return strings.Compare(x.ID, y.ID) }) {
		t.Errorf("not sorted: %v", got)
	}
	if err := agent.Update(func(m *Meta) { m.State = StateDraining }); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the news are everywhere", func() bool {
		draining := func(m Member) bool { return m.Meta.State == StateDraining }
		return a.sees(agent.cfg.ID, draining) && b.sees(agent.cfg.ID, draining)
	})
	if err := agent.Update(func(m *Meta) { m.Announced.Weight = 0 }); err == nil {
		t.Error("what is not valid was taken")
	}
	if got := agent.Self().Meta; got.State != StateDraining || got.Announced.Weight != 1 || len(got.Keys) != 1 {
		t.Errorf("it says of itself %+v", got)
	}
	agent.leave(t)
	for _, m := range []*testMember{a, b} {
		testkit.Eventually(t, "who left is forgotten", func() bool { return len(m.Members()) == 1 })
	}
	b.crash()
	testkit.Eventually(t, "who crashed is remembered", func() bool {
		return a.sees(b.cfg.ID, func(m Member) bool { return !m.Alive })
	})
	again := startMember(t, Config{ID: b.cfg.ID, Keys: ringOf(t, key(1)), Label: "l"}, a)
	testkit.Eventually(t, "it is back, at another port", func() bool {
		return a.sees(b.cfg.ID, func(m Member) bool { return m.Alive && m.Addr == again.Addr() })
	})
}

// TestMembershipNewName: a node without a state directory comes back with another name, and its old one is forgotten.
func TestMembershipNewName(t *testing.T) {
	t.Parallel()
	a := startMember(t, Config{})
	b := startMember(t, Config{}, a)
	testkit.Eventually(t, "they met", func() bool { return a.sees(b.cfg.ID, alive) })
	addr := b.Addr()
	b.crash()
	testkit.Eventually(t, "it vanished", func() bool { return a.sees(b.cfg.ID, func(m Member) bool { return !m.Alive }) })
	again := startMember(t, Config{Bind: addr}, a)
	testkit.Eventually(t, "there is one of them", func() bool {
		members := a.Members()
		return len(members) == 1 && members[0].ID == again.cfg.ID && members[0].Alive
	})
}

// TestMembershipApart: another key, no key, another label: strangers stay strangers, and the log says so, once.
func TestMembershipApart(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	a := startMember(t, Config{Keys: ringOf(t, key(1)), Label: "l", Log: slog.New(slog.NewTextHandler(&log, nil))})
	strangers := []*testMember{
		startMember(t, Config{Keys: ringOf(t, key(2)), Label: "l"}, a),
		startMember(t, Config{Label: "l"}, a),
		startMember(t, Config{Keys: ringOf(t, key(1)), Label: "other"}, a),
	}
	defer func() {
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	testkit.Eventually(t, "the log says why", func() bool {
		text := log.String()
		return strings.Contains(text, "no installed keys could decrypt the message") &&
			strings.Contains(text, "unacceptable label")
	})
	friend := startMember(t, Config{Keys: ringOf(t, key(3), key(1)), Label: "l"}, a)
	if err := friend.cfg.Keys.Use(PrintOf(key(1))); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a friend comes in", func() bool { return a.sees(friend.cfg.ID, alive) })
	for _, s := range strangers {
		if a.sees(s.cfg.ID, alive) || len(s.Members()) > 0 {
			t.Errorf("a stranger came in, it sees %v", s.Members())
		}
	}
	if n := strings.Count(log.String(), "no installed keys"); n > 2 { // by packet and by stream
		t.Errorf("the log says it %d times", n)
	}
}

// TestCreateRefuses is what no member is made of.
func TestCreateRefuses(t *testing.T) {
	good := func() Config {
		return Config{ID: "a", Bind: loopback(), Meta: Meta{Role: RoleNode, State: StateServing}}
	}
	for _, tt := range []struct {
		why    string
		change func(*Config)
		want   string
	}{
		{
			"no key beyond loopback", func(c *Config) { c.Bind = netip.MustParseAddrPort("192.0.2.1:7946") },
			ErrNoKey.Error(),
		},
		{"no address", func(c *Config) { c.Bind = netip.AddrPort{} }, "no address"},
		{
			"an address that nobody can dial",
			func(c *Config) { c.Bind, c.Insecure = netip.MustParseAddrPort("0.0.0.0:7946"), true }, "cannot dial",
		},
		{"no name", func(c *Config) { c.ID = "" }, "ID"},
		{"a long label", func(c *Config) { c.Label = strings.Repeat("x", 256) }, "label"},
		{"no role", func(c *Config) { c.Meta.Role = 0 }, "role"},
		{
			"an address of somebody else",
			func(c *Config) { c.Bind, c.Insecure = netip.MustParseAddrPort("192.0.2.1:0"), true }, "192.0.2.1",
		},
	} {
		cfg := good()
		tt.change(&cfg)
		m, err := Create(cfg)
		if err == nil {
			t.Errorf("%s: it started: %v", tt.why, m.Shutdown())
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.why, err, tt.want)
		}
	}
	cfg := good()
	cfg.Bind = netip.MustParseAddrPort("10.0.0.1:7946")
	if err := cfg.check(); !errors.Is(err, ErrNoKey) {
		t.Errorf("%v", err)
	}
	cfg.Insecure = true
	if err := cfg.check(); err != nil {
		t.Errorf("told so explicitly: %v", err)
	}
	cfg.Insecure, cfg.Keys = false, ringOf(t, key(1))
	if err := cfg.check(); err != nil {
		t.Errorf("with a key: %v", err)
	}
}

// TestKeyRotation: a cluster of three nodes and an agent changes its key, and nobody is lost meanwhile.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	nodeKeys, before, after := [][]byte{key(100)}, key(1), key(2)
	var kept sync.Map
	var nodes []*testMember
	for i := range 3 {
		cfg := Config{
			Keys: ringOf(t, before), NodeKeys: nodeKeys,
			KeysChanged: func(keys [][]byte) { kept.Store(i, keys) },
		}
		nodes = append(nodes, startMember(t, cfg, nodes...))
	}
	agentConfig := announcing("127.0.0.1:443", 1)
	agentConfig.Keys = ringOf(t, before)
	agent := startMember(t, agentConfig, nodes...)
	all := append(slices.Clone(nodes), agent)
	whole := func() bool {
		return !slices.ContainsFunc(all, func(m *testMember) bool {
			return len(m.Members()) != 3 ||
				slices.ContainsFunc(m.Members(), func(one Member) bool { return !one.Alive })
		})
	}
	testkit.Eventually(t, "all see all", whole)
	command := func(c Order) ([]Answer, error) {
		t.Helper()
		sealed, err := c.Seal(nodeKeys[0], time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return nodes[0].Command(t.Context(), sealed)
	}
	follow := func(what string, keys ...[]byte) {
		t.Helper()
		testkit.Eventually(t, what, func() bool {
			return !slices.ContainsFunc(nodes,
				func(m *testMember) bool { return !slices.EqualFunc(m.cfg.Keys.Keys(), keys, bytes.Equal) })
		})
		if !whole() {
			t.Errorf("%s: somebody is missing", what)
		}
	}

	if r, err := command(Order{Op: OpKeyAdd, Key: after}); err != nil || len(r) != 3 ||
		slices.ContainsFunc(r, func(a Answer) bool { return a.Error != "" }) {
		t.Fatalf("%+v, %v", r, err)
	}
	follow("every node has the new key", before, after)
	if _, err := command(Order{Op: OpKeyUse, Print: PrintOf(after)}); err == nil ||
		!strings.Contains(err.Error(), "agent "+agent.cfg.ID) {
		t.Fatalf("the agent would be cut off: %v", err)
	}
	if err := errors.Join(agent.cfg.Keys.Replace([][]byte{after, before}), agent.Update(func(*Meta) {})); err != nil { // its file changed
		t.Fatal(err)
	}
	if _, err := command(Order{Op: OpKeyUse, Print: PrintOf(after)}); err != nil {
		t.Fatal(err)
	}
	follow("every node uses the new key", after, before)
	sealed, err := (&Order{Op: OpKeyRemove, Print: PrintOf(before)}).Seal(nodeKeys[0], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[1].Command(t.Context(), sealed); err != nil { // any node will do
		t.Fatal(err)
	}
	follow("the old key is gone", after)
	if _, err := nodes[1].Command(t.Context(), sealed); err == nil || !strings.Contains(err.Error(), "given before") {
		t.Errorf("a replay: %v", err)
	}
	if _, err := agent.Command(t.Context(), sealed); err == nil {
		t.Error("an agent took a command")
	}
	late := startMember(t, Config{Keys: ringOf(t, after)}, nodes[2])
	testkit.Eventually(t, "who knows the new key only comes in", func() bool { return nodes[0].sees(late.cfg.ID, alive) })
	for i := range nodes {
		if keys, _ := kept.Load(i); !slices.EqualFunc(keys.([][]byte), [][]byte{after}, bytes.Equal) {
			t.Errorf("node %d keeps %d keys", i, len(keys.([][]byte)))
		}
	}
}

// TestPartitionHeals parts two halves until they take each other for dead and forget each other, as memberlist does
// after 30 s if it is not told a shorter time, and lets the rejoin mechanism bring them together, although nobody is a
// seed of anybody any more.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	wall := &wall{}
	start := func(side string, seeds ...*testMember) *testMember {
		return startMember(t, Config{Transport: wall.transport(t, side), forget: time.Millisecond}, seeds...)
	}
	west := start("west")
	east := start("east", west)
	testkit.Eventually(t, "they met", func() bool { return west.sees(east.cfg.ID, alive) && east.sees(west.cfg.ID, alive) })
	wall.set(true)
	testkit.Eventually(t, "they lost each other",
		func() bool { return !west.sees(east.cfg.ID, alive) && !east.sees(west.cfg.ID, alive) })
	// memberlist forgets the dead when it has probed all others, which takes less than a second here.
	dials := wall.dials.Load()
	testkit.Eventually(t, "they dial in vain", func() bool { return wall.dials.Load() >= dials+4 })
	wall.set(false)
	testkit.Eventually(t, "they met again",
		func() bool { return west.sees(east.cfg.ID, alive) && east.sees(west.cfg.ID, alive) })
}

// wall is a network of two sides that can be parted.
type wall struct {
	mu    sync.Mutex
	up    bool
	dials atomic.Int64      // that met the wall
	sides map[string]string // by address
}

func (w *wall) set(up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = up
}

func (w *wall) parts(side, addr string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up && w.sides[addr] != side
}

// transport is TCP and UDP on loopback, on one side of the wall.
func (w *wall) transport(t *testing.T, side string) memberlist.Transport {
	t.Helper()
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{"127.0.0.1"}, Logger: slog.NewLogLogger(slog.DiscardHandler, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sides == nil {
		w.sides = make(map[string]string)
	}
	w.sides[fmt.Sprintf("127.0.0.1:%d", inner.GetAutoBindPort())] = side
	return &walled{NetTransport: inner, wall: w, side: side}
}

func nodeKey(b byte) []byte { return bytes.Repeat([]byte{b}, KeyBytes) }
