package affinity

import (
	"testing"
)

// BenchmarkLookup reads keys at random from a table of 10 million entries, 267 MB,
// filled to its size: most of the time is the memory's.
func BenchmarkLookup(b *testing.B) {
	const n = 10_000_000
	tab := newTable(b, n)
	for i := range uint64(n) {
		tab.Insert(makeKey(mix(i), 0), 1, t0+100, t0)
	}
	for _, bb := range []struct {
		name string
		base uint64
	}{{"hit", 0}, {"miss", n}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			i, found := uint64(0), 0
			for b.Loop() {
				i = mix(i)
				if _, _, ok := tab.Lookup(makeKey(mix(bb.base+i%n), 0), t0); ok {
					found++
				}
			}
			if chance := n / 1_000_000; (found > chance) != (bb.base == 0) { // see Key
				b.Fatal(found, "found")
			}
		})
	}
}

// BenchmarkInsert writes new keys: into free slots, and into a table that
// is full.
func BenchmarkInsert(b *testing.B) {
	for _, bb := range []struct {
		name    string
		entries int
	}{{"free", 20_000_000}, {"full", 1_000_000}} {
		b.Run(bb.name, func(b *testing.B) {
			tab := newTable(b, bb.entries)
			i := uint64(0)
			for range 4_000_000 { // the pages are there, and the small table is full
				i++
				tab.Insert(makeKey(mix(i), 0), 1, t0+100, t0)
			}
			b.ReportAllocs()
			for b.Loop() {
				i++
				tab.Insert(makeKey(mix(i), 0), 1, t0+100, t0)
			}
		})
	}
}

// BenchmarkFind routes one PSK offer in a directory of 300 ticket keys, with a
// table of a million entries behind it.
func BenchmarkFind(b *testing.B) {
	s := newStore(b, func(c *Config) { c.TableEntries = 1_000_000 })
	p := s.Pool(1)
	for key := range 300 {
		for i := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", string(rune(key+300)), i)), 0, uint32(key%3+1), t0)
		}
		s.takeEvidence()
	}
	offers := make([]*Offer, 300)
	for key := range offers {
		offers[key] = offerOf(p, OfferPSK, layout("openssl", string(rune(key+300)), 9))
	}
	b.Run("ticket_key", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i++; p.Find(offers[i%300], t0).Source != SourceTicketKey {
				b.Fatal("not found")
			}
		}
	})
	b.Run("explore", func(b *testing.B) {
		o := offerOf(p, OfferPSK, layout("go", "", 9))
		b.ReportAllocs()
		for b.Loop() {
			if p.Find(o, t0).Source != SourceExplore {
				b.Fatal("found")
			}
		}
	})
	b.Run("ticket_key/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				p.Find(offers[i%300], t0)
			}
		})
	})
}

func BenchmarkHashIdent(b *testing.B) {
	p := newStore(b).Pool(1)
	for _, n := range []int{32, 192, 1098} {
		b.Run(map[int]string{32: "32B", 192: "192B", 1098: "1098B"}[n], func(b *testing.B) {
			t := ticketOf(n, "", 1)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				p.HashIdent(t)
			}
		})
	}
}

func BenchmarkLearn(b *testing.B) {
	s := newStore(b)
	p := s.Pool(1)
	for i := range 2 {
		p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, t0)
	}
	s.takeEvidence()
	o := offerOf(p, OfferPSK, layout("openssl", "K", 9))
	b.Run("accepted", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.Accepted(o, 0, true, 1, t0)
		}
	})
	b.Run("issued", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.IssuedTicket(o.Idents[0], 300, 1, t0)
		}
	})
	b.Run("refused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.Refused(o, SourceTicketKey, 1, t0)
		}
	})
}

// BenchmarkOwner applies evidence of a nameless backend, the most there can be to
// compare, and of new keys in a full directory, the most there can be to copy.
func BenchmarkOwner(b *testing.B) {
	b.Run("nameless", func(b *testing.B) {
		s := newStore(b)
		p := s.Pool(1)
		i := Key(0)
		for b.Loop() {
			i += NumLengths
			s.takeEvidence(evidence{pool: p, ident: Ident{Exact: i, Prefix: [NumLengths]Key{i, i + 1, i + 2, i + 3, i + 4}}, id: 1, now: t0})
		}
	})
	b.Run("new_key_of_4096", func(b *testing.B) {
		s := newStore(b)
		p := s.Pool(1)
		i := Key(0)
		for b.Loop() {
			for j := range Key(2) {
				i++
				s.takeEvidence(evidence{pool: p, ident: Ident{Exact: i, Prefix: [NumLengths]Key{len16: i - j}}, id: 1, now: t0})
			}
		}
	})
}
