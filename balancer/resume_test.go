//go:build linux

package balancer

import (
	"crypto/tls"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/bench/tlsserver"
)

// TestResume is the main job: whatever a client offers goes where it was issued, over three backends with keys of their
// own, from an address that is new every time. The clients visit in turns, so that chance would be right one time in
// three.
func TestResume(t *testing.T) {
	const clients, rounds = 6, 6
	for _, test := range []struct {
		name    string
		version uint16
		named   bool
		offer   affinity.OfferKind
		refused uint64 // at most: what it may cost to learn
	}{
		{"TLS 1.2 tickets that name their key", tls.VersionTLS12, true, affinity.OfferTicket, 0},
		{"TLS 1.2 tickets without a name", tls.VersionTLS12, false, affinity.OfferTicket, 0},
		{"TLS 1.3 tickets that name their key: two refusals a key", tls.VersionTLS13, true, affinity.OfferPSK, 2 * 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveTLS(test.named)
			}
			r.start()
			var all [clients]*browser
			var home [clients]byte
			for i := range all {
				all[i] = r.browser(test.version)
				home[i], _ = all[i].visit(source(i))
			}
			var refused uint64
			for round := 1; round <= rounds; round++ {
				for i, c := range all {
					server, resumed := c.visit(source(round*clients + i))
					if resumed && server != home[i] {
						t.Errorf("client %d resumed at %d, home is %d", i, server, home[i])
					}
					if !resumed {
						refused++
						home[i] = server
					}
				}
			}
			if refused > test.refused {
				t.Errorf("%d offers refused, want at most %d", refused, test.refused)
			}
			r.ended(clients * (rounds + 1))
			s := r.b.Stats()
			offers := uint64(clients * rounds)
			first := affinity.OfferNone
			if test.version == tls.VersionTLS12 {
				first = affinity.OfferID // Go's client sends a random ID, which could be real
			}
			if s.Offers[test.offer] != offers || s.Offers[first] != clients {
				t.Errorf("offers counted: %v, want %d of kind %v and %d of kind %v", s.Offers, offers, test.offer, clients, first)
			}
			verdicts := s.Verdicts[test.offer]
			if verdicts[VerdictAccepted] != offers-refused || verdicts[VerdictRefused] != refused || verdicts[VerdictUnknown] != 0 {
				t.Errorf("verdicts counted: %v, want %d accepted, %d refused", verdicts, offers-refused, refused)
			}
			if s.Lost[LostUnknown] != refused+s.Offers[affinity.OfferID] {
				t.Errorf("lost: %v, want %d unknown", s.Lost, refused)
			}
			if s.Hellos[HelloTLS] != offers+clients || s.Decisions[affinity.SourceFresh] != clients {
				t.Errorf("hellos %v, decisions %v", s.Hellos, s.Decisions)
			}
			for _, rec := range r.records {
				if rec.Termination.String() != "--" || rec.SNI != "a.test" || rec.Pool != "test" || rec.Tries != 1 {
					t.Errorf("record: %+v", *rec)
				}
			}
		})
	}
}

// A key name that TLS 1.2 traffic has shown needs no refusal in TLS 1.3.
func TestTicketKeyServesBothVersions(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(true)
	}
	r.start()
	for i := 0; r.keys16() < 3; i++ { // in turns; two tickets of each will do, but for one pair in 256
		r.browser(tls.VersionTLS12).visit(source(i))
		if r.settle(); i == 100 {
			t.Fatalf("%d of 3 ticket keys learned from 100 tickets", r.keys16())
		}
	}
	for i := range 6 {
		c := r.browser(tls.VersionTLS13)
		home, _ := c.visit(source(1000 + i))
		if server, resumed := c.visit(source(2000 + i)); !resumed || server != home {
			t.Errorf("client %d: resumed %v at %d, home is %d", i, resumed, server, home)
		}
	}
	r.settle()
	if s := r.b.Stats(); s.Decisions[affinity.SourceTicketKey] < 6 || s.Verdicts[affinity.OfferPSK][VerdictRefused] != 0 {
		t.Errorf("decisions %v, verdicts of PSKs %v", s.Decisions, s.Verdicts[affinity.OfferPSK])
	}
}

// keys16 is the number of ticket keys of 16 bytes that are known.
func (r *rig) keys16() int {
	for _, p := range r.store.Stats().Pools {
		for i, n := range p.Keys {
			if affinity.PrefixLen(i) == 16 {
				return n
			}
		}
	}
	return 0
}

// Backends that share a ticket key share its resumptions, once TLS 1.2 traffic has shown it.
func TestSharedTicketKey(t *testing.T) {
	r := newRig(t)
	shared := tlsserver.NewTicketKey()
	for range 2 {
		r.serveTLS(false, shared.Configure)
	}
	r.serveTLS(true)
	r.start()
	for i := 0; r.keysShared() < 1; i++ {
		r.browser(tls.VersionTLS12).visit(source(i))
		if r.settle(); i == 100 {
			t.Fatal("no shared ticket key learned from 100 tickets")
		}
	}
	var went [3]int
	for i := range 30 {
		c := r.browser(tls.VersionTLS13)
		home, _ := c.visit(source(i))
		server, resumed := c.visit(source(100 + i))
		if home == 2 {
			continue
		}
		if !resumed || server == 2 {
			t.Errorf("client %d: resumed %v at %d, home is %d", i, resumed, server, home)
		}
		went[server]++
	}
	if went[0] == 0 || went[1] == 0 {
		t.Errorf("resumptions went to %v", went)
	}
}

// keysShared is the number of ticket keys with several homes.
func (r *rig) keysShared() int {
	for _, p := range r.store.Stats().Pools {
		if p.Hash == r.pool.Hash() {
			return p.Shared
		}
	}
	return 0
}

// Nameless TLS 1.3 tickets have only the client's home (rule 3): right while the client keeps its address.
func TestNamelessTickets13ByClient(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(false)
	}
	r.start()
	for i := range 6 {
		c := r.browser(tls.VersionTLS13)
		home, _ := c.visit(source(i))
		for range 3 {
			if server, resumed := c.visit(source(i)); !resumed || server != home {
				t.Errorf("client %d: resumed %v at %d, home is %d", i, resumed, server, home)
			}
		}
	}
	r.settle()
	s := r.b.Stats()
	if s.Decisions[affinity.SourceClient]+s.Decisions[affinity.SourceSession] != 18 || s.Decisions[affinity.SourceClient] < 6 {
		t.Errorf("decisions: %v", s.Decisions)
	}
}

// With the second chance nameless tickets find home from any address.
func TestNamelessTickets13BySecondChance(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(false)
	}
	r.start(withPool(func(o *pool.Options) { o.SecondChance = pool.SecondChance{Auto: true, Tries: 2, Budget: 1} }))
	for i := range 8 {
		c := r.browser(tls.VersionTLS13)
		home, _ := c.visit(source(i))
		for j := range 2 {
			if server, resumed := c.visit(source(100 + 2*i + j)); !resumed || server != home {
				t.Errorf("client %d: resumed %v at %d, home is %d", i, resumed, server, home)
			}
		}
	}
	r.ended(24)
	s := r.b.Stats()
	if s.Verdicts[affinity.OfferPSK][VerdictAccepted] != 16 || s.SecondChances == 0 || s.SecondChances > 32 {
		t.Errorf("verdicts %v, %d second chances", s.Verdicts[affinity.OfferPSK], s.SecondChances)
	}
	if s.Connects != 24+s.SecondChances || s.Replays != 0 {
		t.Errorf("%d connects, %d replays", s.Connects, s.Replays)
	}
}

// HelloRetryRequest: the verdict comes with the second ServerHello, and the conn stays with its backend.
func TestHelloRetryRequest(t *testing.T) {
	r := newRig(t)
	p256 := func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }
	for range 3 {
		r.serveTLS(true, p256)
	}
	r.start(withPool(func(o *pool.Options) { o.SecondChance = pool.SecondChance{Auto: true, Tries: 2, Budget: 1} }))
	retried := 0
	curves := func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256} }
	for i := range 9 {
		c := r.browser(tls.VersionTLS13, curves)
		home, _ := c.visit(source(i))
		if server, resumed := c.visit(source(100 + i)); resumed && server != home {
			t.Errorf("client %d resumed at %d, home is %d", i, server, home)
		} else if resumed {
			retried++
		}
	}
	r.ended(18)
	s := r.b.Stats()
	if v := s.Verdicts[affinity.OfferPSK]; v[VerdictAccepted] != uint64(retried) || v[VerdictAccepted]+v[VerdictRefused] != 9 || retried < 3 {
		t.Errorf("verdicts %v, %d resumed", v, retried)
	}
	if s.SecondChances != 0 {
		t.Errorf("%d second chances after a HelloRetryRequest", s.SecondChances)
	}
}

// A hostile client teaches nothing: neither by offers nor by hellos.
func TestJunkTeachesNothing(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(true)
	}
	r.start()
	good := r.browser(tls.VersionTLS13)
	visits := 0
	for in, limit := 0, 20; in < 2; visits++ { // until its key is known
		if _, resumed := good.visit(source(visits)); resumed {
			in++
		}
		if visits == limit {
			t.Fatalf("not resumed twice in %d visits", limit)
		}
	}
	r.settle()
	before := r.store.Stats()
	for i := range 200 {
		junk := named("sixteen bytes nm", i)
		h := hello{tls13: i%2 == 0, id: named("", i)[16:48], names: []string{"a.test"}}
		switch i % 4 {
		case 0:
			h.psks = [][]byte{junk, junk[1:]}
		case 1:
			h.ticket = junk
		}
		c := r.dialFrom(source(100 + i))
		write(t, c, h.bytes())
		sendFIN(c)
		_, _ = c.Read(make([]byte, 1<<14)) // an alert or a flight, and both are fine
		c.Close()
	}
	r.ended(visits + 200)
	after := r.store.Stats()
	if after.Entries.Inserts != before.Entries.Inserts || after.Clients.Inserts != before.Clients.Inserts || after.Hints.Inserts != before.Hints.Inserts {
		t.Errorf("learned from junk: before %+v, after %+v", before, after)
	}
	if home, resumed := good.visit(source(visits)); !resumed {
		t.Errorf("a good client's offer was refused at %d after the junk", home)
	}
}
