package pool

import (
	"net/netip"
	"slices"
	"testing"

	"homing/balancer/netaddr"
)

func discovering(t *testing.T, specs ...Spec) *Pool {
	t.Helper()
	p, err := New("web", specs, Options{Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func found(addr string, weight int, drain Drain) Discovered {
	return Discovered{Addr: netip.MustParseAddrPort(addr), Weight: weight, Drain: drain}
}

func discover(t *testing.T, p *Pool, backends ...Discovered) {
	t.Helper()
	if err := p.SetDiscovered(backends); err != nil {
		t.Fatal(err)
	}
}

func at(t *testing.T, p *Pool, addr string) *Backend {
	t.Helper()
	b := p.Snapshot().ByID(makeID(p.Name(), "", netaddr.MustParse(addr)))
	if b == nil {
		t.Fatalf("%s is not in the pool", addr)
	}
	return b
}

func TestDiscoverIntoEmptyPool(t *testing.T) {
	p := discovering(t)
	if got := p.Snapshot().Fresh(RoundRobin, 0, Skip{}); got != nil {
		t.Fatalf("an empty pool gave %v", got.Addr)
	}
	discover(t, p, found("192.0.2.2:443", 3, DrainOff), found("192.0.2.1:443", 0, DrainOff))
	if len(p.Snapshot().Live()) != 2 || at(t, p, "192.0.2.2:443").Weight() != 3 || at(t, p, "192.0.2.1:443").Weight() != 1 {
		t.Errorf("live %d", len(p.Snapshot().Live()))
	}
	discover(t, p)
	if len(p.Snapshot().All()) != 0 || p.Snapshot().LastDown() != nil {
		t.Error("the pool is not empty again")
	}
}

// TestDiscoverStaticWins: one address is one backend, with the settings of the spec, and it stays when the announcement
// goes. IDs and so Maglev tables do not depend on where a backend came from.
func TestDiscoverStaticWins(t *testing.T) {
	p := discovering(t, Spec{Addr: "192.0.2.1:443", Weight: 5, MaxConns: 7})
	static := at(t, p, "192.0.2.1:443")
	discover(t, p, found("[::ffff:192.0.2.1]:443", 9, DrainOff), found("192.0.2.2:443", 2, DrainOff))
	if b := at(t, p, "192.0.2.1:443"); b != static || b.Weight() != 5 || b.MaxConns() != 7 {
		t.Errorf("weight %d, max conns %d, the same: %t", b.Weight(), b.MaxConns(), b == static)
	}
	other, err := New("web", []Spec{{Addr: "192.0.2.1:443", Weight: 5}, {Addr: "192.0.2.2:443", Weight: 2}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for hash := range uint64(10_000) {
		a, b := p.Snapshot().Maglev(hash*0x9e3779b97f4a7c15, Skip{}), other.Snapshot().Maglev(hash*0x9e3779b97f4a7c15, Skip{})
		if a.ID != b.ID {
			t.Fatalf("hash %d: %v by discovery, %v by specs", hash, a.Addr, b.Addr)
		}
	}
	discover(t, p)
	if all := p.Snapshot().All(); len(all) != 1 || all[0] != static {
		t.Errorf("%d backends are left", len(all))
	}
	if err := p.Set([]Spec{{Addr: "192.0.2.3:443"}}); err != nil {
		t.Fatal(err)
	}
	discover(t, p, found("192.0.2.2:443", 2, DrainOff))
	if err := p.Set(nil); err != nil {
		t.Fatal(err)
	}
	if all := p.Snapshot().All(); len(all) != 1 || all[0].Addr.String() != "192.0.2.2:443" {
		t.Errorf("new specs dropped what was discovered: %d backends", len(all))
	}
}

// TestDiscoverKeepsConns: a backend that goes and comes back is the same as long as conns are open.
func TestDiscoverKeepsConns(t *testing.T) {
	p := discovering(t)
	discover(t, p, found("192.0.2.1:443", 1, DrainOff), found("192.0.2.2:443", 1, DrainOff))
	b := at(t, p, "192.0.2.1:443")
	b.Acquire()
	discover(t, p, found("192.0.2.2:443", 1, DrainOff))
	if p.Snapshot().ByID(b.ID) != nil || p.Snapshot().Usable(b) != UsableDown {
		t.Error("it still takes conns")
	}
	discover(t, p, found("192.0.2.1:443", 4, DrainOff), found("192.0.2.2:443", 1, DrainOff))
	if back := at(t, p, "192.0.2.1:443"); back != b || back.Open() != 1 || back.Weight() != 4 {
		t.Errorf("it came back with %d open conns and weight %d", back.Open(), back.Weight())
	}
}

func TestDiscoverDrain(t *testing.T) {
	p := discovering(t, Spec{Addr: "192.0.2.9:443"})
	discover(t, p, found("192.0.2.1:443", 1, DrainSoft), found("192.0.2.9:443", 1, DrainSoft))
	b, static := at(t, p, "192.0.2.1:443"), at(t, p, "192.0.2.9:443")
	b.Acquire() // so that it keeps its identity
	if b.Draining() != DrainSoft || static.Draining() != DrainSoft {
		t.Fatalf("draining %v and %v", b.Draining(), static.Draining())
	}
	p.SetDraining(b, DrainHard) // an operator
	discover(t, p, found("192.0.2.1:443", 2, DrainSoft), found("192.0.2.9:443", 1, DrainSoft))
	if b.Draining() != DrainHard {
		t.Error("the operator's word was undone by an announcement that did not change")
	}
	discover(t, p)
	discover(t, p, found("192.0.2.1:443", 1, DrainOff))
	if b.Draining() != DrainOff || static.Draining() != DrainOff {
		t.Errorf("after the announcements went: %v and %v", b.Draining(), static.Draining())
	}
}

func TestDiscoverRefused(t *testing.T) {
	p := discovering(t)
	discover(t, p, found("192.0.2.1:443", 1, DrainOff))
	for _, bad := range []Discovered{found("0.0.0.0:443", 1, DrainOff), found("192.0.2.2:0", 1, DrainOff), found("192.0.2.2:443", 1001, DrainOff), {}} {
		if err := p.SetDiscovered([]Discovered{bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if len(p.Snapshot().All()) != 1 {
		t.Error("something changed")
	}
	closed, err := New("web", []Spec{{Addr: "192.0.2.1:443"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.SetDiscovered([]Discovered{found("192.0.2.2:443", 1, DrainOff)}); err == nil {
		t.Error("a pool without discovery took a backend")
	}
}

// TestDiscoverMovesFew: after one of N backends leaves, at most 1/N + 2 % of the choices for unknown identifiers change.
func TestDiscoverMovesFew(t *testing.T) {
	p := discovering(t)
	var backends []Discovered
	for i := range 10 {
		backends = append(backends, Discovered{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 443), Weight: 1})
	}
	discover(t, p, backends...)
	before := p.Snapshot()
	discover(t, p, slices.Delete(slices.Clone(backends), 4, 5)...)
	after, moved := p.Snapshot(), 0
	const n = 10_000
	for i := range uint64(n) {
		if before.Maglev(i*0x9e3779b97f4a7c15, Skip{}).ID != after.Maglev(i*0x9e3779b97f4a7c15, Skip{}).ID {
			moved++
		}
	}
	if moved > n/10+n*2/100 {
		t.Errorf("%d of %d choices changed", moved, n)
	}
}

// TestDiscoverUnchecked: where checks run, a backend that announced itself gets conns once one of them has called it up;
// one that was in use before is up, as is one that a spec gives.
func TestDiscoverUnchecked(t *testing.T) {
	p, err := New("web", []Spec{{Addr: "192.0.2.1:443"}}, Options{Discover: true, CheckFirst: true})
	if err != nil {
		t.Fatal(err)
	}
	known := found("192.0.2.2:443", 1, DrainOff)
	known.Known = true
	discover(t, p, known, found("192.0.2.3:443", 1, DrainOff))
	late := at(t, p, "192.0.2.3:443")
	if len(p.Snapshot().Live()) != 2 || late.Up() || !late.Unchecked() || at(t, p, "192.0.2.2:443").Unchecked() {
		t.Fatalf("%d are live", len(p.Snapshot().Live()))
	}
	p.SetUp(late, true, "a test")
	if len(p.Snapshot().Live()) != 3 || late.Unchecked() {
		t.Errorf("%d are live after the check", len(p.Snapshot().Live()))
	}
	p.SetUp(late, false, "a test")
	if late.Unchecked() {
		t.Error("it is new again")
	}
}

// TestDiscoverTooMany: the first given stay, and specs before all.
func TestDiscoverTooMany(t *testing.T) {
	p := discovering(t, Spec{Addr: "203.0.113.1:443"})
	var all []Discovered
	for i := range MaxBackends {
		all = append(all, Discovered{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 0, 1}), uint16(65000-i)), Weight: 1})
	}
	all = append(all, found("192.0.2.1:443", 1, DrainOff)) // the smallest of all
	discover(t, p, all...)
	if n := len(p.Snapshot().All()); n != MaxBackends || slices.ContainsFunc(p.Snapshot().All(), func(b *Backend) bool { return b.Addr == netaddr.MustParse("192.0.2.1:443") }) {
		t.Errorf("%d backends, with the last that came", n)
	}
	at(t, p, "203.0.113.1:443")
}

// TestLastDownStale: a backend that has come up since the snapshot was taken is tried before those that are down.
func TestLastDownStale(t *testing.T) {
	p := discovering(t, Spec{Addr: "192.0.2.1:443"}, Spec{Addr: "192.0.2.2:443"})
	one, two := at(t, p, "192.0.2.1:443"), at(t, p, "192.0.2.2:443")
	p.SetUp(one, false, "a test")
	p.SetUp(two, false, "a test")
	stale := p.Snapshot()
	p.SetUp(one, true, "a test")
	if got := stale.LastDown(); got != one {
		t.Errorf("%v, want the one that is up", got)
	}
	if got := p.Snapshot().LastDown(); got != nil {
		t.Errorf("%v while one is live", got.Addr)
	}
}
