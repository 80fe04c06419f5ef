package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/balancer/pool"
)

func TestDrainRoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		give, want string
		mode       pool.Drain
	}{
		{"192.0.2.7:443", "192.0.2.7:443", pool.DrainSoft},
		{"[2001:db8::7]:443", "[2001:db8::7]:443", pool.DrainHard},
		{"[::ffff:192.0.2.7]:443", "192.0.2.7:443", pool.DrainOff},
		{"[fe80::7%eth0]:443", "[fe80::7]:443", pool.DrainSoft},
	} {
		sealed, err := (&DrainCommand{netip.MustParseAddrPort(tt.give), tt.mode}).Seal(key(1), now)
		if err != nil || len(sealed) > maxSealed {
			t.Fatalf("%s: %d bytes, %v", tt.give, len(sealed), err)
		}
		got, at, err := openCommand([][]byte{key(2), key(1)}, sealed)
		if err != nil || !at.Equal(now) {
			t.Fatalf("%s: %v, at %v", tt.give, err, at)
		}
		want := &DrainCommand{netip.MustParseAddrPort(tt.want), tt.mode}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.give, diff)
		}
		if _, _, err := openCommand([][]byte{key(2)}, sealed); !errors.Is(err, ErrCommand) {
			t.Errorf("another node key opened it: %v", err)
		}
	}
	if _, err := (&DrainCommand{}).Seal(key(1), now); err != nil {
		t.Errorf("no address: %v", err) // it is refused where it is read
	}
}

func TestParseDrainRefuses(t *testing.T) {
	good := []byte{byte(pool.DrainHard), 192, 0, 2, 7, 187, 1}
	if _, err := parseDrain(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := parseDrain(good[:n]); err == nil {
			t.Errorf("%d bytes were read", n)
		}
	}
	for _, b := range [][]byte{append(bytes.Clone(good), 0), append([]byte{3}, good[1:]...), make([]byte, 100)} {
		if _, err := parseDrain(b); err == nil {
			t.Errorf("%v was read", b)
		}
	}
}

func TestOpenAnswerRefuses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	nonce := bytes.Repeat([]byte{7}, nonceBytes)
	good := slices.Concat(nonce, []byte{1, 'b'}, []byte("why"))
	sealAs := func(op byte, rest []byte) []byte {
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
		"a command":      sealAs(opDrain, good),
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
	if _, _, err := openCommand([][]byte{key(1)}, sealAs(opAnswer, good)); err == nil {
		t.Error("an answer was read as a command")
	}
}

func poolOf(t *testing.T, addrs ...string) *pool.Pool {
	t.Helper()
	var specs []pool.Spec
	for _, addr := range addrs {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	p, err := pool.New("default", specs, pool.Options{})
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
		return startMember(t, Config{NodeKeys: [][]byte{nodeKey}, Pools: []*pool.Pool{p}, answers: 500 * time.Millisecond}, seeds...)
	}
	a := start(key(1), poolOf(t, one, other))
	b := start(key(1), poolOf(t, one, other), a)
	lacks := start(key(1), poolOf(t, other), a)
	strange := start(key(2), poolOf(t, one), a)
	gone := start(key(1), poolOf(t, one), a)
	eventually(t, "all see all", func() bool { return len(a.Members()) == 4 && len(b.Members()) == 4 && len(lacks.Members()) == 4 })
	gone.crash()
	eventually(t, "one vanished", func() bool { return a.sees(gone.cfg.ID, func(m Member) bool { return !m.Alive }) })

	mode := func(m *testMember, addr string) pool.Drain {
		all := m.cfg.Pools[0].Snapshot().All()
		return all[slices.IndexFunc(all, func(b *pool.Backend) bool { return b.Addr.String() == addr })].Draining()
	}
	drain := func(nodeKey []byte, addr string, mode pool.Drain) ([]Answer, error) {
		t.Helper()
		sealed, err := (&DrainCommand{netip.MustParseAddrPort(addr), mode}).Seal(nodeKey, time.Now())
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
	if _, err := drain(key(1), "127.0.0.1:1003", pool.DrainSoft); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1003") {
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
