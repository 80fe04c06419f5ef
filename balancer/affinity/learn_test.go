package affinity

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// image is everything a store's tables hold, and its ticket keys.
func image(s *Store) (words [][]uint64, keys []Key) {
	for _, tab := range []*Table{s.entries, s.hints} {
		var w []uint64
		for i := range tab.words {
			w = append(w, tab.words[i].Load())
		}
		words = append(words, w)
	}
	for _, p := range s.allPools() {
		for k := range p.directory.Load().keys {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return words, keys
}

// TestJunkChangesNothing: 10,000 refused offers with good names in front and junk
// behind, and 10,000 with a known session ID, from one address and from 1,000.
func TestJunkChangesNothing(t *testing.T) {
	for _, networks := range []uint32{1, 1000} {
		s := newStore(t)
		p := s.Pool(1)
		for i := range 3 {
			p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, t0)
			p.IssuedTicket(p.HashIdent(layout("openssl", "L", i)), 0, 2, t0)
			s.takeEvidence()
		}
		id := p.HashID([]byte("a session"))
		p.IssuedID(id, 3, t0)
		words, keys := image(s)

		r := rand.New(rand.NewPCG(1, 1))
		lost := 0
		for i := range uint32(10_000) {
			now := t0 + i/100
			junk := layout("openssl", string("KL"[i%2]), 10)
			for j := 16; j < len(junk); j++ {
				junk[j] = byte(r.Uint32())
			}
			o := offerOf(p, OfferPSK, junk)
			o.Network = r.Uint32N(networks)
			h := p.Find(o, now)
			p.Refused(o, h.Source, max(h.ID, 1), now)

			known := &Offer{Kind: OfferID, ID: id, HasID: true, Network: o.Network}
			if h := p.Find(known, now); h.ID != 3 {
				t.Fatalf("the known session has lost its home after %d refusals: %+v", i, h)
			}
			p.Refused(known, SourceSession, 3, now)

			// A good client now and then.
			if i%50 == 49 {
				good := offerOf(p, OfferPSK, layout("openssl", "L", 11))
				if h := p.Find(good, now); h.ID == 2 {
					p.Accepted(good, 0, true, 2, now)
				} else {
					lost++
				}
			}
			s.takeEvidence()
		}
		if lost != 0 {
			t.Errorf("%d networks: %d good offers sent elsewhere", networks, lost)
		}
		words2, keys2 := image(s)
		if !slices.Equal(keys, keys2) || !slices.EqualFunc(words, words2, slices.Equal) {
			t.Errorf("%d networks: junk has changed the tables or the directory", networks)
		}
		if h := p.Find(offerOf(p, OfferPSK, layout("openssl", "K", 12)), t0+100); h.ID != 1 && h.Source != SourceExplore {
			t.Errorf("%d networks: the key that saw only junk has moved: %+v", networks, h)
		}
	}
}

// TestNamelessLeaveNothing: 10,000 tickets without names confirm nothing, and soon
// hardly any of them bothers the owner.
func TestNamelessLeaveNothing(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	asked := 0
	for i := range 10_000 {
		id := uint32(i%2 + 1)
		p.IssuedTicket(p.HashIdent(layout("go", "", i)), 0, id, t0)
		asked += len(s.ring)
		s.takeEvidence()
		if h := p.Find(offerOf(p, OfferTicket, layout("go", "", i)), t0); h.ID != id || h.Source != SourceSession {
			t.Fatalf("ticket %d of backend %d is not known: %+v", i, id, h)
		}
	}
	if n := len(p.directory.Load().keys); n != 0 {
		t.Errorf("%d ticket keys", n)
	}
	if want := 2 * (quietAfter + 5000/lookEvery); asked > want+2 {
		t.Errorf("the owner looked at %d tickets, want %d", asked, want)
	}

	// Then one of them is replaced by a server that names its keys.
	for i := range 3 * lookEvery {
		p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, t0)
		s.takeEvidence()
	}
	if h := p.Find(offerOf(p, OfferTicket, layout("openssl", "K", 9999)), t0); h.ID != 1 {
		t.Errorf("its key was not found: %+v", h)
	}
}

// TestRefusedOffersPerKey: a key costs at most one refused offer per other
// backend, in TLS 1.3, where nothing else teaches it.
func TestRefusedOffersPerKey(t *testing.T) {
	const backends = 5
	for issuer := uint32(1); issuer <= backends; issuer++ {
		s := newStore(t)
		p := s.Pool(1)
		refused := 0
		for i := range 40 {
			o := offerOf(p, OfferPSK, layout("openssl", "K", i))
			h := p.Find(o, t0)
			id := h.ID
			if h.Source == SourceExplore {
				if id = p.Hint(o, t0); id == 0 {
					for id = 1; p.WasRefused(o, id, t0); id++ {
					}
				}
			}
			if id == issuer {
				p.Accepted(o, 0, true, id, t0)
			} else {
				refused++
				p.Refused(o, h.Source, id, t0)
			}
			s.takeEvidence()
		}
		if refused != int(issuer)-1 {
			t.Errorf("issuer %d: %d refused offers, want %d", issuer, refused, issuer-1)
		}
	}
}

func TestIssuedTicketTTL(t *testing.T) {
	const day = 24 * 60 * 60
	for _, tt := range []struct {
		sentence string
		hint     uint32
		ttl      uint32
	}{
		{"the hint is the time to live", 300, 300},
		{"no hint means a day", 0, day},
		{"nobody is believed more than a week", 1 << 31, 7 * day},
	} {
		p := newStore(t).Pool(1)
		b := layout("go", "", 1)
		p.IssuedTicket(p.HashIdent(b), tt.hint, 5, t0)
		o := offerOf(p, OfferTicket, b)
		if h := p.Find(o, t0+tt.ttl-1); h.ID != 5 {
			t.Errorf("%s: gone before", tt.sentence)
		}
		if h := p.Find(o, t0+tt.ttl); h.ID != 0 {
			t.Errorf("%s: lives longer", tt.sentence)
		}
	}
	p := newStore(t).Pool(1)
	p.IssuedTicket(p.HashIdent(nil), 0, 5, t0)
	if n := p.store.entries.Used(t0); n != 0 {
		t.Error("an empty ticket was learned")
	}
}

func TestAcceptedTeachesOnlyWhatItProves(t *testing.T) {
	ticket, other := layout("go", "", 1), layout("go", "", 2)
	for _, tt := range []struct {
		sentence string
		kind     OfferKind
		sel      int
		tls13    bool
		first    bool // the first identity is known afterwards
		second   bool
	}{
		{"TLS 1.3 teaches the selected identity", OfferPSK, 1, true, false, true},
		{"and no other", OfferPSK, 0, true, true, false},
		{"an index out of range teaches nothing", OfferPSK, 7, true, false, false},
		{"a TLS 1.2 ticket that is not known teaches nothing", OfferTicket, SelTicket, false, false, false},
		{"nor do identities that TLS 1.2 never looked at", OfferPSK, SelTicket, false, false, false},
		{"nor an ID", OfferPSK, SelID, false, false, false},
	} {
		p := newStore(t).Pool(1)
		p.Accepted(offerOf(p, tt.kind, ticket, other), tt.sel, tt.tls13, 5, t0)
		for i, b := range [][]byte{ticket, other} {
			known := p.Find(offerOf(p, tt.kind, b), t0).ID == 5
			if known != [2]bool{tt.first, tt.second}[i] {
				t.Errorf("%s: identity %d known: %v", tt.sentence, i, known)
			}
		}
	}
}

func TestTLS12AcceptanceRefreshes(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	nameless := layout("go", "", 1)
	id := p.HashID([]byte("an ID"))
	p.IssuedTicket(p.HashIdent(nameless), 0, 1, t0)
	p.IssuedID(id, 1, t0)
	for i := range 2 {
		p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, t0)
	}
	s.takeEvidence()
	later := uint32(t0 + 9*60*60)
	for _, b := range [][]byte{nameless, layout("openssl", "K", 7)} {
		o := offerOf(p, OfferTicket, b)
		o.ID, o.HasID = p.HashID([]byte("a throw-away token")), true
		p.Accepted(o, SelTicket, false, 1, later)
	}
	beside := offerOf(p, OfferTicket, layout("openssl", "L", 1))
	beside.ID, beside.HasID = id, true
	p.Accepted(beside, SelTicket, false, 1, later)
	s.takeEvidence()
	now := later + 9*60*60 // the ID would be 18 hours old
	if h := p.Find(&Offer{Kind: OfferID, ID: id, HasID: true}, now); h.ID != 1 {
		t.Errorf("the ID was not refreshed: %+v", h)
	}
	now = later + 23*60*60 // the others 32 hours
	s.age(now)
	for _, b := range [][]byte{nameless, layout("openssl", "K", 8)} {
		if h := p.Find(offerOf(p, OfferTicket, b), now); h.ID != 1 {
			t.Errorf("a ticket was not refreshed: %+v", h)
		}
	}
	// Backend 2 may have resumed by ID: the entry stays backend 1's alone.
	p.Accepted(offerOf(p, OfferTicket, nameless), SelTicket, false, 2, now)
	if h := p.Find(offerOf(p, OfferTicket, nameless), now); h.ID != 1 || h.Any {
		t.Errorf("a TLS 1.2 acceptance moved an entry: %+v", h)
	}
}

func TestTicketKeysAreBounded(t *testing.T) {
	const limit = 10
	s := newStore(t, func(c *Config) { c.MaxTicketKeys = limit })
	p := s.Pool(1)
	key := func(i int) string { return string(rune('a' + i)) }
	for i := range 3 * limit {
		for j := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", key(i), j)), 60, 1, t0+uint32(i))
			s.takeEvidence()
		}
		if i == 5 { // the first key stays in use
			continue
		}
		p.Accepted(offerOf(p, OfferTicket, layout("openssl", key(0), 9)), SelTicket, false, 1, t0+uint32(i))
	}
	if n := len(p.directory.Load().keys); n != limit {
		t.Errorf("%d ticket keys, want %d", n, limit)
	}
	for i, want := range map[int]bool{0: true, 1: false, 3*limit - 1: true} {
		if h := p.Find(offerOf(p, OfferTicket, layout("openssl", key(i), 9)), t0); (h.ID == 1) != want {
			t.Errorf("key %d known: %v, want %v", i, !want, want)
		}
	}
}

func TestFullRingIsCounted(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	for i := range ringSize/2 + 10 {
		p.submit(&Ident{Exact: Key(i + 1)}, 1, t0)
	}
	if n := s.stats(t0).Overflow; n != 10 {
		t.Errorf("overflow is %d, want 10: a pool has half of the ring", n)
	}
	s.Pool(2).submit(&Ident{Exact: 1}, 1, t0)
	if n := s.stats(t0).Overflow; n != 10 {
		t.Error("another pool found no room")
	}
	s.takeEvidence()
	if len(s.ring) != 0 {
		t.Error("the owner left something")
	}
	if p.submit(&Ident{Exact: 1}, 1, t0); p.waiting.Load() != 1 || len(s.ring) != 1 {
		t.Errorf("%d of %d are said to wait", p.waiting.Load(), len(s.ring))
	}
}

// TestLoopsAndOwner: everything at once, for the race detector.
func TestLoopsAndOwner(t *testing.T) {
	s := newStore(t, func(c *Config) { c.Fact = func(Fact) {} })
	p := s.Pool(1)
	ctx := t.Context()
	go s.Run(ctx)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			keys := []string{"K", "L", "M", "N"}
			for i := range 5000 {
				n := r.IntN(len(keys))
				id, now := uint32(n+1), uint32(t0+i/100)
				b := layout([]string{"openssl", "jsse", "go"}[r.IntN(3)], keys[n], r.IntN(10_000))
				o := offerOf(p, OfferPSK, b)
				o.Client, o.Network = Key(r.IntN(50)+1), r.Uint32()
				h := p.Find(o, now)
				if h.Source == SourceTicketKey && h.Set == nil && h.ID == 0 {
					t.Errorf("no home in %+v", h)
				}
				switch r.IntN(6) {
				case 0:
					p.IssuedTicket(o.Idents[0], 0, id, now)
				case 1:
					p.Accepted(o, 0, true, id, now)
				case 2:
					p.Refused(o, h.Source, id, now)
					p.Lost(o, h, id, now)
				case 3:
					p.IssuedID(p.HashID(b), id, now)
					p.Completed(o.Client, id, now)
				case 4:
					p.Hint(o, now)
					p.WasRefused(o, id, now)
				case 5:
					if i%100 == 0 {
						s.Stats()
					}
				}
			}
		})
	}
	wg.Wait()
}

// A client that offers one ticket again and again must not keep the directory's owner awake.
func TestRepeatedTicketIsNoEvidence(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	ticket := bytes.Repeat([]byte{7}, 120)
	offer := Offer{Kind: OfferPSK, N: 1}
	offer.Idents[0] = p.HashIdent(ticket)
	for range 100 {
		p.Accepted(&offer, 0, true, 3, 1000)
	}
	if n := len(s.ring); n != 1 {
		t.Errorf("%d pieces of evidence wait for the owner, want 1", n)
	}
}

// A client that has a session ID of a backend resumes by it, with junk under the name of any ticket key beside it: that keeps no
// key alive. With an ID that is its own throw-away token, as beside any ticket, the ticket was accepted.
func TestAcceptedByIDSaysNothingOfTheTicket(t *testing.T) {
	for _, issued := range []bool{true, false} {
		s := newStore(t)
		p := s.Pool(1)
		for i := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, t0)
			s.takeEvidence()
		}
		o := offerOf(p, OfferTicket, layout("openssl", "K", 9))
		o.ID, o.HasID = p.HashID([]byte("a session")), true
		if issued {
			p.IssuedID(o.ID, 1, t0)
		}
		later := uint32(t0 + 100)
		p.Accepted(o, SelTicket, false, 1, later)
		k, ok := p.TicketKey(o.Idents[0], 1, later)
		if want := map[bool]uint32{true: t0, false: later}[issued]; !ok || k.Last != want {
			t.Errorf("ID issued %v: the key was proved at %d, want %d", issued, k.Last, want)
		}
	}
}
