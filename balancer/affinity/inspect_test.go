package affinity

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCensus counts a table of many slices, against a count by hand.
func TestCensus(t *testing.T) {
	s := newStore(t, func(c *Config) { c.TableEntries, c.ClientEntries = 100_000, 50_000 })
	p := s.Pool(1)
	want := map[uint32]Homes{}
	for i := range 30_000 {
		id := uint32(1 + i%7)
		p.IssuedID(p.HashID(fmt.Appendf(nil, "session %d", i)), id, t0)
		h := want[id]
		h.Sessions++
		if i%3 == 0 {
			p.Completed(Key(1+i), id, t0)
			h.Clients++
		}
		want[id] = h
	}
	gone := p.HashID([]byte("short-lived"))
	p.store.entries.Insert(gone, 9, t0+5, t0)
	p.store.entries.Insert(gone+1, AnyID, t0+500, t0)
	p.store.clients.Insert(77_777_777, 9, (t0+500)&^clientBits|clientOut, t0) // nothing to recommend
	for i := range 2 {
		p.Probed(p.HashIdent(layout("openssl", "K", i)), 3, t0)
		p.Probed(p.HashIdent(layout("openssl", "L", i)), 3, t0)
		p.Probed(p.HashIdent(layout("openssl", "L", i+2)), 4, t0)
		s.takeEvidence()
	}
	for id, n := range map[uint32]int{3: 2, 4: 1} {
		h := want[id]
		h.TicketKeys = n
		want[id] = h
	}
	var c Census
	slices := 1
	for s.Count(&c, t0+10) {
		slices++
	}
	if least := s.entries.Bytes() / (CensusSlice * bucketBytes); slices <= least {
		t.Errorf("%d slices, the sessions alone have more than %d", slices, least)
	}
	for id := uint32(1); id <= 9; id++ {
		if got := c.Homes(id); got != want[id] {
			t.Errorf("backend %d: %+v, want %+v", id, got, want[id])
		}
	}
	if c.Homes(9).Any() || !c.Homes(3).Any() {
		t.Error("Any is wrong")
	}
}

// TestLook: what is known of an offer, for people to look at.
func TestLook(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	id, several := []byte("a session ID"), []byte("accepted by two")
	p.IssuedID(p.HashID(id), 5, t0)
	s.entries.Insert(p.HashID(several), AnyID, t0+50, t0)
	exact := layout("go", "", 1)
	s.entries.Insert(p.HashIdent(exact).Exact, 6, t0+60, t0)
	for i := range 2 {
		p.Probed(p.HashIdent(layout("openssl", "K", i)), 1, t0)
		p.Probed(p.HashIdent(layout("openssl", "K", i+2)), 2, t0+1)
		s.takeEvidence()
	}
	hinted := layout("openssl", "M", 1)
	s.hints.Insert(p.HashIdent(hinted).First, 8, t0+50, t0)
	strange := layout("openssl", "N", 1)
	named := layout("openssl", "K", 9)
	hash := func(b []byte) uint64 { return uint64(p.HashIdent(b).Exact) }
	offer := func(kind OfferKind, b []byte) *Offer {
		if kind != OfferID {
			return offerOf(p, kind, b)
		}
		return &Offer{Kind: OfferID, ID: p.HashID(b), HasID: true}
	}
	for _, tt := range []struct {
		sentence string
		kind     OfferKind
		what     []byte
		want     Home
		hint     uint32
	}{
		{"an ID whose issuer is known", OfferID, id, Home{Source: SourceSession, ID: 5, Expires: t0 + s.ttl.session, Hash: uint64(p.HashID(id)), Ident: -1}, 0},
		{"one that several accept", OfferID, several, Home{Source: SourceSession, Any: true, Expires: t0 + 50, Hash: uint64(p.HashID(several)), Ident: -1}, 0},
		{"the same bytes are no ticket", OfferTicket, id, Home{Source: SourceExplore}, 0},
		{"an unknown ID", OfferID, []byte("unknown"), Home{}, 0},
		{"an exact identity", OfferPSK, exact, Home{Source: SourceSession, ID: 6, Expires: t0 + 60, Hash: hash(exact)}, 0},
		{"a ticket under a shared key", OfferTicket, named, Home{Source: SourceTicketKey, Set: []uint32{1, 2}, Key: p.HashIdent(named).First, KeyLen: 16, Hash: hash(named)}, 0},
		{"a ticket of which one of its kind was proved", OfferTicket, hinted, Home{Source: SourceExplore}, 8},
		{"an unknown ticket", OfferPSK, strange, Home{Source: SourceExplore}, 0},
		{"nothing", OfferTicket, nil, Home{Source: SourceExplore}, 0},
	} {
		o := offer(tt.kind, tt.what)
		if diff := cmp.Diff(tt.want, p.Look(o, t0+10)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.sentence, diff)
		}
		if got := p.Hint(o, t0+10); got != tt.hint {
			t.Errorf("%s: hint %d, want %d", tt.sentence, got, tt.hint)
		}
	}
	if got := p.Look(offer(OfferID, id), t0+s.ttl.session); got.Source != SourceFresh {
		t.Errorf("after its time: %+v", got)
	}
}

func TestHeldKeys(t *testing.T) {
	p := newStore(t).Pool(1)
	probed := func(stack, key string, i int, id, now uint32) {
		p.Probed(p.HashIdent(layout(stack, key, i)), id, now)
		p.store.takeEvidence()
	}
	for i := range 2 {
		probed("openssl", "K", i, 1, t0+uint32(i))
		probed("openssl", "L", i, 2, t0+uint32(10*i))
		probed("jsse", "C", i, 1, t0) // a constant of the format
		probed("jsse", "C", i+2, 2, t0)
	}
	probed("openssl", "K", 5, 3, t0+7)
	key := func(name string) Key { return p.HashIdent(layout("openssl", name, 0)).First }
	got := p.HeldKeys(t0 + 20)
	for i := range got {
		for j := range got[i].Homes {
			if h := &got[i].Homes[j]; h.Count == 0 {
				t.Errorf("backend %d has proved nothing", h.ID)
			} else {
				h.Count = 0
			}
		}
	}
	want := []HeldKey{
		{Key: key("L"), Len: 16, Homes: []KeyHome{{ID: 2, Since: t0 + 10, Last: t0 + 10}}},
		{Key: key("K"), Len: 16, Homes: []KeyHome{{ID: 1, Since: t0 + 1, Last: t0 + 1}, {ID: 3, Since: t0 + 7, Last: t0 + 7}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
