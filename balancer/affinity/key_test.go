package affinity

import (
	"net/netip"
	"testing"
)

func TestKeysDiffer(t *testing.T) {
	p, q := newStore(t).Pool(1), newStore(t).Pool(1)
	other := newStore(t, func(c *Config) { c.Seed = 2 }).Pool(1)
	b := ticketOf(32, "", 1)
	id := p.HashID(b)
	for _, tt := range []struct {
		sentence string
		k        Key
		same     bool
	}{
		{"with the same seed, every node has the same key", q.HashID(b), true},
		{"with another seed, another", other.HashID(b), false},
		{"in another pool, another", p.store.Pool(2).HashID(b), false},
		{"as a ticket, another", p.HashIdent(b).Exact, false},
		{"one byte makes the difference", p.HashID(b[:31]), false},
	} {
		if (tt.k == id) != tt.same {
			t.Error(tt.sentence)
		}
	}
	if p.HashID(nil) != 0 {
		t.Error("an empty session ID has no key")
	}
}

func TestKeysOfClients(t *testing.T) {
	p := newStore(t).Pool(1)
	key := func(addr, sni string, shape uint64) Key {
		return p.HashClient(netip.MustParseAddr(addr), []byte(sni), shape)
	}
	base := key("192.0.2.1", "a.example", 1)
	for _, tt := range []struct {
		sentence string
		k        Key
		same     bool
	}{
		{"the same client has the same key", key("192.0.2.1", "a.example", 1), true},
		{"also when it comes mapped into IPv6", key("::ffff:192.0.2.1", "a.example", 1), true},
		{"a neighbour is another client", key("192.0.2.2", "a.example", 1), false},
		{"another name is another service", key("192.0.2.1", "b.example", 1), false},
		{"another shape is another program", key("192.0.2.1", "a.example", 2), false},
		{"IPv6 with the same first bytes is another client", key("c000:201::", "a.example", 1), false},
	} {
		if (tt.k == base) != tt.same {
			t.Error(tt.sentence)
		}
	}
	if key("2001:db8::1", "", 0) != key("2001:db8::2", "", 0) {
		t.Error("of an IPv6 address, the /64 counts")
	}
	if key("2001:db8::1", "", 0) == key("2001:db8:0:1::1", "", 0) {
		t.Error("another /64 is another client")
	}
}

func TestHashNetwork(t *testing.T) {
	net := func(s string) uint32 { return HashNetwork(netip.MustParseAddr(s)) }
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.200", true},
		{"192.0.2.1", "::ffff:192.0.2.9", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"2001:db8:1::1", "2001:db8:1:ffff::1", true},
		{"2001:db8:1::1", "2001:db8:2::1", false},
	} {
		if (net(tt.a) == net(tt.b)) != tt.same {
			t.Errorf("%s and %s: same network should be %v", tt.a, tt.b, tt.same)
		}
	}
}
