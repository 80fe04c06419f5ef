package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// rollTest drives a roll with a clock of its own.
type rollTest struct {
	*roll
	t   *testing.T
	now time.Time
}

func newRollTest(t *testing.T) *rollTest {
	t.Helper()
	return &rollTest{newRoll(false), t, time.Unix(1_000_000, 0)}
}

func at(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr) }

func metaOf(t testing.TB, m Meta) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asked is the addresses that are due, after a wait.
func (r *rollTest) asked(wait time.Duration) int {
	r.now = r.now.Add(wait)
	addrs, _ := r.due(r.now)
	return len(addrs)
}

// prove lets a member answer.
func (r *rollTest) prove(id, addr string, meta Meta) outcome {
	r.t.Helper()
	_ = r.hearsay(id, at(addr), nil, true, r.now) // it is due then
	for waited := time.Duration(0); r.asked(leastAsk) == 0; waited += leastAsk {
		if waited > failedEvery {
			r.t.Fatalf("%s is not asked", addr)
		}
	}
	return r.answered(at(addr), id, meta, metaOf(r.t, meta), r.now)
}

func TestRollProves(t *testing.T) {
	r := newRollTest(t)
	meta := announcing("192.0.2.1:443", 1).Meta
	said := metaOf(t, meta)
	if err := r.hearsay("a", at("192.0.2.1:7946"), said, true, r.now); !errors.Is(err, errUnproven) ||
		len(r.members) > 0 {
		t.Fatalf("hearsay made a member: %v", err)
	}
	if n := r.asked(0); n != 1 {
		t.Fatalf("%d are asked", n)
	}
	if n := r.asked(time.Second); n != 0 {
		t.Fatalf("asked twice at once: %d", n)
	}
	if got := r.answered(at("192.0.2.1:7946"), "a", meta, said, r.now); got.what != joined {
		t.Fatalf("%+v", got)
	}
	if err := r.hearsay("a", at("192.0.2.1:7946"), said, true, r.now); err != nil || r.asked(leastAsk) != 0 {
		t.Errorf("what is known already: %v", err)
	}
	forged := meta
	forged.State = StateDown
	for range 50 { // in one second
		r.now = r.now.Add(20 * time.Millisecond)
		_ = r.hearsay("a", at("192.0.2.1:7946"), metaOf(t, forged), true, r.now)
		if r.asked(0) == 1 {
			if got := r.answered(at("192.0.2.1:7946"), "a", meta, said, r.now); got.what != nothing ||
				r.members[at("192.0.2.1:7946")].Meta.State != StateServing {
				t.Fatalf("%+v", got)
			}
		}
	}
	if err := r.hearsay("b", at("192.0.2.1:7946"), said, true, r.now); !errors.Is(err, errUnproven) {
		t.Errorf("another at its port: %v", err)
	}
}

// TestRollVanishes: silence is not death at once, and a word is.
func TestRollVanishes(t *testing.T) {
	r := newRollTest(t)
	meta := announcing("192.0.2.1:443", 1).Meta
	addr := at("192.0.2.1:7946")
	r.prove("a", addr.String(), meta)
	r.doubt(addr, r.now)
	var got outcome
	tries := 0
	for ; got.what != vanished && tries < 20; tries++ {
		for r.asked(100*time.Millisecond) == 0 {
		}
		got = r.silent(addr, r.now)
	}
	if tries < failedAsks || tries > 5 || r.members[addr].Alive {
		t.Fatalf("vanished after %d", tries)
	}
	if got := r.prove("a", addr.String(), meta); got.what != joined {
		t.Errorf("it is back: %+v", got)
	}
	meta.State = StateLeaving
	if got := r.prove("a", addr.String(), meta); got.what != left || len(r.members) != 0 {
		t.Errorf("it leaves: %+v", got)
	}
}

// TestRollUnheard: of a member that comes and cannot be asked the log knows, of one that is made up it does not.
func TestRollUnheard(t *testing.T) {
	for _, near := range []bool{true, false} {
		r := newRollTest(t)
		addr := at("192.0.2.1:7946")
		_ = r.hearsay("a", addr, nil, near, r.now)
		var got outcome
		for range claimTries {
			for r.asked(100*time.Millisecond) == 0 {
			}
			got = r.silent(addr, r.now)
		}
		if (got.what == unheard) != near || len(r.claims) != 0 || len(r.waiting) != 0 {
			t.Errorf("near %v: %+v, %d claims", near, got, len(r.claims))
		}
	}
}

// TestRollFlood: addresses that are made up cost a place of a few, and do not keep one from being asked that has come
// to us.
func TestRollFlood(t *testing.T) {
	r := newRollTest(t)
	for i := range 3 * maxClaims {
		_ = r.hearsay("fake",
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 7946), nil, false,
			r.now)
	}
	if len(r.claims) != maxClaims {
		t.Fatalf("%d claims", len(r.claims))
	}
	if n := r.asked(0); n != maxFarAsks {
		t.Fatalf("%d far ones are asked at once", n)
	}
	_ = r.hearsay("a", at("192.0.2.1:7946"), nil, true, r.now)
	addrs, _ := r.due(r.now)
	if len(addrs) != 1 || addrs[0] != at("192.0.2.1:7946") {
		t.Fatalf("asked: %v", addrs)
	}
	for port := range uint16(20) {
		_ = r.hearsay("silent", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), 1+port), nil, true, r.now)
	}
	if n := r.asked(0); n != asksPerAddr {
		t.Errorf("%d questions at once to one address", n)
	}
	for i := range 3 * maxClaims { // of somebody who has come
		_ = r.hearsay("many", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(1+i)), nil, true, r.now)
	}
	if n := r.waiting[netip.MustParseAddr("192.0.2.10")]; n != claimsPerAddr || len(r.claims) != maxClaims {
		t.Errorf("%d claims of one address, %d in all", n, len(r.claims))
	}
	_ = r.hearsay("b", at("192.0.2.11:7946"), nil, true, r.now)
	if addrs, _ := r.due(r.now); !slices.Contains(addrs, at("192.0.2.11:7946")) {
		t.Errorf("another is not asked beside them: %v", addrs)
	}
}

// TestRollSlow: members that take their time are asked a few at once, and do not keep one from being asked that
// answers.
func TestRollSlow(t *testing.T) {
	r := newRollTest(t)
	node := Meta{Role: RoleNode, State: StateServing}
	r.prove("a", "192.0.2.1:7946", node)
	_ = r.hearsay("slow", at("203.0.113.200:7946"), nil, true, r.now)
	if r.asked(0) != 1 {
		t.Fatal("it is not asked")
	}
	r.now = r.now.Add(askTimeout / 2)
	r.answered(at("203.0.113.200:7946"), "slow", node, metaOf(t, node), r.now)
	if !r.members[at("203.0.113.200:7946")].slow || r.members[at("192.0.2.1:7946")].slow {
		t.Fatal("who is slow?")
	}
	for i := range 40 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 7946)
		r.members[addr] = &proven{
			Member:  Member{ID: fmt.Sprint("slow", i), Addr: addr, Meta: node, Alive: true},
			inquiry: inquiry{slow: true},
		}
	}
	r.now = r.now.Add(refreshEvery * 4)
	addrs, _ := r.due(r.now)
	if len(addrs) != maxFarAsks+1 || !slices.Contains(addrs, at("192.0.2.1:7946")) {
		t.Errorf("asked: %v", addrs)
	}
	for _, addr := range addrs {
		r.silent(addr, r.now)
	}
	if len(r.far) != 0 || r.busy != 0 || len(r.asking) != 0 {
		t.Errorf("%d slow questions, %d in all run still", len(r.far), r.busy)
	}
}

// TestRollRoom: one address has so many members, who is there stays, and who vanished gives way.
func TestRollRoom(t *testing.T) {
	r := newRollTest(t)
	node := Meta{Role: RoleNode, State: StateServing}
	for i := range maxPerAddr {
		if got := r.prove(fmt.Sprint(i), fmt.Sprintf("192.0.2.1:%d", 1+i), node); got.what != joined {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	if got := r.prove("more", "192.0.2.1:1000", node); got.what != refused || len(r.members) != maxPerAddr {
		t.Fatalf("%+v, %d members", got, len(r.members))
	}
	r.members[at("192.0.2.1:7")].Alive = false
	if got := r.prove("more", "192.0.2.1:1000", node); got.what != joined || r.members[at("192.0.2.1:7")] != nil {
		t.Errorf("%+v", got)
	}
	if got := r.prove("elsewhere", "192.0.2.2:1", node); got.what != joined {
		t.Errorf("another address: %+v", got)
	}
}

// TestRollSucceeds: an agent that runs again on its host takes the place of the one that vanished, and of no other's.
func TestRollSucceeds(t *testing.T) {
	r := newRollTest(t)
	meta := announcing("192.0.2.1:443", 1).Meta
	r.prove("a", "192.0.2.1:1001", meta)
	since := r.members[at("192.0.2.1:1001")].Since
	r.members[at("192.0.2.1:1001")].Alive = false
	if r.prove("a", "203.0.113.66:1001", meta); r.members[at("192.0.2.1:1001")] == nil {
		t.Fatal("another address, by the same name and with the same words, took its place")
	}
	if r.prove("b", "192.0.2.1:1002", meta); r.members[at("192.0.2.1:1001")] != nil {
		t.Error("it stands beside its successor")
	}
	if got := r.members[at("192.0.2.1:1002")].Since; !got.Equal(since) {
		t.Errorf("it came at %s, the one before at %s", got, since)
	}
}

// TestRollStartsAnew: a node that vanished does not stand in the way when another has started at its address since, on
// another port; one that was there beside it is no such, nor is one elsewhere.
func TestRollStartsAnew(t *testing.T) {
	r := newRollTest(t)
	node := Meta{Role: RoleNode, State: StateServing}
	r.prove("old", "192.0.2.1:7946", node)
	r.prove("beside", "192.0.2.1:7000", node)
	r.members[at("192.0.2.1:7946")].Alive = false
	r.now = r.now.Add(time.Second)
	use := &Order{Op: OpKeyUse}
	members := func() (all []Member) {
		for _, p := range r.members {
			all = append(all, p.Member)
		}
		return all
	}
	node.Keys = []KeyPrint{use.Print}
	r.prove("beside", "192.0.2.1:7000", node)
	if got := r.prove("elsewhere", "192.0.2.2:7946", node); len(got.replaced) != 0 {
		t.Errorf("one elsewhere replaces %v", got.replaced)
	}
	if use.judge(members()) == nil {
		t.Error("a node that vanished is cut off without a word")
	}
	if got := r.prove("new", "192.0.2.1:7950", node); got.what != joined ||
		!slices.Equal(got.replaced, []string{"old"}) {
		t.Errorf("%+v", got)
	}
	if err := use.judge(members()); err != nil {
		t.Errorf("it blocks the key though another has its place: %v", err)
	}
}
