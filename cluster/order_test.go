package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

func TestDrainRoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		give, want string
		plan, got  pool.DrainPlan
	}{
		{"192.0.2.7:443", "192.0.2.7:443", pool.DrainPlan{Mode: pool.DrainSoft}, pool.DrainPlan{Mode: pool.DrainSoft}},
		{
			"[2001:db8::7]:443", "[2001:db8::7]:443",
			pool.DrainPlan{Mode: pool.DrainHard, For: time.Hour},
			pool.DrainPlan{Mode: pool.DrainHard, For: time.Hour},
		},
		{"[::ffff:192.0.2.7]:443", "192.0.2.7:443", pool.DrainPlan{}, pool.DrainPlan{}},
		{
			"[fe80::7%eth0]:443", "[fe80::7]:443",
			pool.DrainPlan{Mode: pool.DrainSoft, For: 1},
			pool.DrainPlan{Mode: pool.DrainSoft, For: time.Second},
		},
		{
			"192.0.2.7:443", "192.0.2.7:443",
			pool.DrainPlan{Mode: pool.DrainSoft, For: pool.MaxDrain},
			pool.DrainPlan{Mode: pool.DrainSoft, For: pool.MaxDrain},
		},
	} {
		roundTrip(t, now, &Order{Op: OpDrain, Pool: 7, Backend: netip.MustParseAddrPort(tt.give), Plan: tt.plan},
			&Order{Op: OpDrain, Pool: 7, Backend: netip.MustParseAddrPort(tt.want), Plan: tt.got})
	}
	if _, err := (&Order{Op: OpDrain}).Seal(key(1), now); err != nil {
		t.Errorf("no address: %v", err) // it is refused where it is read
	}
	for _, d := range []time.Duration{-1, pool.MaxDrain + 1} {
		if _, err := (&Order{Op: OpDrain, Plan: pool.DrainPlan{For: d}}).Seal(key(1), now); err == nil {
			t.Errorf("a drain of %s was sealed", d)
		}
	}
}

func TestWeightRoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, weight := range []int{0, 1, pool.MaxWeight} {
		roundTrip(t, now, &Order{
			Op: OpWeight, Pool: 7, Backend: netip.MustParseAddrPort("[::ffff:192.0.2.7]:443"),
			Weight: weight,
		},
			&Order{Op: OpWeight, Pool: 7, Backend: netip.MustParseAddrPort("192.0.2.7:443"), Weight: weight})
	}
	for _, weight := range []int{-1, pool.MaxWeight + 1} {
		if _, err := (&Order{Op: OpWeight, Weight: weight}).Seal(key(1), now); err == nil {
			t.Errorf("weight %d was sealed", weight)
		}
	}
}

// roundTrip seals a command with key 1 and opens it with that, and with no other.
func roundTrip(t *testing.T, now time.Time, give, want *Order) {
	t.Helper()
	sealed, err := give.Seal(key(1), now)
	if err != nil || len(sealed) > maxSealed {
		t.Fatalf("%+v: %d bytes, %v", give, len(sealed), err)
	}
	got, err := openCommand([][]byte{key(2), key(1)}, sealed)
	if err != nil || !got.at.Equal(now) {
		t.Fatalf("%+v: %v, %+v", give, err, got)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}),
		cmpopts.IgnoreUnexported(Order{})); diff != "" {
		t.Errorf("%+v (-want +got):\n%s", give, diff)
	}
	if _, err := openCommand([][]byte{key(2)}, sealed); !errors.Is(err, ErrCommand) {
		t.Errorf("another node key opened it: %v", err)
	}
}

func TestParseBackendCommandRefuses(t *testing.T) {
	addr := []byte{192, 0, 2, 7, 187, 1}
	for _, tt := range []struct {
		op    Op
		good  []byte
		wrong [][]byte // in place of the part before the address
	}{
		{
			OpDrain, append([]byte{byte(pool.DrainHard), 0, 0, 14, 16, 0, 0, 0, 7}, addr...),
			[][]byte{{3, 0, 0, 14, 16, 0, 0, 0, 7}, {1, 255, 0, 0, 0, 0, 0, 0, 7}},
		},
		{OpWeight, append([]byte{0, 5, 0, 0, 0, 7}, addr...), [][]byte{{4, 0, 0, 0, 0, 7}}},
		{OpIdle, append([]byte{0, 0, 0, 7}, addr...), nil},
	} {
		parse := func(body []byte) error {
			_, err := parseCommand(append(append([]byte{commandVersion, byte(tt.op), 0}, make([]byte, 8)...), body...))
			return err
		}
		if err := parse(tt.good); err != nil {
			t.Fatal(tt.op, err)
		}
		for n := range tt.good {
			if parse(tt.good[:n]) == nil {
				t.Errorf("%s: %d bytes were read", tt.op, n)
			}
		}
		bad := [][]byte{append(bytes.Clone(tt.good), 0), make([]byte, 100)}
		for _, head := range tt.wrong {
			bad = append(bad, append(head, addr...))
		}
		for _, b := range bad {
			if parse(b) == nil {
				t.Errorf("%s: %v was read", tt.op, b)
			}
		}
	}
}

func TestOpenAnswerRefuses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	nonce := bytes.Repeat([]byte{7}, nonceBytes)
	good := slices.Concat(nonce, []byte{1, 'b'}, []byte("why"))
	sealAs := func(op Op, rest []byte) []byte {
		t.Helper()
		sealed, err := seal(key(1), op, false, rest, now)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	got, a, err := openAnswer([][]byte{key(2), key(1)}, sealAs(opAnswer, good))
	if err != nil || !bytes.Equal(got[:], nonce) || a != (Answer{"b", "why"}) {
		t.Fatalf("%v, %+v, %v", got, a, err)
	}
	for why, sealed := range map[string][]byte{
		"a command":      sealAs(OpDrain, good),
		"a short nonce":  sealAs(opAnswer, nonce[:5]),
		"no name":        sealAs(opAnswer, nonce),
		"a cut name":     sealAs(opAnswer, append(bytes.Clone(nonce), 9, 'b')),
		"nothing":        nil,
		"not a sealing":  make([]byte, 60),
		"a cut sealing":  sealAs(opAnswer, good)[:40],
		"another's seal": func() []byte { s, _ := seal(key(3), opAnswer, false, good, now); return s }(),
	} {
		if _, _, err := openAnswer([][]byte{key(2), key(1)}, sealed); err == nil {
			t.Errorf("%s was read", why)
		}
	}
	if _, err := openCommand([][]byte{key(1)}, sealAs(opAnswer, good)); err == nil {
		t.Error("an answer was read as a command")
	}
}

func poolOf(t *testing.T, addrs ...string) *pool.Pool {
	t.Helper()
	return namedPool(t, "default", addrs...)
}

func namedPool(t *testing.T, name string, addrs ...string) *pool.Pool {
	t.Helper()
	var specs []pool.Spec
	for _, addr := range addrs {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	p, err := pool.New(name, specs, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDrain: every node drains its own backend of the address, and each says what it made of the command; one that has
// no such backend, one with another node key and one that vanished too.
func TestDrain(t *testing.T) {
	t.Parallel()
	const one, other = "127.0.0.1:1001", "127.0.0.1:1002"
	start := func(nodeKey []byte, p *pool.Pool, seeds ...*testMember) *testMember {
		return startMember(t,
			Config{NodeKeys: [][]byte{nodeKey}, Pools: []*pool.Pool{p}, answers: 500 * time.Millisecond}, seeds...)
	}
	a := start(key(1), poolOf(t, one, other))
	b := start(key(1), poolOf(t, one, other), a)
	lacks := start(key(1), poolOf(t, other), a)
	strange := start(key(2), poolOf(t, one), a)
	gone := start(key(1), poolOf(t, one), a)
	testkit.Eventually(t, "all see all",
		func() bool { return len(a.Members()) == 4 && len(b.Members()) == 4 && len(lacks.Members()) == 4 })
	gone.crash()
	testkit.Eventually(t, "one vanished", func() bool { return a.sees(gone.cfg.ID, func(m Member) bool { return !m.Alive }) })

	mode := func(m *testMember, addr string) pool.Drain {
		all := m.cfg.Pools[0].Snapshot().All()
		return all[slices.IndexFunc(all, func(b *pool.Backend) bool { return b.Addr.String() == addr })].Draining()
	}
	drain := func(nodeKey []byte, addr string, mode pool.Drain) ([]Answer, error) {
		t.Helper()
		sealed, err := (&Order{
			Op: OpDrain, Backend: netip.MustParseAddrPort(addr),
			Plan: pool.DrainPlan{Mode: mode, For: time.Hour},
		}).Seal(nodeKey, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a.Command(t.Context(), sealed)
	}
	for _, want := range []pool.Drain{pool.DrainSoft, pool.DrainHard, pool.DrainOff} {
		answers, err := drain(key(1), one, want)
		if err != nil || len(answers) != 5 || answers[0] != (Answer{Node: a.cfg.ID}) {
			t.Fatalf("%+v, %v", answers, err)
		}
		wrong := map[string]string{
			a.cfg.ID: "", b.cfg.ID: "", lacks.cfg.ID: "no pool of this node has a backend 127.0.0.1:1001",
			strange.cfg.ID: "it may have another node key", gone.cfg.ID: "it vanished",
		}
		for _, got := range answers {
			if want := wrong[got.Node]; (want == "") != (got.Error == "") || !strings.Contains(got.Error, want) {
				t.Errorf("%+v, want %q", got, want)
			}
		}
		for _, m := range []*testMember{a, b} {
			if mode(m, one) != want || mode(m, other) != pool.DrainOff {
				t.Errorf("%s, and the other %s", mode(m, one), mode(m, other))
			}
		}
	}
	if mode(strange, one) != pool.DrainOff {
		t.Error("a node obeyed a command of another node key")
	}
	if _, err := drain(key(1), "127.0.0.1:1003", pool.DrainSoft); err == nil ||
		!strings.Contains(err.Error(), "127.0.0.1:1003") {
		t.Errorf("nobody has it: %v", err)
	}
	if _, err := drain(key(9), one, pool.DrainSoft); !errors.Is(err, ErrCommand) {
		t.Errorf("a wrong node key: %v", err)
	}

	a.SetNodeKeys([][]byte{key(1), key(2)}) // the files were read again
	strange.SetNodeKeys([][]byte{key(2), key(1)})
	answers, err := drain(key(1), one, pool.DrainSoft)
	if err != nil || mode(strange, one) != pool.DrainSoft || !slices.Contains(answers, Answer{Node: strange.cfg.ID}) {
		t.Errorf("both trust both node keys: %+v, %v", answers, err)
	}
	a.SetNodeKeys(nil)
	if _, err := drain(key(1), one, pool.DrainSoft); err == nil || !strings.Contains(err.Error(), "no node key") {
		t.Errorf("without a node key: %v", err)
	}
}

// TestOrder: a node orders on its own authority, about one pool of several that have the address, and every node has
// settled before it answers.
func TestOrder(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.1:1001"
	var settled atomic.Int32
	start := func(nodeKeys [][]byte, seeds ...*testMember) *testMember {
		web, mail := namedPool(t, "web", addr), namedPool(t, "mail", addr)
		return startMember(t,
			Config{NodeKeys: nodeKeys, Pools: []*pool.Pool{web, mail}, Settle: func() { settled.Add(1) }}, seeds...)
	}
	a := start([][]byte{key(1)})
	b := start([][]byte{key(1)}, a)
	testkit.Eventually(t, "both see both", func() bool { return len(a.Members()) == 1 && len(b.Members()) == 1 })
	mail := a.cfg.Pools[1].Hash()

	answers, err := a.Order(t.Context(),
		Order{
			Op: OpDrain, Pool: mail, Backend: netip.MustParseAddrPort(addr),
			Plan: pool.DrainPlan{Mode: pool.DrainSoft, For: time.Hour},
		})
	if err != nil || !slices.Equal(answers, []Answer{{Node: a.cfg.ID}, {Node: b.cfg.ID}}) {
		t.Fatalf("%+v, %v", answers, err)
	}
	if n := settled.Load(); n != 2 {
		t.Errorf("%d nodes have settled, want 2", n)
	}
	if _, err := a.Order(t.Context(),
		Order{Op: OpWeight, Pool: mail, Backend: netip.MustParseAddrPort(addr), Weight: 9}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*testMember{a, b} {
		for i, want := range []struct {
			mode   pool.Drain
			weight int
		}{{pool.DrainOff, 1}, {pool.DrainSoft, 9}} {
			p := m.cfg.Pools[i]
			if one := p.Snapshot().All()[0]; one.Draining() != want.mode || one.Weight() != want.weight {
				t.Errorf("pool %s: %s, weight %d, want %v", p.Name(), one.Draining(), one.Weight(), want)
			}
		}
		if left := time.Until(m.cfg.Pools[1].DrainStatus(m.cfg.Pools[1].Snapshot().All()[0]).End); left > time.Hour ||
			left < time.Minute {
			t.Errorf("the drain ends in %s", left)
		}
	}
	if _, err := a.Order(t.Context(),
		Order{Op: OpDrain, Pool: mail, Backend: netip.MustParseAddrPort("127.0.0.1:9")}); err == nil {
		t.Error("a backend that is not there was drained")
	}
	a.SetNodeKeys(nil)
	if _, err := a.Order(t.Context(), Order{Op: OpWeight}); !errors.Is(err, ErrNoNodeKey) {
		t.Errorf("without a node key: %v", err)
	}
}
