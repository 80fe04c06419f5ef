package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

func TestStandingRoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var want []standingOrder
	for i := range maxBatch {
		o := standingOrder{
			Pool: uint32(i), Backend: netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%x]:443", i)),
			Mode: pool.Drain(i % 3), At: now.Add(-time.Duration(i) * time.Hour),
		}
		if i%2 == 0 {
			o.End = now.Add(time.Hour)
			o.Backend = netip.MustParseAddrPort("192.0.2.1:443")
		}
		want = append(want, o)
	}
	sealed, err := (&Order{Op: opStanding, asks: true, standing: want}).Seal(key(1), now)
	if err != nil || len(sealed) > maxSealed {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	o, err := openCommand([][]byte{key(1)}, sealed)
	if err != nil || !o.at.Equal(now) || !o.asks {
		t.Fatal(o, err)
	}
	if diff := cmp.Diff(want, o.standing, netipCompare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.judge(nil) == nil {
		t.Error("it may be given to be passed on")
	}
	plain, err := unseal([][]byte{key(1)}, sealed)
	if err != nil {
		t.Fatal(err)
	}
	good := plain[commandHeader:]
	for why, rest := range map[string][]byte{
		"a cut order":        good[:len(good)-1],
		"one too many":       slices.Concat(good, good[1:][:standingBytes+1+6]),
		"a mode that is not": append([]byte{0, 9}, good[2:]...),
		"no address":         append(slices.Clone(good[:1+standingBytes]), 0),
		"nothing":            nil,
	} {
		if new(Order).getStanding(rest) {
			t.Errorf("%s was read", why)
		}
	}
}

// TestOrders: the later order counts, whoever passes it on, and so many are kept for so long.
func TestOrders(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	one := netip.MustParseAddrPort("192.0.2.1:443")
	give := func(hash uint32, mode pool.Drain, ago time.Duration) standingOrder {
		return standingOrder{Pool: hash, Backend: one, Mode: mode, At: now.Add(-ago)}
	}
	r := make(standing)
	mode := func(hash uint32) string {
		o := r.of(hash, one)
		if o == nil {
			return "none"
		}
		return fmt.Sprintf("%s done=%t", o.Mode, o.Done)
	}
	for _, step := range []struct {
		why  string
		give standingOrder
		want string // of pool 1
	}{
		{"too old", give(1, pool.DrainSoft, orderKept+1), "none"},
		{"of a clock that is far ahead", give(1, pool.DrainSoft, -commandAge-1), "none"},
		{"the end of nothing is done", give(1, pool.DrainOff, time.Hour), "off done=true"},
		{"a drain that it had ended", give(1, pool.DrainSoft, 2*time.Hour), "off done=true"},
		{"a later drain", give(1, pool.DrainSoft, 50*time.Minute), "soft done=false"},
		{"the same again", give(1, pool.DrainHard, 50*time.Minute), "soft done=false"},
		{"its end is to be followed", give(1, pool.DrainOff, 40*time.Minute), "off done=false"},
		{"an older one of all pools", give(0, pool.DrainHard, 45*time.Minute), "off done=false"},
		{"a later one of all pools", give(0, pool.DrainHard, 30*time.Minute), "hard done=false"},
		{"a later one of another pool", give(2, pool.DrainOff, 20*time.Minute), "hard done=false"},
		{"the end for all pools", give(0, pool.DrainOff, time.Minute), "off done=false"},
	} {
		r.take(step.give, now)
		if got := mode(1); got != step.want {
			t.Errorf("%s: %s, want %s", step.why, got, step.want)
		}
	}
	if len(r) != 1 {
		t.Errorf("%d orders about one backend", len(r))
	}
	for i := range 2 * maxOrders {
		o := standingOrder{
			Backend: netip.AddrPortFrom(one.Addr(), uint16(1+i)), Mode: pool.DrainSoft,
			At: now.Add(time.Duration(i-2*maxOrders) * time.Millisecond),
		}
		r.take(o, now)
	}
	if all := r.sorted(); len(all) != maxOrders || all[len(all)-1].Backend.Port() != 2*maxOrders {
		t.Errorf("%d orders, the last about port %d", len(all), all[len(all)-1].Backend.Port())
	}
	r.take(standingOrder{Backend: one, At: now.Add(orderKept)}, now.Add(orderKept))
	if len(r) != 1 {
		t.Errorf("%d orders when they are too old", len(r))
	}
}

func TestOrderPlan(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		give standingOrder
		want pool.DrainPlan
	}{
		{standingOrder{Mode: pool.DrainSoft}, pool.DrainPlan{Mode: pool.DrainSoft}},
		{
			standingOrder{Mode: pool.DrainSoft, End: now.Add(time.Minute)},
			pool.DrainPlan{Mode: pool.DrainSoft, For: time.Minute},
		},
		{standingOrder{Mode: pool.DrainSoft, End: now}, pool.DrainPlan{Mode: pool.DrainHard}},
		{
			standingOrder{Mode: pool.DrainSoft, End: now.Add(2 * pool.MaxDrain)},
			pool.DrainPlan{Mode: pool.DrainSoft, For: pool.MaxDrain},
		},
		{standingOrder{Mode: pool.DrainOff, End: now}, pool.DrainPlan{}},
	} {
		if got := tt.give.plan(now); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.give, got, tt.want)
		}
	}
}

// TestDrainIsGivenToWhoJoins: a node that joins, or starts again, drains what was ordered to be drained before, also
// when the backend comes later; what was undrained since, and what was ordered by another node key, it leaves in
// service.
func TestDrainIsGivenToWhoJoins(t *testing.T) {
	t.Parallel()
	const one, other = "127.0.0.1:1001", "127.0.0.1:1002"
	start := func(nodeKey []byte, p *pool.Pool, seeds ...*testMember) *testMember {
		return startMember(t, Config{NodeKeys: [][]byte{nodeKey}, Pools: []*pool.Pool{p}}, seeds...)
	}
	mode := func(m *testMember, addr string) string {
		for _, b := range m.cfg.Pools[0].Snapshot().All() {
			if b.Addr.String() == addr {
				return b.Draining().String()
			}
		}
		return "none"
	}
	order := func(m *testMember, addr string, plan pool.DrainPlan) {
		t.Helper()
		if _, err := m.Order(t.Context(),
			Order{Op: OpDrain, Backend: netip.MustParseAddrPort(addr), Plan: plan}); err != nil {
			t.Fatal(err)
		}
	}
	a := start(key(1), poolOf(t, one, other))
	order(a, one, pool.DrainPlan{Mode: pool.DrainSoft, For: time.Hour})
	order(a, other, pool.DrainPlan{Mode: pool.DrainHard})
	order(a, other, pool.DrainPlan{})

	b := start(key(1), poolOf(t, one, other), a)
	stranger := start(key(2), poolOf(t, one), a)
	testkit.Eventually(t, "who joins drains it", func() bool { return mode(b, one) == "soft" })
	p := b.cfg.Pools[0]
	if end := p.DrainStatus(p.Snapshot().All()[0]).End; time.Until(end) > time.Hour || time.Until(end) < time.Hour/2 {
		t.Errorf("its time is over at %s", end)
	}
	if mode(b, other) != "off" {
		t.Errorf("what was undrained is %s", mode(b, other))
	}

	startAt := func(m *testMember) *testMember {
		addr, id := m.Addr(), m.cfg.ID
		m.crash()
		return startMember(t,
			Config{ID: id, Bind: addr, NodeKeys: [][]byte{key(1)}, Pools: []*pool.Pool{poolOf(t, one, other)}}, a)
	}

	late := poolOf(t, other)
	c := start(key(1), late, a)
	testkit.Eventually(t, "all see all", func() bool { return len(c.Members()) == 3 && len(a.Members()) == 3 })
	if err := late.Reconfigure([]pool.Spec{{Addr: one}, {Addr: other}}, pool.Options{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a backend that comes later is drained", func() bool { return mode(c, one) == "soft" })

	again := startAt(b) // before anybody has missed it
	testkit.Eventually(t, "who starts again at once drains it", func() bool { return mode(again, one) == "soft" })
	b = again

	a.crash() // whom the order was given to; the others have it
	again = start(key(1), poolOf(t, one, other), b, c)
	testkit.Eventually(t, "who starts again drains it",
		func() bool { return mode(again, one) == "soft" && mode(again, other) == "off" })
	if mode(stranger, one) != "off" {
		t.Error("a node obeyed orders of another node key")
	}

	b.stop() // an upgrade: the heir has the orders, too
	heir, err := Create(Config{
		ID: "heir", Bind: loopback(), Meta: Meta{Role: RoleNode, State: StateServing},
		NodeKeys: [][]byte{key(1)}, Pools: b.cfg.Pools,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(Exported{Orders: b.Export().Orders})
	if err != nil {
		t.Fatal(err)
	}
	var legacy Exported
	if err := json.Unmarshal(text, &legacy); err != nil {
		t.Fatal(err)
	}
	heir.Import(legacy)
	last := start(key(1), poolOf(t, one), runMember(t, heir))
	testkit.Eventually(t, "an heir passes on what it has inherited", func() bool { return mode(last, one) == "soft" })
}

// TestUndrainWins: a node that was away while a drain was ended ends it when it is told; a drain of its own, of which
// nobody else knows, stays.
func TestUndrainWins(t *testing.T) {
	t.Parallel()
	const one, other = "127.0.0.1:1001", "127.0.0.1:1002"
	m := startMember(t, Config{NodeKeys: [][]byte{key(1)}, Pools: []*pool.Pool{poolOf(t, one, other)}})
	if _, err := m.Order(t.Context(),
		Order{
			Op: OpDrain, Backend: netip.MustParseAddrPort(one),
			Plan: pool.DrainPlan{Mode: pool.DrainSoft},
		}); err != nil {
		t.Fatal(err)
	}
	all := m.cfg.Pools[0].Snapshot().All()
	m.cfg.Pools[0].SetDraining(all[1], pool.DrainSoft) // at this node alone
	later := time.Now().Add(time.Second)
	told := &Order{Op: opStanding, standing: []standingOrder{
		{Backend: netip.MustParseAddrPort(one), Mode: pool.DrainOff, At: later},
		{Backend: netip.MustParseAddrPort(other), Mode: pool.DrainOff, At: later},
	}}
	sealed, err := told.Seal(key(1), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.apply(sealed, false); err != nil {
		t.Fatal(err)
	}
	if all[0].Draining() != pool.DrainOff || all[1].Draining() != pool.DrainSoft {
		t.Errorf("the one is %s, the other %s", all[0].Draining(), all[1].Draining())
	}
}
