package affinity

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"
)

// newStore makes a small store with a fixed seed; edit may change its config.
func newStore(t testing.TB, edit ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Seed: 1, SeedMade: t0, TableEntries: 50_000, ClientEntries: 5000, ahead: aheadBy(0)}
	for _, e := range edit {
		e(&cfg)
	}
	s, err := NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// aheadBy makes the wall clock of a store that is made now so many seconds more than t0.
func aheadBy(seconds int64) time.Duration {
	return time.Until(time.Unix(t0, 0)) + time.Duration(seconds)*time.Second
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		cfg      Config
		ok       bool
	}{
		{"the zero value is all defaults", Config{}, true},
		{"a second is the shortest time to live", Config{TicketTTL: time.Second}, true},
		{"less cannot be told from none", Config{SessionTTL: time.Millisecond}, false},
		{"a negative one is refused", Config{ClientTTL: -time.Hour}, false},
		{"so is a negative table", Config{TableEntries: -1}, false},
		{"negative clients", Config{ClientEntries: -1}, false},
		{"and a negative directory", Config{MaxTicketKeys: -1}, false},
	} {
		cfg := tt.cfg
		if err := cfg.validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.sentence, err)
		}
		if tt.ok && (cfg.Seed == 0 || cfg.TableEntries == 0 || cfg.ClientTTL == 0 || cfg.MaxTicketKeys == 0) {
			t.Errorf("%s: a default is missing: %+v", tt.sentence, cfg)
		}
	}
	if s, err := NewStore(Config{TableEntries: MaxEntries + 1}); err == nil {
		t.Error("a table beyond the limit was made")
		_ = s.Close()
	}
}

func TestStorePoolsAreApart(t *testing.T) {
	s := newStore(t)
	a, b := s.Pool(1), s.Pool(2)
	if a == b || a != s.Pool(1) {
		t.Fatal("a pool is not the one with its hash")
	}
	id := []byte("0123456789abcdef0123456789abcdef")
	a.IssuedID(a.HashID(id), 5, t0)
	if h := a.Find(&Offer{Kind: OfferID, ID: a.HashID(id), HasID: true}, t0); h.ID != 5 {
		t.Errorf("pool 1 does not know its session: %+v", h)
	}
	if h := b.Find(&Offer{Kind: OfferID, ID: b.HashID(id), HasID: true}, t0); h.Source != SourceFresh {
		t.Errorf("pool 2 knows pool 1's session: %+v", h)
	}
}

// TestRunAppliesAtOnce: the owner takes evidence without a timer in the way.
func TestRunAppliesAtOnce(t *testing.T) {
	s := newStore(t)
	p := s.Pool(1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()

	for i := range byte(2) {
		p.IssuedTicket(p.HashIdent(ticketOf(200, "name of 16 bytes", i)), 0, 7, t0)
	}
	o := offerOf(p, OfferTicket, ticketOf(200, "name of 16 bytes", 9))
	for end := time.Now().Add(5 * time.Second); p.Find(o, t0).Source != SourceTicketKey; {
		if time.Now().After(end) {
			t.Fatal("two tickets did not confirm a key within 5 s")
		}
	}
	cancel()
	<-done
}

// ticketOf is a ticket of n bytes that begins with name; what follows is
// different for each i.
func ticketOf(n int, name string, i byte) []byte {
	b := make([]byte, n)
	x := uint64(i) + 1
	for j := range b {
		x = mix(x + uint64(j))
		b[j] = byte(x)
	}
	copy(b, name)
	return b
}

// offerOf is a hello of a client without a history that offers tickets.
func offerOf(p *Pool, kind OfferKind, tickets ...[]byte) *Offer {
	o := &Offer{Kind: kind}
	for _, b := range tickets {
		o.Add(p.HashIdent(b))
	}
	return o
}

func TestStats(t *testing.T) {
	s := newStore(t)
	p := s.Pool(3)
	for i := range byte(3) {
		p.IssuedTicket(p.HashIdent(ticketOf(200, "name of 16 bytes", i)), 0, 7, t0)
	}
	s.takeEvidence()
	p.IssuedTicket(p.HashIdent(ticketOf(200, "name of 16 bytes", 4)), 0, 8, t0)
	s.takeEvidence()
	st := s.stats(t0)
	if st.Entries.Used != 4 || st.Entries.Inserts != 4 || st.Entries.Capacity != 50_000 || st.Hints.Used != 1 {
		t.Errorf("tables: %+v", st)
	}
	if len(st.Pools) != 1 || st.Pools[0].Keys != [NumLengths]int{0, 0, 1, 0, 0} || st.Pools[0].Shared != 1 || st.Pools[0].Hash != 3 {
		t.Errorf("pools: %+v", st.Pools)
	}
	if got := st.Entries.Bytes + st.Clients.Bytes + st.Refusals.Bytes + st.Hints.Bytes; s.TableBytes() < got {
		t.Errorf("TableBytes %d, in use %d", s.TableBytes(), got)
	}
	_ = s.Stats() // by the clock: everything above has a future expiry or none
}

func TestWords(t *testing.T) {
	got := []string{
		OfferNone.String(), OfferID.String(), OfferTicket.String(), OfferPSK.String(),
		SourceFresh.String(), SourceSession.String(), SourceTicketKey.String(), SourceClient.String(), SourceExplore.String(),
	}
	want := []string{
		"none", "id", "ticket", "psk",
		"fresh", "session", "ticket_key", "client", "explore",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Step is Run for who has the store to itself: what was told is known at the next question, at whatever time.
func TestStep(t *testing.T) {
	for _, now := range []uint32{1, 1_000_000, t0, math.MaxUint32 - 100_000_000} {
		s := newStore(t, func(*Config) {})
		p := s.Pool(1)
		ticket := func(i byte) Ident {
			b := make([]byte, 200)
			copy(b, "the key's name..")
			for at := 16; at < len(b); at++ {
				b[at] = i ^ byte(at)
			}
			return p.HashIdent(b)
		}
		for i := range byte(2) {
			p.IssuedTicket(ticket(i), 0, 7, now)
			s.Step(now)
		}
		o := Offer{Kind: OfferTicket}
		o.Add(ticket(9))
		if h := p.Find(&o, now); h.Source != SourceTicketKey || h.ID != 7 {
			t.Errorf("at %d after two tickets: %+v", now, h)
		}
		s.Step(now + 1)
		for i := range byte(2) {
			p.IssuedID(p.HashID([]byte{i}), 7, now)
		}
		later := now + seconds(DefaultTicketTTL)
		s.Step(later)
		if h := p.Find(&o, later); h.Source != SourceExplore {
			t.Errorf("at %d a day later: %+v", now, h)
		}
		s.Step(now) // a clock that goes back
		if h := p.Find(&o, now); h.Source != SourceExplore {
			t.Errorf("at %d again: %+v", now, h)
		}
	}
}
