package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

// town is a Directory that a test writes.
type town struct {
	mu        sync.Mutex
	members   []Member
	forgotten []string
}

func (d *town) Members() []Member {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.members)
}

func (d *town) Forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgotten = append(d.forgotten, id)
	d.members = slices.DeleteFunc(d.members, func(m Member) bool { return m.ID == id })
}

func (d *town) set(members ...Member) { d.members = members }

// agentAt is a live agent on the host of its backend, in the pool "web".
func agentAt(id, backend string, started int64) Member {
	addr := netip.MustParseAddrPort(backend)
	return Member{
		ID: id, Addr: netip.AddrPortFrom(addr.Addr(), 7946), Alive: true,
		Meta: Meta{
			Role: RoleAgent, State: StateServing,
			Announced: Announcement{Pool: "web", Backend: addr, Weight: 1, Started: started},
		},
	}
}

func in(m Member, state State) Member    { m.Meta.State = state; return m }
func gone(m Member) Member               { m.Alive = false; return m }
func weighing(m Member, w uint16) Member { m.Meta.Announced.Weight = w; return m }

func webPool(t *testing.T, specs ...pool.Spec) *pool.Pool {
	t.Helper()
	return discoverPool(t, "web", specs...)
}

func discoverPool(t *testing.T, name string, specs ...pool.Spec) *pool.Pool {
	t.Helper()
	p, err := pool.New(name, specs, pool.Options{Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// show is a pool in words: address, weight, and what is not as usual.
func show(p *pool.Pool) string {
	var words []string
	for _, b := range p.Snapshot().All() {
		word := b.Addr.String() + strings.Repeat("+", b.Weight()-1)
		if b.Draining() != pool.DrainOff {
			word += " draining"
		}
		if !b.Up() {
			word += " down"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// TestDiscovery is a history: after each step the pool is as it says.
func TestDiscovery(t *testing.T) {
	p := webPool(t, pool.Spec{Addr: "192.0.2.1:443", Weight: 2})
	d := &town{}
	discovery := NewDiscovery(d, DiscoverConfig{Pools: []DiscoverPool{{Pool: p}}})
	one, two := agentAt("a", "192.0.2.2:443", 1), agentAt("b", "192.0.2.3:443", 1)
	second := func() *pool.Backend { return p.Snapshot().All()[1] }
	for _, step := range []struct {
		why  string
		do   func()
		want string
	}{
		{"nobody yet", func() {}, "192.0.2.1:443+"},
		{"an agent whose server does not run yet", func() { d.set(in(one, StateDown)) }, "192.0.2.1:443+"},
		{"its server runs", func() { d.set(one) }, "192.0.2.1:443+, 192.0.2.2:443"},
		{"another", func() { d.set(one, weighing(two, 3)) }, "192.0.2.1:443+, 192.0.2.2:443, 192.0.2.3:443++"},
		{
			"it changes its weight", func() { d.set(one, weighing(two, 2)) },
			"192.0.2.1:443+, 192.0.2.2:443, 192.0.2.3:443+",
		},
		{
			"one drains", func() { d.set(in(one, StateDraining), two) },
			"192.0.2.1:443+, 192.0.2.2:443 draining, 192.0.2.3:443",
		},
		{"and serves again", func() { d.set(one, two) }, "192.0.2.1:443+, 192.0.2.2:443, 192.0.2.3:443"},
		{"one leaves", func() { d.set(in(one, StateLeaving), two) }, "192.0.2.1:443+, 192.0.2.3:443"},
		{"and is gone", func() { d.set(two) }, "192.0.2.1:443+, 192.0.2.3:443"},
		{"an agent is killed: its server may well be up", func() { d.set(gone(two)) }, "192.0.2.1:443+, 192.0.2.3:443"},
		{"it is not", func() { p.SetUp(second(), false, "checks say so") }, "192.0.2.1:443+"},
		{"the agent is back", func() { d.set(two) }, "192.0.2.1:443+, 192.0.2.3:443"},
		{
			"one that runs again, the one before not yet given up",
			func() { d.set(weighing(two, 5), weighing(agentAt("c", "192.0.2.3:443", 2), 4)) },
			"192.0.2.1:443+, 192.0.2.3:443+++",
		},
		{
			"the one before is",
			func() { d.set(gone(weighing(two, 5)), weighing(agentAt("c", "192.0.2.3:443", 2), 4)) },
			"192.0.2.1:443+, 192.0.2.3:443+++",
		},
		{
			"the word of who is there counts",
			func() { d.set(gone(agentAt("b", "192.0.2.3:443", 9)), agentAt("c", "192.0.2.3:443", 2)) },
			"192.0.2.1:443+, 192.0.2.3:443",
		},
		{
			"an announced address that is given too: the settings given win",
			func() { d.set(weighing(agentAt("d", "192.0.2.1:443", 1), 9)) }, "192.0.2.1:443+",
		},
		{
			"but it may drain", func() { d.set(in(agentAt("d", "192.0.2.1:443", 1), StateDraining)) },
			"192.0.2.1:443+ draining",
		},
		{"and it stays when its agent leaves", func() { d.set() }, "192.0.2.1:443+"},
	} {
		step.do()
		discovery.apply()
		if got := show(p); got != step.want {
			t.Errorf("%s: %s, want %s", step.why, got, step.want)
		}
	}
	if !slices.Contains(d.forgotten, "b") {
		t.Errorf("forgotten: %v", d.forgotten)
	}
}

func TestDiscoveryRefuses(t *testing.T) {
	var log bytes.Buffer
	p := webPool(t)
	other, err := pool.New("closed", []pool.Spec{{Addr: "192.0.2.9:443"}}, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := agentAt("elsewhere", "192.0.2.2:443", 1)
	elsewhere.Addr = netip.MustParseAddrPort("192.0.2.3:7946")
	closed := agentAt("closed", "192.0.2.2:443", 1)
	closed.Meta.Announced.Pool = other.Name()
	node := Member{ID: "node", Alive: true, Meta: Meta{Role: RoleNode, State: StateServing}}
	within := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		why    string
		from   []netip.Prefix
		member Member
		ok     bool
		log    string
	}{
		{"its own address", nil, agentAt("own", "192.0.2.2:443", 1), true, ""},
		{"another's", nil, elsewhere, false, "not the agent's own address 192.0.2.3"},
		{"a network that is allowed", within, agentAt("in", "198.51.100.7:443", 1), true, ""},
		{"the other one", within, agentAt("in6", "[2001:db8:7::1]:443", 1), true, ""},
		{
			"no network that is allowed, though its own", within, agentAt("out", "192.0.2.2:443", 1), false,
			"in no network of --discover-from",
		},
		{"a pool that takes none", nil, closed, false, `no pool \"closed\" takes`},
		{"a node", nil, node, false, ""},
	} {
		log.Reset()
		d := &town{members: []Member{tt.member}}
		discovery := NewDiscovery(d,
			DiscoverConfig{
				Pools: []DiscoverPool{{Pool: p, From: tt.from}},
				Log:   slog.New(slog.NewTextHandler(&log, nil)),
			})
		discovery.apply()
		discovery.apply()
		if got := len(p.Snapshot().All()) == 1; got != tt.ok {
			t.Errorf("%s: %s", tt.why, show(p))
		}
		if n := strings.Count(log.String(), "an announcement is refused"); tt.log != "" &&
			(n != 1 || !strings.Contains(log.String(), tt.log)) {
			t.Errorf("%s: logged %d times, want %q once:\n%s", tt.why, n, tt.log, log.String())
		}
		if accepted, refused := discovery.Stats(); (accepted == 1) != tt.ok || (refused == 1) != (tt.log != "") {
			t.Errorf("%s: %d accepted, %d refused", tt.why, accepted, refused)
		}
		d.set()
		discovery.apply()
	}
}

// TestDiscoveryByGossip takes the whole way: an agent joins, drains, is killed; one leaves; conns stay.
func TestDiscoveryByGossip(t *testing.T) {
	t.Parallel()
	type side struct {
		*testMember
		pool *pool.Pool
	}
	var sides []side
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	for range 2 {
		p := webPool(t)
		var discovery *Discovery
		ready := make(chan struct{})
		cfg := Config{Keys: ringOf(t, key(1)), Changed: func() { <-ready; discovery.Wake() }}
		if len(sides) > 0 {
			cfg.Join = []string{sides[0].Addr().String()}
		}
		m := startMember(t, cfg)
		discovery = NewDiscovery(m, DiscoverConfig{Pools: []DiscoverPool{{Pool: p}}})
		close(ready)
		running.Go(func() { discovery.Run(ctx) })
		sides = append(sides, side{m, p})
	}
	agent := func(backend string, started int64) *testMember {
		cfg := announcing(backend, started)
		cfg.Keys = ringOf(t, key(1))
		return startMember(t, cfg, sides[0].testMember)
	}
	both := func(want string) func() bool {
		return func() bool { return show(sides[0].pool) == want && show(sides[1].pool) == want }
	}
	one, two := agent("127.0.0.1:4431", 1), agent("127.0.0.1:4432", 1)
	testkit.Eventually(t, "both nodes have both", both("127.0.0.1:4431, 127.0.0.1:4432"))
	for i := range uint64(10_000) {
		hash := i * 0x9e3779b97f4a7c15
		if a, b := sides[0].pool.Snapshot().Maglev(hash, pool.Skip{}),
			sides[1].pool.Snapshot().Maglev(hash, pool.Skip{}); a.ID != b.ID {
			t.Fatalf("hash %d: %v here, %v there", hash, a.Addr, b.Addr)
		}
	}
	kept := sides[1].pool.Snapshot().All()[0]
	kept.Acquire()
	one.leave(t)
	testkit.Eventually(t, "who left is out", both("127.0.0.1:4432"))
	if kept.Open() != 1 {
		t.Error("a conn was dropped")
	}
	two.crash()
	for _, s := range sides {
		testkit.Eventually(t, "the crash is known",
			func() bool { return s.sees(two.cfg.ID, func(m Member) bool { return !m.Alive }) })
	}
	if !both("127.0.0.1:4432")() {
		t.Fatal("a crash took the backend out, and no check said so")
	}
	for _, s := range sides {
		s.pool.SetUp(s.pool.Snapshot().All()[0], false, "checks say so")
	}
	testkit.Eventually(t, "then checks say so", both(""))
	agent("127.0.0.1:4432", 2)
	testkit.Eventually(t, "the agent is back", both("127.0.0.1:4432"))
}

// What agents had announced to the process before stands although nobody has met them yet; later a backend whose agent
// is not there and that is down is given up as ever.
func TestDiscoveryPrimes(t *testing.T) {
	p := webPool(t)
	d := &town{}
	d.set(gone(agentAt("a", "192.0.2.2:443", 1)), gone(weighing(agentAt("b", "192.0.2.3:443", 1), 2)))
	discovery := NewDiscovery(d, DiscoverConfig{Pools: []DiscoverPool{{Pool: p}}})
	discovery.Prime()
	if got, want := show(p), "192.0.2.2:443, 192.0.2.3:443+"; got != want {
		t.Errorf("primed: %s, want %s", got, want)
	}
	p.SetUp(p.Snapshot().All()[0], false, "a test")
	discovery.apply()
	if got, want := show(p), "192.0.2.3:443+"; got != want || len(d.forgotten) != 1 {
		t.Errorf("then: %s, want %s; forgotten %v", got, want, d.forgotten)
	}
}

// TestDiscoveryPools: each pool has its own networks, and pools come and go while agents announce.
func TestDiscoveryPools(t *testing.T) {
	web, mail := webPool(t, pool.Spec{Addr: "192.0.2.1:443"}), discoverPool(t, "mail")
	d := &town{}
	toMail := agentAt("m", "198.51.100.2:465", 1)
	toMail.Meta.Announced.Pool = "mail"
	d.set(agentAt("w", "192.0.2.2:443", 1), toMail)
	var log bytes.Buffer
	discovery := NewDiscovery(d, DiscoverConfig{Log: slog.New(slog.NewTextHandler(&log, nil))})
	onlyMail := []DiscoverPool{{Pool: mail, From: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}
	both := append([]DiscoverPool{{Pool: web, From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}},
		onlyMail...)
	for _, step := range []struct {
		why               string
		pools             []DiscoverPool
		web, mail         string
		accepted, refused int
	}{
		{"no pool: nothing is judged", nil, "192.0.2.1:443", "", 0, 0},
		{"one pool: the other's agent is refused", onlyMail, "192.0.2.1:443", "198.51.100.2:465", 1, 1},
		{"both, each with its networks", both, "192.0.2.1:443, 192.0.2.2:443", "198.51.100.2:465", 2, 0},
		{
			"the networks of one are not the other's",
			[]DiscoverPool{{Pool: web, From: onlyMail[0].From}, {Pool: mail, From: both[0].From}},
			"192.0.2.1:443", "",
			0, 2,
		},
	} {
		discovery.SetPools(step.pools)
		discovery.apply()
		if got := show(web); got != step.web {
			t.Errorf("%s: web has %s, want %s", step.why, got, step.web)
		}
		if got := show(mail); got != step.mail {
			t.Errorf("%s: mail has %s, want %s", step.why, got, step.mail)
		}
		if accepted, refused := discovery.Stats(); accepted != step.accepted || refused != step.refused {
			t.Errorf("%s: %d accepted and %d refused, want %d and %d", step.why, accepted, refused, step.accepted,
				step.refused)
		}
	}
	if n := strings.Count(log.String(), "refused"); n != 3 {
		t.Errorf("%d refusals in the log, want 3:\n%s", n, &log)
	}
}

// TestDiscoveryShares: what one address and one network may have in a pool, and that who came first stays.
func TestDiscoveryShares(t *testing.T) {
	p := webPool(t)
	d := &town{}
	discovery := NewDiscovery(d, DiscoverConfig{Pools: []DiscoverPool{{Pool: p, Weight: 4}}})
	one := agentAt("a", "192.0.2.1:443", 1)
	d.set(one, weighing(agentAt("x", "192.0.2.66:443", 1), 1000))
	discovery.apply()
	if got, want := show(p), "192.0.2.1:443, 192.0.2.66:443+++"; got != want {
		t.Errorf("a heavy one: %s, want %s", got, want)
	}
	d.set(one, weighing(agentAt("x", "192.0.2.66:443", 1), 600), weighing(agentAt("y", "192.0.2.66:444", 1), 200))
	discovery.apply()
	if got, want := show(p), "192.0.2.1:443, 192.0.2.66:443++, 192.0.2.66:444"; got != want {
		t.Errorf("two of one address: %s, want %s", got, want)
	}
	many := []Member{one}
	for i := range uint16(10) {
		x := agentAt(fmt.Sprintf("x%d", i), fmt.Sprintf("192.0.2.66:%d", 500-i), 1)
		x.Since = time.Unix(int64(i), 0)
		many = append(many, x)
	}
	d.set(many...)
	discovery.apply()
	if got, want := show(p),
		"192.0.2.1:443, 192.0.2.66:497, 192.0.2.66:498, 192.0.2.66:499, 192.0.2.66:500"; got != want {
		t.Errorf("ten of one address: %s, want %s", got, want)
	}
	if accepted, refused := discovery.Stats(); accepted != 5 || refused != 6 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
	var crowd []Member
	for i := range 600 {
		addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		x := agentAt(fmt.Sprintf("x%d", i), netip.AddrPortFrom(addr, 443).String(), 1)
		x.Since = time.Unix(int64(600-i), 0) // the smallest address came last
		crowd = append(crowd, x)
	}
	d.set(append(crowd, one)...)
	discovery.apply()
	all := p.Snapshot().All()
	if len(all) != maxPerNetwork+1 || all[0].Addr.String() != "192.0.2.1:443" ||
		all[1].Addr.IP() != crowd[600-maxPerNetwork].Meta.Announced.Backend {
		t.Errorf("a whole network: %d backends, %v the first of them", len(all), all[1].Addr)
	}
}

// TestDiscoveryPrecedence: whose word counts of a backend that several announce, where the operator lets them.
func TestDiscoveryPrecedence(t *testing.T) {
	p := webPool(t)
	d := &town{}
	discovery := NewDiscovery(d,
		DiscoverConfig{Pools: []DiscoverPool{{Pool: p, From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}})
	own := agentAt("own", "192.0.2.1:443", 1)
	own.Since = time.Unix(100, 0)
	foreign := func(id, host string, started, since int64, state State) Member {
		m := in(agentAt(id, "192.0.2.1:443", started), state)
		m.Addr, m.Since = netip.MustParseAddrPort(host+":7946"), time.Unix(since, 0)
		return m
	}
	for _, step := range []struct {
		why  string
		who  []Member
		want string
	}{
		{
			"its own agent, although another came first and started last",
			[]Member{own, foreign("x", "192.0.2.66", 9, 1, StateDraining)},
			"192.0.2.1:443",
		},
		{
			"its own agent, although it vanished",
			[]Member{gone(own), foreign("x", "192.0.2.66", 9, 1, StateDown)},
			"192.0.2.1:443",
		},
		{
			"its own agent, when it says that it is down",
			[]Member{in(own, StateDown), foreign("x", "192.0.2.66", 9, 1, StateServing)},
			"",
		},
		{
			"of others that which came first",
			[]Member{foreign("a", "192.0.2.65", 1, 1, StateServing), foreign("x", "192.0.2.66", 9, 2, StateDraining)},
			"192.0.2.1:443",
		},
		{
			"of one address that which started last",
			[]Member{foreign("a", "192.0.2.65", 1, 1, StateServing), foreign("b", "192.0.2.65", 2, 2, StateDraining)},
			"192.0.2.1:443 draining",
		},
	} {
		d.set(step.who...)
		discovery.apply()
		if got := show(p); got != step.want {
			t.Errorf("%s: %s, want %s", step.why, got, step.want)
		}
	}
}

// TestRefusalReachesAgent: a node tells an agent why it does not take what that announces, and when it does; what
// another agent says in a node's name is not heard.
func TestRefusalReachesAgent(t *testing.T) {
	t.Parallel()
	p := webPool(t)
	var d atomic.Pointer[Discovery]
	node := startMember(t,
		Config{Meta: Meta{Role: RoleNode, State: StateServing, Name: "lb-1"}, Refusal: func(id string) string {
			if d := d.Load(); d != nil {
				return d.Refusal(id)
			}
			return ""
		}})
	from := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	discovery := NewDiscovery(node, DiscoverConfig{Pools: []DiscoverPool{{Pool: p, From: from}}})
	d.Store(discovery)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); discovery.Run(ctx) }()
	defer func() { cancel(); <-done }()

	agent := startMember(t, announcing("127.0.0.1:443", 1), node)
	refused := func(want ...Refused) func() bool {
		return func() bool {
			discovery.Wake() // as Changed does
			got, nodes := agent.Refusals()
			return nodes == 1 && slices.Equal(got, want)
		}
	}
	testkit.Eventually(t, "the agent knows why", refused(Refused{"lb-1", "127.0.0.1 is in no network of --discover-from"}))
	discovery.SetPools(nil)
	testkit.Eventually(t, "no pool takes any",
		refused(Refused{"lb-1", "no pool of this node takes backends that announce themselves (discover_from: none)"}))
	discovery.SetPools([]DiscoverPool{{Pool: p}})
	testkit.Eventually(t, "it is taken", refused())

	forged := Meta{Role: RoleNode, State: StateServing, Refusal: "forged"}
	agent.MergeRemoteState((&word{"stranger", metaOf(t, forged)}).wire(), false)
	if got, _ := agent.Refusals(); len(got) != 0 {
		t.Errorf("one that is no member is heard: %v", got)
	}
}
