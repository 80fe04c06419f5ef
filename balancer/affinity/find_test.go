package affinity

import "testing"

// routeStore knows a bit of everything: key K of backend 1, nameless ticket 1 and
// session "an ID" of backend 2, client 9 at home at backend 3.
func routeStore(t *testing.T) *Pool {
	s := newStore(t)
	p := s.Pool(1)
	for i := range 2 {
		p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 60, 1, t0)
	}
	s.takeEvidence()
	p.IssuedTicket(p.HashIdent(layout("go", "", 1)), 0, 2, t0)
	p.IssuedID(p.HashID([]byte("an ID")), 2, t0)
	p.Completed(9, 3, t0)
	return p
}

func TestFindInOrder(t *testing.T) {
	const now = t0 + 100 // the exact entries of K's tickets have expired
	p := routeStore(t)
	known, named, unknown := layout("go", "", 1), layout("openssl", "K", 7), layout("go", "", 2)
	for _, tt := range []struct {
		sentence string
		kind     OfferKind
		tickets  [][]byte
		id       string
		client   Key
		want     Source
		backend  uint32
		ident    int
	}{
		{"no offer is fresh, whoever asks", OfferNone, nil, "", 9, SourceFresh, 0, 0},
		{"a known identity goes home", OfferPSK, [][]byte{known}, "", 0, SourceSession, 2, 0},
		{"also as the second one, before a ticket key", OfferPSK, [][]byte{named, known}, "", 0, SourceSession, 2, 1},
		{"a ticket key comes before the client", OfferPSK, [][]byte{unknown, named}, "", 9, SourceTicketKey, 1, 1},
		{"a session ID beside an unknown ticket counts", OfferTicket, [][]byte{unknown}, "an ID", 9, SourceSession, 2, -1},
		{"beside a PSK it is a throw-away", OfferPSK, [][]byte{unknown}, "an ID", 9, SourceClient, 3, 0},
		{"an unknown ticket explores", OfferTicket, [][]byte{unknown}, "another", 0, SourceExplore, 0, 0},
		{"an unknown ID goes to the client's home", OfferID, nil, "another", 9, SourceClient, 3, 0},
		{"or is fresh", OfferID, nil, "another", 8, SourceFresh, 0, 0},
	} {
		o := offerOf(p, tt.kind, tt.tickets...)
		o.Client = tt.client
		if tt.id != "" {
			o.ID, o.HasID = p.HashID([]byte(tt.id)), true
		}
		h := p.Find(o, now)
		if h.Source != tt.want || h.ID != tt.backend || h.Ident != tt.ident {
			t.Errorf("%s: got %+v, want %v %d of offer %d", tt.sentence, h, tt.want, tt.backend, tt.ident)
		}
	}
}

func TestExploreAgreesOnAKey(t *testing.T) {
	p := routeStore(t)
	a, b := offerOf(p, OfferPSK, layout("openssl", "X", 1)), offerOf(p, OfferPSK, layout("openssl", "X", 2))
	c := offerOf(p, OfferPSK, layout("openssl", "Y", 1))
	if p.Explore(a) != p.Explore(b) {
		t.Error("two tickets under one key explore differently")
	}
	if p.Explore(a) == p.Explore(c) {
		t.Error("two keys explore alike")
	}
	if p.Explore(&Offer{Kind: OfferID, ID: 5, HasID: true}) != 5 {
		t.Error("an ID explores by itself")
	}
	for range MaxIdents {
		a.Add(c.Idents[0])
	}
	if a.N != MaxIdents {
		t.Errorf("an offer of %d identities", a.N)
	}
}

// TestLostID: an ID that is refused at home at once was never kept, and one of such a backend is not said to have expired,
// however old it is; until that backend resumes one.
func TestLostID(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	idOf := func(n byte) *Offer { return &Offer{Kind: OfferID, HasID: true, ID: p.HashID([]byte{n})} }
	refuse := func(n byte, id, now uint32) Reason {
		t.Helper()
		o := idOf(n)
		h := p.Find(o, now)
		if h.Source != SourceSession || h.ID != id {
			t.Fatalf("ID %d is at home at %d by %v", n, h.ID, h.Source)
		}
		why := p.Lost(o, h, id, now)
		p.Refused(o, h.Source, id, now)
		return why
	}
	for n := range byte(6) {
		p.IssuedID(idOf(n).ID, 1+uint32(n%2), t0)
	}
	for _, step := range []struct {
		name string
		got  Reason
		want Reason
	}{
		{"an old one", refuse(0, 1, t0+youngID), ReasonExpired},
		{"a young one", refuse(0, 1, t0+youngID-1), ReasonNotKept},
		{"an old one, of a backend that has refused a young one", refuse(2, 1, t0+3600), ReasonNotKept},
		{"of another backend", refuse(1, 2, t0+3600), ReasonExpired},
	} {
		if step.got != step.want {
			t.Errorf("%s: %v, want %v", step.name, step.got, step.want)
		}
	}
	p.Accepted(idOf(4), SelID, false, 1, t0+3600)
	if got := refuse(2, 1, t0+7200); got != ReasonExpired {
		t.Errorf("of a backend that has resumed one since: %v", got)
	}
}

func TestLost(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	issue := func(key string, id, now uint32) {
		for i := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", key, i)), 60, id, now)
		}
		s.takeEvidence()
	}
	issue("old", 1, t0)
	issue("new", 1, t0+100)
	issue("vhost", 2, t0)
	issue("vhost2", 2, t0+100)
	p.Accepted(offerOf(p, OfferPSK, layout("openssl", "vhost", 5)), 0, true, 2, t0+200)
	key := func(name string) *Offer { return offerOf(p, OfferPSK, layout("openssl", name, 9)) }
	home := Home{Source: SourceTicketKey}
	for _, tt := range []struct {
		sentence string
		o        *Offer
		h        Home
		id       uint32
		want     Reason
	}{
		{"the backend has used a newer key since", key("old"), home, 1, ReasonRotated},
		{"this is its newest", key("new"), home, 1, ReasonExpired},
		{"it has two, and used this one last", key("vhost"), home, 2, ReasonExpired},
		{"an exact entry of a key that rotated", key("old"), Home{Source: SourceSession}, 1, ReasonRotated},
		{"an exact entry without a key", key("X"), Home{Source: SourceSession}, 1, ReasonExpired},
		{"a session ID", &Offer{Kind: OfferID}, Home{Source: SourceSession, Ident: -1}, 1, ReasonExpired},
		{"a backend that has no such key", key("old"), home, 3, ReasonExpired},
		{"a guess", key("old"), Home{Source: SourceExplore}, 1, ReasonUnknown},
		{"a client's home", key("old"), Home{Source: SourceClient}, 1, ReasonUnknown},
		{"nothing to lose", key("old"), Home{}, 1, ReasonUnknown},
	} {
		if got := p.Lost(tt.o, tt.h, tt.id, t0+300); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.sentence, got, tt.want)
		}
	}
}
