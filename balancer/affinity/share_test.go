package affinity

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// count is how many of a pool's first n session IDs lead to backend id.
func countKnown(p *Pool, n int, id, now uint32) (known int) {
	for i := range n {
		if got, _, ok := p.store.entries.Lookup(sessionOf(p, i), now); ok && got == id {
			known++
		}
	}
	return known
}

func sessionOf(p *Pool, i int) Key { return p.HashID([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) }

// TestSharePerPool: who floods a table takes what is free, and nothing of those that
// hold less, whatever lifetime its tickets claim.
func TestSharePerPool(t *testing.T) {
	const entries, few = 30_000, 10_000
	s := newStore(t, func(c *Config) { c.TableEntries = entries })
	slots := s.entries.MaxBytes() / 16
	good, bad, late := s.Pool(1), s.Pool(2), s.Pool(3)
	for i := range few {
		good.IssuedID(sessionOf(good, i), 1, t0)
	}
	for i := range 5 * slots {
		bad.IssuedTicket(Ident{Exact: bad.HashID([]byte{byte(i), byte(i >> 8), byte(i >> 16), 9}), Len: 100}, maxTicketTTL, 2, t0+60)
	}
	if n := countKnown(good, few, 1, t0+60); n != few {
		t.Errorf("of %d sessions of the pool that holds less, %d are left", few, n)
	}
	st := s.stats(t0 + 60)
	if got := st.Pools[0].Entries; got.Held != few || got.Evicted != 0 {
		t.Errorf("the good pool's share: %+v", got)
	}
	if got := st.Pools[1].Entries; got.Held < slots-few-slots/1000 || got.Held > slots-few || got.Evicted == 0 {
		t.Errorf("the flood's share of %d slots: %+v", slots, got)
	}

	// A table that is full has room for a pool that comes late, up to an equal share.
	third := slots / 3
	for i := range 2 * third {
		late.IssuedID(sessionOf(late, i), 3, t0+120)
	}
	for i := range 2 * third {
		good.IssuedID(sessionOf(good, i), 1, t0+120)
	}
	for i, p := range s.stats(t0 + 120).Pools {
		if p.Entries.Held < third*9/10 || p.Entries.Held > third*11/10 {
			t.Errorf("pool %d holds %d of %d slots, want about a third", i+1, p.Entries.Held, slots)
		}
	}
}

// TestShareOfHintsAndClients: the same goes for the other tables.
func TestShareOfHintsAndClients(t *testing.T) {
	s := newStore(t, func(c *Config) { c.ClientEntries = 3000 })
	good, bad := s.Pool(1), s.Pool(2)
	good.Completed(sessionOf(good, 1), 1, t0)
	good.Refused(offerOf(good, OfferTicket, ticketOf(200, "name of 16 bytes", 1)), SourceExplore, 1, t0+30)
	good.IssuedTicket(good.HashIdent(ticketOf(200, "name of 16 bytes", 1)), 0, 5, t0)
	for i := range 400_000 {
		k := sessionOf(bad, i)
		bad.Completed(k, 2, t0+10)
		bad.store.hints.Insert(k, 2, t0+maxTicketTTL, t0+10)
		bad.store.refusals.Insert(pair(k, 2), 2, t0+40+refusedTTL, t0+40)
	}
	o := offerOf(good, OfferTicket, ticketOf(200, "name of 16 bytes", 2))
	if good.clientHome(sessionOf(good, 1), t0+40) != 1 {
		t.Error("the client's home is gone")
	}
	if good.Hint(o, t0+40) != 5 {
		t.Error("the hint is gone")
	}
	if !good.WasRefused(o, 1, t0+40) {
		t.Error("the refusal is gone")
	}
}

// TestShareKeepsTheYoung: within a pool the oldest goes, not the one that claims least.
func TestShareKeepsTheYoung(t *testing.T) {
	s := newStore(t, func(c *Config) { c.TableEntries = 3000 })
	p := s.Pool(1)
	slots := s.entries.Bytes() / 16
	for i := range slots {
		p.IssuedTicket(Ident{Exact: p.HashID([]byte{byte(i), byte(i >> 8), 7, 7}), Len: 100}, maxTicketTTL, 2, t0)
	}
	for i := range slots / 2 {
		p.IssuedTicket(Ident{Exact: sessionOf(p, i), Len: 100}, 300, 1, t0+1)
	}
	if n := countKnown(p, slots/2, 1, t0+2); n < slots/2*99/100 {
		t.Errorf("%d of %d tickets of 300 s found a place among older ones of 7 days", n, slots/2)
	}
}

func TestSpan(t *testing.T) {
	for s := uint32(0); s < 1<<26; s += 1 + s/50 {
		if got := spanSeconds(spanOf(s)); got < s || got > s+s/8 {
			t.Fatalf("%d s become %d", s, got)
		}
	}
	for _, s := range []uint32{1<<32 - 1, 1 << 31, maxLife} {
		if spanOf(s) < spanOf(maxTicketTTL) {
			t.Errorf("%d s have a span of %d", s, spanOf(s))
		}
	}
}

// TestSurvey: counts that were lost, as by a restart, come back; what has expired goes;
// and what comes and goes meanwhile does no harm.
func TestSurvey(t *testing.T) {
	tab := newTable(t, 100_000)
	key := func(share, i uint64) Key { return makeKey(mix(i), Key(share)<<shareShift) }
	for i := range uint64(40_000) {
		tab.Insert(key(i%2, i), 1, t0+10+uint32(i%4)*100, t0) // half of share 0 expires first
	}
	tab.shares = newShares()
	var v survey
	v.whole(tab, t0)
	if a, b := tab.shares[0].held(), tab.shares[1].held(); a != 20_000 || b != 20_000 {
		t.Fatalf("counted %d and %d, want 20,000 of each", a, b)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range uint64(30_000) {
			tab.Insert(key(2, 1<<20+i), 1, t0+900, t0+50)
			if r.IntN(3) == 0 {
				tab.Delete(key(2, 1<<20+r.Uint64N(30_000)))
			}
		}
	})
	for range 50 {
		for !v.slice(tab, 3000, t0+50) {
		}
	}
	wg.Wait()
	v.whole(tab, t0+50)
	if a, b := tab.shares[0].held(), tab.shares[1].held(); a != 10_000 || b != 20_000 {
		t.Errorf("%d and %d, want 10,000 and 20,000", a, b)
	}
	found := int32(0)
	for i := range uint64(30_000) {
		if _, _, ok := tab.Lookup(key(2, 1<<20+i), t0+50); ok {
			found++
		}
	}
	if n := tab.shares[2].held(); n != found || tab.Used(t0+50) != int(30_000+found) {
		t.Errorf("%d counted, %d used, %d there", n, tab.Used(t0+50), found)
	}
}

func TestKeyLayout(t *testing.T) {
	if Share(0xabcd_e003) != 3 {
		t.Errorf("share %d is not the low 12 bits of the hash", Share(0xabcd_e003))
	}
	if k := makeKey(1<<64-1, shareOf(0xabcd_e003)); k.share() != 3 || k.span() != 0 {
		t.Errorf("key %x is of share %d", k, k.share())
	}
	if makeKey(0, 0) == 0 {
		t.Error("0 is no key")
	}
}
