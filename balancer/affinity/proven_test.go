package affinity

import (
	"math/rand/v2"
	"testing"
)

// witness is a deliberately dumb account of what servers proved. It never
// forgets, so it bounds from above what a Store may claim.
type witness struct {
	t      testing.TB
	exact  map[Key]map[uint32]bool         // identifier -> backends that issued or accepted it
	prefix map[Key]map[uint32]map[Key]bool // prefix -> backend -> its different tickets
	client map[Key]map[uint32]bool         // client -> backends where it completed a handshake
}

func newWitness(t testing.TB) *witness {
	return &witness{
		t: t, exact: map[Key]map[uint32]bool{},
		prefix: map[Key]map[uint32]map[Key]bool{}, client: map[Key]map[uint32]bool{},
	}
}

func note[K, V comparable](m map[K]map[V]bool, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]bool{}
	}
	m[k][v] = true
}

func (w *witness) ticket(t *Ident, id uint32) {
	note(w.exact, t.Exact, id)
	for _, k := range t.Prefix {
		if k != 0 {
			if w.prefix[k] == nil {
				w.prefix[k] = map[uint32]map[Key]bool{}
			}
			note(w.prefix[k], id, t.Exact)
		}
	}
}

// check fails if h claims what no server proved.
func (w *witness) check(o *Offer, h Home) {
	w.t.Helper()
	switch h.Source {
	case SourceSession:
		k := o.ID
		if h.Ident >= 0 {
			k = o.Idents[h.Ident].Exact
		}
		if proved := w.exact[k]; h.Any && len(proved) < 2 || !h.Any && !proved[h.ID] {
			w.t.Fatalf("session %+v, but proved only %v", h, proved)
		}
	case SourceTicketKey:
		i := 0
		for PrefixLen(i) != h.KeyLen {
			i++
		}
		proved := w.prefix[o.Idents[h.Ident].Prefix[i]]
		confirmed := false
		for _, tickets := range proved {
			confirmed = confirmed || len(tickets) >= 2
		}
		homes := h.Set
		if homes == nil {
			homes = []uint32{h.ID}
		}
		for _, id := range homes {
			if len(proved[id]) == 0 {
				w.t.Fatalf("ticket key %+v: backend %d proved no such ticket", h, id)
			}
		}
		if !confirmed {
			w.t.Fatalf("ticket key %+v, but no backend proved two different tickets", h)
		}
	case SourceClient:
		if !w.client[o.Client][h.ID] {
			w.t.Fatalf("client home %+v, but it completed only at %v", h, w.client[o.Client])
		}
	case SourceExplore:
		if o.N == 0 {
			w.t.Fatalf("explores without a ticket: %+v", o)
		}
	case SourceFresh:
		if o.N > 0 {
			w.t.Fatalf("fresh with a ticket: %+v", o)
		}
	}
}

// play interprets b as a sequence of hellos and answers, and checks each Find.
func play(t testing.TB, b []byte) {
	s := newStore(t, func(c *Config) { c.TableEntries, c.ClientEntries, c.MaxTicketKeys = 200, 50, 5 })
	p := s.Pool(1)
	w := newWitness(t)
	now := uint32(t0)
	stacks := []string{"openssl", "schannel", "jsse", "nss", "go", "stateful"}
	for ; len(b) >= 4; b = b[4:] {
		ticket := layout(stacks[int(b[1])%len(stacks)], string(rune('a'+b[1]%16)), int(b[2])%32)
		id, client := uint32(b[0]>>4)%4+1, Key(b[3]%8)
		o := offerOf(p, OfferPSK, layout("go", "", int(b[3])), ticket)
		o.Client, o.Network = client, uint32(b[3])
		o.RefreshOnly = b[3]&0x40 != 0
		h := p.Find(o, now)
		w.check(o, h)
		var next Home
		if p.ticketKey(&next, o, now) != nil {
			w.check(o, next)
		}
		if home := p.clientHome(client, now); home != 0 {
			w.check(o, Home{Source: SourceClient, ID: home})
		}
		sid := p.HashID(ticket[:8])
		byID := &Offer{Kind: OfferID, ID: sid, HasID: true, Client: client, Fake: b[3]&0x80 != 0}
		w.check(byID, p.Find(byID, now))
		switch b[0] % 8 {
		case 0:
			p.IssuedTicket(o.Idents[1], uint32(b[2]), id, now)
			w.ticket(&o.Idents[1], id)
		case 1:
			p.Accepted(o, 1, true, id, now)
			if !o.RefreshOnly {
				w.ticket(&o.Idents[1], id)
			}
		case 2:
			p.Refused(o, h.Source, id, now)
		case 3:
			p.Completed(client, id, now)
			note(w.client, client, id)
		case 4:
			p.IssuedID(sid, id, now)
			note(w.exact, sid, id)
		case 5:
			p.Accepted(byID, SelID, false, id, now)
			note(w.exact, sid, id)
		case 6:
			o.Kind = OfferTicket
			p.Accepted(o, SelTicket, false, id, now)
		case 7:
			now += uint32(b[1]) * uint32(b[2])
			s.age(now)
		}
		if b[3]&0x20 == 0 {
			s.takeEvidence()
		}
	}
}

func TestServerProvenOnly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, 20_000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	play(t, b)
}

// FuzzServerProvenOnly: no sequence of hellos makes the store claim a home that
// no server proved.
func FuzzServerProvenOnly(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x01\x00\x00\x02\x01\x02\x00\x03\x01"))
	f.Add([]byte("\x11\x02\x01\x00\x11\x02\x02\x00\x21\x02\x03\x00\x02\x02\x09\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { play(t, b[:min(len(b), 2000)]) })
}
