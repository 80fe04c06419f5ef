package pool

import (
	"strings"
	"testing"

	"homing/balancer/netaddr"
)

// TestIDs pins the values: they are part of what nodes of different versions tell each other.
func TestIDs(t *testing.T) {
	tests := []struct {
		pool, node, addr string
		want             ID
		why              string
	}{
		{"web", "", "192.0.2.1:443", 0x478944da, "IPv4"},
		{"web", "", "[::ffff:192.0.2.1]:443", 0x478944da, "the same address, mapped"},
		{"web", "one", "192.0.2.1:443", 0x478944da, "the same at any node"},
		{"web", "", "192.0.2.1:8443", 0x5ecc5d10, "another port"},
		{"mail", "", "192.0.2.1:443", 0xce1a331e, "another pool"},
		{"web", "", "[2001:db8::1]:443", 0xbf85a5fe, "IPv6"},
		{"web", "", "unix:/run/app.sock", 0xa70109e7, "a unix socket of a node that stands alone"},
		{"web", "one", "unix:/run/app.sock", 0x104f342c, "a unix socket of a node of a cluster"},
		{"web", "two", "unix:/run/app.sock", 0x965efb1c, "another node's at the same path"},
	}
	for _, tt := range tests {
		if got := makeID(tt.pool, tt.node, netaddr.MustParse(tt.addr)); got != tt.want {
			t.Errorf("%s: makeID(%q, %q, %s) = %#08x, want %#08x", tt.why, tt.pool, tt.node, tt.addr, got, tt.want)
		}
	}
}

func TestReservedIDs(t *testing.T) {
	tests := []struct {
		hash uint32
		want ID
	}{{0, 1}, {1, 1}, {0xfffffffe, 0xfffffffe}, {0xffffffff, 0xfffffffe}, {77, 77}}
	for _, tt := range tests {
		if got := unreserve(tt.hash); got != tt.want {
			t.Errorf("unreserve(%#x) = %#x, want %#x", tt.hash, got, tt.want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	p := newPool(t, Options{}, numbered(3)...)
	s := p.Snapshot()
	for _, b := range s.All() {
		if s.ByID(b.ID) != b {
			t.Errorf("ByID(%x) = %v, want %v", b.ID, s.ByID(b.ID), b.Addr)
		}
	}
	if s.ByID(NoID) != nil || s.ByID(AnyID) != nil {
		t.Error("a reserved ID has a backend")
	}
	select {
	case <-s.Replaced():
		t.Error("the snapshot is replaced already")
	default:
	}
	p.SetUp(member(p, 0), false, "test")
	<-s.Replaced()
	if len(s.Live()) != 3 || len(p.Snapshot().Live()) != 2 || len(p.Snapshot().All()) != 3 {
		t.Errorf("old snapshot %d live, new %d of %d", len(s.Live()), len(p.Snapshot().Live()), len(p.Snapshot().All()))
	}
}

// TestSetKeepsIdentity: what stays in the list keeps its state and conns, and takes its new weight and bound.
func TestSetKeepsIdentity(t *testing.T) {
	p := newPool(t, Options{}, numbered(3)...)
	a, b, c := member(p, 0), member(p, 1), member(p, 2)
	p.SetUp(a, false, "test")
	p.SetDraining(b, DrainSoft)
	hold(b, 7)
	hold(c, 2)
	specs := numbered(4)[:2]
	specs[1].Weight, specs[1].MaxConns = 9, 8
	if err := p.Set(append(specs, numbered(4)[3])); err != nil {
		t.Fatal(err)
	}
	s := p.Snapshot()
	if s.All()[0] != a || a.Up() {
		t.Error("a backend that is down must stay the same and down")
	}
	if s.All()[1] != b || b.Draining() != DrainSoft || b.Open() != 7 || b.Weight() != 9 || b.MaxConns() != 8 {
		t.Errorf("backend %v: draining %v, open %d, weight %d, max conns %d", b.Addr, b.Draining(), b.Open(), b.Weight(), b.MaxConns())
	}
	if s.ByID(c.ID) != nil || c.Up() {
		t.Error("a backend that left the list is still used")
	}
	if d := s.All()[2]; !d.Up() || len(s.Live()) != 1 || s.Live()[0] != d {
		t.Error("a new backend must start as up")
	}
	p.SetUp(c, false, "too late")
	p.SetDraining(c, DrainHard)
	p.ConnectFailed(c, "connection refused")
	if p.Snapshot() != s {
		t.Error("a backend that left the list changed the pool")
	}
	c.Release()
	c.Release()
	if err := p.Set(numbered(3)); err != nil {
		t.Fatal(err)
	}
	if p.Snapshot().All()[2] == c {
		t.Error("a backend without conns was kept after it had left")
	}
}

func TestHash(t *testing.T) {
	web, mail := newPool(t, Options{}, numbered(1)...), newPool(t, Options{}, numbered(1)...)
	if web.Hash() == 0 || web.Hash() != mail.Hash() || web.Name() != "web" {
		t.Errorf("Hash = %x and %x, Name = %q", web.Hash(), mail.Hash(), web.Name())
	}
}

// TestWords pins the words that metrics, logs and the command line show.
func TestWords(t *testing.T) {
	var got []string
	for d := DrainOff; d <= DrainHard+1; d++ {
		got = append(got, d.String())
	}
	for u := UsableOK; u <= UsableHardDrained+1; u++ {
		got = append(got, u.String())
	}
	for p := RoundRobin; p <= ClientHash+1; p++ {
		got = append(got, p.String())
	}
	want := "off soft hard invalid ok backend_down full overloaded drained invalid round-robin least-conn client-hash invalid"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("words are %s, want %s", text, want)
	}
}
