package affinity

import (
	"slices"
	"testing"
)

func TestFacts(t *testing.T) {
	const day = 24 * 60 * 60
	var got []Fact
	s := newStore(t, func(c *Config) { c.Fact = func(f Fact) { got = append(got, f) } })
	p := s.Pool(4)
	id := p.HashID([]byte("an ID"))
	psk := offerOf(p, OfferPSK, layout("go", "", 1))
	k := [3]Ident{}
	for i := range k {
		k[i] = p.HashIdent(layout("openssl", "K", i))
	}
	name := k[0].Prefix[len16]

	for _, step := range []struct {
		sentence string
		do       func()
		want     []Fact
	}{
		{
			"an ID issued", func() { p.IssuedID(id, 1, t0) },
			[]Fact{{Kind: FactEntry, Span: spanOf(36_000), Key: id, ID: 1, Time: t0 + 36_000}},
		},
		{"accepted a minute later: not worth telling", func() {
			p.Accepted(&Offer{Kind: OfferID, ID: id, HasID: true}, SelID, false, 1, t0+60)
		}, nil},
		{"an hour later: refreshed", func() {
			p.Accepted(&Offer{Kind: OfferID, ID: id, HasID: true}, SelID, false, 1, t0+3600)
		}, []Fact{{Kind: FactEntry, Span: spanOf(36_000), Key: id, ID: 1, Time: t0 + 3600 + 36_000}}},
		{"by another backend: any", func() {
			p.Accepted(&Offer{Kind: OfferID, ID: id, HasID: true}, SelID, false, 2, t0+3600)
		}, []Fact{{Kind: FactEntry, Span: spanOf(36_000), Key: id, ID: AnyID, Time: t0 + 3600 + 36_000}}},
		{"an identity accepted", func() { p.Accepted(psk, 0, true, 2, t0) }, []Fact{
			{Kind: FactEntry, Span: spanOf(day), Key: psk.Idents[0].Exact, ID: 2, Time: t0 + day},
		}},
		{
			"a refusal is no fact", func() { p.Refused(psk, SourceSession, 2, t0) }, nil,
		},
		{"a client's home", func() { p.Completed(9, 1, t0) }, []Fact{
			{Kind: FactClient, Span: spanOf(day), Key: 9, ID: 1, Time: (t0 + day) &^ 3},
		}},
		{"the same again is none", func() { p.Completed(9, 1, t0+1) }, nil},
		{"nor is a strike", func() {
			p.Refused(&Offer{Kind: OfferPSK, Client: 9}, SourceClient, 1, t0+1)
		}, nil},
		{"a key is confirmed by the second ticket", func() {
			p.IssuedTicket(k[0], 100, 1, t0)
			p.IssuedTicket(k[1], 100, 1, t0)
		}, []Fact{
			{Kind: FactEntry, Span: spanOf(100), Key: k[0].Exact, ID: 1, Time: t0 + 100},
			{Kind: FactEntry, Span: spanOf(100), Key: k[1].Exact, ID: 1, Time: t0 + 100},
			{Kind: FactKeyHome, Length: 16, Key: name, ID: 1, Time: t0},
		}},
		{"and joined by one of another backend", func() { p.IssuedTicket(k[2], 100, 2, t0+1) }, []Fact{
			{Kind: FactEntry, Span: spanOf(100), Key: k[2].Exact, ID: 2, Time: t0 + 101},
			{Kind: FactKeyHome, Length: 16, Key: name, ID: 2, Time: t0 + 1},
		}},
		{"its use is told once in a while", func() {
			p.IssuedTicket(k[1], 100, 1, t0+60)
			s.age(t0 + 60)
			p.IssuedTicket(k[1], 100, 1, t0+3600)
			s.age(t0 + 3600)
			s.age(t0 + 3601)
		}, []Fact{{Kind: FactKeyHome, Length: 16, Key: name, ID: 1, Time: t0 + 3600}}},
		{"found not to be held, it is gone", func() { p.Refuted(name, 1, t0+3700) }, []Fact{
			{Kind: FactKeyGone, Key: name, ID: 1, Time: t0 + 3700},
		}},
		{"which is told once", func() { p.Refuted(name, 1, t0+3700) }, nil},
		{"and says nothing of a later proof", func() {
			p.IssuedTicket(k[2], 100, 1, t0+3800)
			s.takeEvidence()
			p.Refuted(name, 1, t0+3750)
		}, []Fact{
			{Kind: FactEntry, Span: spanOf(100), Key: k[2].Exact, ID: 1, Time: t0 + 3900},
			{Kind: FactKeyHome, Length: 16, Key: name, ID: 1, Time: t0 + 3800},
		}},
		{"of age everybody's key dies alone", func() { s.age(t0 + 1 + day) }, nil},
	} {
		got = nil
		step.do()
		s.takeEvidence()
		for i := range step.want {
			step.want[i].Pool = 4
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", step.sentence, got, step.want)
		}
	}
}
