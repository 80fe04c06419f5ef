package affinity

import (
	"net/netip"
	"testing"
)

// TestNoAllocations: what loops call allocates nothing.
func TestNoAllocations(t *testing.T) {
	facts := 0
	s := newStore(t, func(c *Config) { c.Fact = func(Fact) { facts++ } })
	p := s.Pool(1)
	for id := range uint32(3) {
		for i := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, id+1, t0)
			p.IssuedTicket(p.HashIdent(layout("jsse", string(rune('a'+id)), i)), 0, id+1, t0)
		}
	}
	s.takeEvidence()
	named := offerOf(p, OfferPSK, layout("openssl", "K", 9))
	named.Client = 77
	unknown := offerOf(p, OfferPSK, layout("openssl", "X", 9), layout("go", "", 1))
	unknown.Client = 78
	raw := layout("openssl", "K", 10)
	addr := netip.MustParseAddr("2001:db8::1")
	sni := []byte("www.example.org")
	i := 1000
	n := uint32(0) // changes what is learned each time
	var d Digest
	for _, tt := range []struct {
		name string
		call func()
	}{
		{"Lookup", func() { s.entries.Lookup(named.Idents[0].Exact, t0) }},
		{"Insert", func() { i++; s.entries.Insert(Key(i), 1, t0+9, t0) }},
		{"Delete", func() { s.entries.Delete(Key(i)) }},
		{"HashID", func() { p.HashID(raw[:32]) }},
		{"HashIdent", func() { p.HashIdent(raw) }},
		{"HashClient", func() { p.HashClient(addr, sni, 5) }},
		{"HashNetwork", func() { HashNetwork(addr) }},
		{"Digest", func() { d.Reset(p); d.Write(raw[:50]); d.Write(raw[50:]); d.Ident() }},
		{"Find, ticket key", func() { p.Find(named, t0) }},
		{"Find, unknown", func() { p.Find(unknown, t0) }},
		{"Hint", func() { p.Hint(unknown, t0) }},
		{"WasRefused", func() { p.WasRefused(unknown, 1, t0) }},
		{"Lost", func() { p.Lost(named, Home{Source: SourceTicketKey}, 1, t0) }},
		{"Accepted, known", func() { p.Accepted(named, 0, true, 1, t0) }},
		{"Accepted, new", func() {
			n++
			unknown.Idents[1].Exact += Key(n)
			p.Accepted(unknown, 1, true, 1, t0)
		}},
		{"Accepted, TLS 1.2", func() { p.Accepted(named, SelTicket, false, 1, t0) }},
		{"Refused, known", func() { p.Refused(named, SourceTicketKey, 1, t0) }},
		{"Refused, unknown", func() { n++; p.Refused(unknown, SourceExplore, n, t0) }},
		{"IssuedID", func() { n++; p.IssuedID(Key(n), 1, t0) }},
		{"IssuedTicket, known", func() { p.IssuedTicket(named.Idents[0], 0, 1, t0) }},
		{"IssuedTicket, new", func() {
			n++
			unknown.Idents[0].Exact += Key(n)
			p.IssuedTicket(unknown.Idents[0], 300, 1, t0)
		}},
		{"Completed", func() { n++; p.Completed(Key(n), 1, t0) }},
	} {
		if got := testing.AllocsPerRun(1000, tt.call); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
	}
	if len(s.ring) == 0 || facts == 0 {
		t.Error("nothing was learned: the test is void")
	}
}
