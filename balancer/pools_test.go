//go:build linux

package balancer

import (
	"crypto/tls"
	"io"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// site is a rig with three pools of two servers each: of a.test and all below it; of b.test, for clients of h2 and for
// others; and the default.
type site struct {
	*rig
	ofA, ofB, ofH2, rest []*server
	routes               []Route
}

func newSite(t *testing.T, serve func(*rig) *server) *site {
	s := &site{rig: newRig(t)}
	for _, pools := range []*[]*server{&s.ofA, &s.ofB, &s.ofH2, &s.rest} {
		*pools = []*server{serve(s.rig), serve(s.rig)}
	}
	s.routes = []Route{
		{Names: []string{"a.test", "*.a.test"}, Pool: s.newPool("a", pool.Options{}, s.ofA...)},
		{Names: []string{"b.test"}, Pool: s.newPool("b", pool.Options{}, s.ofB...)},
		{Names: []string{"b.test"}, ALPN: []string{"h2"}, Pool: s.newPool("h2", pool.Options{}, s.ofH2...)},
	}
	return s
}

// routed gives the first listener the routes.
func (s *site) routed(c *Config) { c.Listeners[0].Routes = s.routes }

// poolStats is what is counted of a pool.
func (r *rig) poolStats(name string) PoolStats {
	r.Helper()
	for _, p := range r.b.Stats().Pools {
		if p.Name == name {
			return p
		}
	}
	r.Fatalf("nothing is counted of pool %s", name)
	return PoolStats{}
}

// TestRoutes: each hello goes to the pool that its name and protocols ask for, and everything that is no such hello to
// the default pool.
func TestRoutes(t *testing.T) {
	s := newSite(t, (*rig).serveByHand)
	s.start(s.routed)
	n := 0
	for _, test := range []struct {
		name string
		sent []byte
		pool string
		to   []*server
	}{
		{"exact", hello{names: []string{"a.test"}}.bytes(), "a", s.ofA},
		{"capitals", hello{names: []string{"A.Test"}}.bytes(), "a", s.ofA},
		{"below", hello{names: []string{"x.y.a.test"}}.bytes(), "a", s.ofA},
		{"TLS 1.3", hello{names: []string{"a.test"}, tls13: true}.bytes(), "a", s.ofA},
		{"ECH: the outer name", hello{names: []string{"a.test"}, tls13: true, ech: true}.bytes(), "a", s.ofA},
		{"one byte a record", records(22, hello{names: []string{"a.test"}}.message(), 1), "a", s.ofA},
		{"without its protocol", hello{names: []string{"b.test"}, alpn: []string{"http/1.1"}}.bytes(), "b", s.ofB},
		{"with its protocol", hello{names: []string{"b.test"}, alpn: []string{"http/1.1", "h2"}}.bytes(), "h2", s.ofH2},
		{"unknown name", hello{names: []string{"c.test"}}.bytes(), "test", s.rest},
		{"below an exact name", hello{names: []string{"x.b.test"}}.bytes(), "test", s.rest},
		{"no name", hello{}.bytes(), "test", s.rest},
		{"several names", hello{names: []string{"a.test", "a.test"}}.bytes(), "test", s.rest},
		{"no TLS", []byte("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"), "test", s.rest},
		{"broken", join(hello{names: []string{"a.test"}}.bytes()[:3], []byte{0, 10}, make([]byte, 10)), "test", s.rest},
	} {
		for range 2 {
			c := s.dial()
			write(t, c, test.sent)
			b := s.arrival()
			read(t, b, len(test.sent))
			if b.server != test.to[0] && b.server != test.to[1] {
				t.Errorf("%s: went to server %d", test.name, b.server.index)
			}
			s.talk(c, b, 1<<20, backend([]byte("answer")))
			c.Close()
			b.Close()
			n++
			if rec := s.ends(n, "--"); rec.Pool != test.pool || rec.Listener != "127.0.0.1:0" || rec.Refused != RefusedNone {
				t.Errorf("%s: pool %q, listener %q", test.name, rec.Pool, rec.Listener)
			}
		}
	}
	s.idle()
	stats := s.b.Stats()
	for name, want := range map[string]uint64{"a": 12, "b": 2, "h2": 2, "test": 12} {
		p := s.poolStats(name)
		if p.Routed != want || p.Open != 0 || p.Connects != want || p.Offers[affinity.OfferNone] != want || p.Terminations[CauseNormal][PhaseEnd] != want || p.BytesOut != 6*want {
			t.Errorf("of pool %s: %+v, want %d conns", name, p, want)
		}
	}
	if ln := stats.Listeners[0]; len(stats.Listeners) != 1 || ln.Accepted != 28 || ln.Open != 0 || ln.Hellos[HelloTLS] != 20 || ln.Hellos[HelloOpaque] != 4 {
		t.Errorf("listeners %+v", stats.Listeners)
	}
	if stats.Routed != 28 || stats.Terminations[CauseNormal][PhaseEnd] != 28 || stats.Decisions[affinity.SourceFresh] != 28 {
		t.Errorf("all together: %+v", stats.PoolCounts)
	}
}

// TestNoRoute: without a default pool, what no route takes is closed and counted, by listener; unknown must not mean
// weaker.
func TestNoRoute(t *testing.T) {
	s := newSite(t, (*rig).serveByHand)
	s.start(s.routed, func(c *Config) {
		c.Listeners[0].Name = "first"
		strict := c.Listeners[0]
		strict.Name, strict.Default = "second", nil
		c.Listeners = append(c.Listeners, strict)
	})
	s.addr = s.b.Addrs()[1].String()
	n := 0
	for name, sent := range map[string][]byte{
		"unknown name":                         hello{names: []string{"c.test"}}.bytes(),
		"no name":                              hello{}.bytes(),
		"several names":                        hello{names: []string{"a.test", "a.test"}}.bytes(),
		"no TLS":                               []byte("GET / HTTP/1.0\r\n\r\n"),
		"SSLv2":                                {0x80, 46, 1, 3, 3, 0, 21, 0, 0, 0, 16, 0, 0, 57, 0, 0, 56},
		"its own name, and a broken extension": join(hello{names: []string{"a.test"}}.bytes()[:3], []byte{0, 10}, make([]byte, 10)),
	} {
		c := s.dial()
		write(t, c, sent)
		if _, err := io.Copy(io.Discard, c); !isReset(err) {
			t.Errorf("%s: the client got %v, want RST", name, err)
		}
		n++
		if rec := s.ends(n, "PH"); rec.Refused != RefusedNoRoute || rec.Pool != "" || rec.Listener != "second" || rec.Backend.IsValid() {
			t.Errorf("%s: %+v", name, rec)
		}
	}
	stats := s.b.Stats()
	if first, second := stats.Listeners[0], stats.Listeners[1]; first.Refused[RefusedNoRoute] != 0 || second.Refused[RefusedNoRoute] != uint64(n) ||
		second.Terminations[CauseRefused][PhaseHello] != uint64(n) || second.Open != 0 {
		t.Errorf("listeners %+v", stats.Listeners)
	}
	if stats.Refused[RefusedNoRoute] != uint64(n) || stats.Terminations[CauseRefused][PhaseHello] != uint64(n) || stats.Connects != 0 {
		t.Errorf("refused %v, %d connects", stats.Refused, stats.Connects)
	}
	c := s.dial()
	write(t, c, hello{names: []string{"a.test"}}.bytes())
	if b := s.arrival(); b.server != s.ofA[0] && b.server != s.ofA[1] {
		t.Error("the name of a route goes elsewhere")
	}
}

// TestTicketStaysInPool: what one pool's servers have issued names no server of another one, and teaches nothing there,
// whatever the name that it comes with.
func TestTicketStaysInPool(t *testing.T) {
	s := newSite(t, (*rig).serveByHand)
	s.start(s.routed)
	id, ticket, psk := fixed('i'), named("a name of a key.", 1), named("a name of 2 keys", 2)
	home := s.teach(hello{names: []string{"a.test"}, ticket: []byte{}}, backend(answer{id: id}.bytes(), certificate(10), newTicket(300, ticket), ccs()))
	known := s.store.Pool(s.routes[0].Pool.Hash())
	var o affinity.Offer
	o.Add(known.HashIdent(psk))
	o.Kind = affinity.OfferPSK
	known.Accepted(&o, 0, true, uint32(home.backend.ID), now())

	n := 1
	for _, offer := range []struct {
		name    string
		hello   hello
		refused []byte
	}{
		{"session ID", hello{id: id}, join(answer{}.bytes(), certificate(10))},
		{"ticket", hello{ticket: ticket}, join(answer{}.bytes(), certificate(10))},
		{"PSK", hello{psks: [][]byte{psk}}, join(answer{tls13: true}.bytes(), appData(500))},
	} {
		for i, to := range []struct {
			name string
			pool []*server
			want affinity.Source
		}{{"a.test", s.ofA, affinity.SourceSession}, {"b.test", s.ofB, affinity.SourceExplore}, {"c.test", s.rest, affinity.SourceExplore}} {
			offer.hello.names = []string{to.name}
			if offer.name == "session ID" && i > 0 {
				to.want = affinity.SourceFresh
			}
			c := s.dialFrom(source(10 + n))
			sent := offer.hello.bytes()
			write(t, c, sent)
			b := s.arrival()
			read(t, b, len(sent))
			if to.name == "a.test" && b.server != home || b.server != to.pool[0] && b.server != to.pool[1] {
				t.Errorf("%s with %s: went to server %d", offer.name, to.name, b.server.index)
			}
			s.talk(c, b, 1<<20, backend(offer.refused))
			c.Close()
			b.Close()
			n++
			if rec := s.last(n); rec.Source != to.want {
				t.Errorf("%s with %s: by %v, want %v", offer.name, to.name, rec.Source, to.want)
			}
		}
	}
	if got := s.poolStats("b"); got.Verdicts[affinity.OfferTicket][VerdictRefused] != 1 || got.Lost[LostUnknown] != 3 || got.IssuedTickets != 0 {
		t.Errorf("of pool b: %+v", got)
	}
	if got := s.poolStats("a"); got.Lost[LostUnknown] != 0 || got.Lost[LostExpired] != 2 || got.Lost[LostNotKept] != 1 || got.IssuedTickets != 1 || got.IssuedIDs != 1 {
		t.Errorf("of pool a: %+v", got)
	}
}

// Real clients and servers: a browser that has tickets of both pools resumes in each, from changing addresses, and a
// ticket of the other pool brings a full handshake.
func TestRealTicketsStayInPool(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(r *rig) *server { return r.serveTLS(true) })
			s.start(s.routed)
			n := 0
			visit := func(b *browser, servers []*server) bool {
				n++
				server, resumed := b.visit(source(n))
				if s.servers[server] != servers[0] && s.servers[server] != servers[1] {
					t.Errorf("server %d of another pool answered", server)
				}
				return resumed
			}
			as := func(name string) func(*tls.Config) { return func(c *tls.Config) { c.ServerName = name } }
			a, b := s.browser(version, as("a.test")), s.browser(version, as("b.test"))
			resumed := 0
			for range 8 {
				if visit(a, s.ofA) {
					resumed++
				}
				if visit(b, s.ofB) {
					resumed++
				}
			}
			if resumed < 2*(8-3) { // until two tickets of each key have been seen
				t.Errorf("%d resumed", resumed)
			}
			mixed := s.browser(version, as("b.test"))
			stolen, _ := a.cfg.ClientSessionCache.Get("a.test")
			mixed.cfg.ClientSessionCache.Put("b.test", stolen)
			if visit(mixed, s.ofB) {
				t.Error("a ticket of the other pool was accepted")
			}
			if !visit(a, s.ofA) || !visit(b, s.ofB) {
				t.Error("the owners of the tickets do not resume any more")
			}
		})
	}
}

// What a pool's options say holds in that pool alone.
func TestOptionsByPool(t *testing.T) {
	r := newRig(t)
	first, second := []*server{r.serveByHand(), r.serveByHand()}, []*server{r.serveByHand(), r.serveByHand()}
	chances := pool.Options{SecondChance: pool.SecondChance{Auto: true, Budget: 1}, ECH: true, Policy: pool.ClientHash}
	r.newPool("chances", chances, first...)
	r.newPool("none", pool.Options{}, second...)
	r.serveByHand()
	r.start(func(c *Config) {
		c.HoldTimeout = patience
		c.Listeners[0].Routes = []Route{{Names: []string{"a.test"}, Pool: r.pools[0]}, {Names: []string{"b.test"}, Pool: r.pools[1]}}
	})
	refusal := join(answer{tls13: true}.bytes(), appData(500))
	for i, test := range []struct {
		name    string
		chances uint64
	}{{"a.test", 1}, {"b.test", 0}} {
		c := r.dial()
		sent := hello{psks: [][]byte{named("some name or ot.", i)}, names: []string{test.name}}.bytes()
		write(t, c, sent)
		b := r.arrival()
		read(t, b, len(sent))
		write(t, b, refusal)
		if test.chances > 0 {
			other := r.arrival()
			if other.server == b.server {
				t.Error("the second chance is the first one again")
			}
			read(t, other, len(sent))
			write(t, other, refusal)
		}
		read(t, c, len(refusal))
		c.Close()
		b.Close()
		r.ended(i + 1)
	}
	if a, b := r.poolStats("chances"), r.poolStats("none"); a.SecondChances != 1 || b.SecondChances != 0 || a.Connects != 2 || b.Connects != 1 {
		t.Errorf("pools %+v, %+v", a, b)
	}
	// Client hash: the same client comes to the same server; round robin: it does not.
	var seen [2]map[*server]bool
	for i, name := range []string{"a.test", "b.test"} {
		seen[i] = map[*server]bool{}
		for range 4 {
			seen[i][r.teach(hello{names: []string{name}}, backend(answer{}.bytes(), certificate(10), ccs()))] = true
		}
	}
	if len(seen[0]) != 1 || len(seen[1]) != 2 {
		t.Errorf("a client went to %d servers by client hash, to %d by turns", len(seen[0]), len(seen[1]))
	}
	// ECH: what is issued to such a hello is learned where the backends hold no keys.
	for i, name := range []string{"a.test", "b.test"} {
		ticket := named(keyName(i), i)
		r.teach(hello{names: []string{name}, psks: [][]byte{ticket}, ech: true}, backend(answer{tls13: true, psk: 1}.bytes(), appData(200)))
		var o affinity.Offer
		known := r.store.Pool(r.pools[i].Hash())
		o.Add(known.HashIdent(ticket))
		o.Kind = affinity.OfferPSK
		if got := known.Find(&o, now()).Source == affinity.SourceSession; got != (i == 1) {
			t.Errorf("%s: learned from a hello with ECH: %v", name, got)
		}
	}
}

// Two pools with one backend between them keep what they know apart.
func TestBackendInTwoPools(t *testing.T) {
	r := newRig(t)
	a, b := r.serveByHand(), r.serveByHand()
	second := r.newPool("second", pool.Options{}, a, b)
	a.backend, b.backend = nil, nil
	r.start(func(c *Config) { c.Listeners[0].Routes = []Route{{Names: []string{"b.test"}, Pool: second}} })
	id := fixed('i')
	home := r.teachID(id)
	visits := map[string]map[*server]bool{"a.test": {}, "b.test": {}}
	for range 4 {
		for name, seen := range visits {
			seen[r.teach(hello{id: id, names: []string{name}}, backend(answer{id: id}.bytes(), certificate(10), ccs()))] = true
		}
	}
	if len(visits["a.test"]) != 1 || !visits["a.test"][home] || len(visits["b.test"]) != 2 {
		t.Errorf("visits %v, home %d", visits, home.index)
	}
	if r.poolStats("second").Decisions[affinity.SourceSession] != 0 {
		t.Error("a session of one pool was known in the other")
	}
}

// A route for any name takes what has none too, but no hello that cannot be gone by.
func TestRouteForAnyName(t *testing.T) {
	s := newSite(t, (*rig).serveByHand)
	s.start(func(c *Config) { c.Listeners[0].Routes = []Route{{Pool: s.pools[0]}} })
	for sent, to := range map[string][]*server{
		string(hello{names: []string{"c.test"}}.bytes()):           s.ofA,
		string(hello{}.bytes()):                                    s.ofA,
		string(hello{names: []string{"c.test", "d.test"}}.bytes()): s.rest,
		string(hello{names: []string{"."}}.bytes()):                s.rest,
		"SSH-2.0-client\r\n":                                       s.rest,
	} {
		c := s.dial()
		write(t, c, []byte(sent))
		b := s.arrival()
		if b.server != to[0] && b.server != to[1] {
			t.Errorf("%q went to server %d", sent, b.server.index)
		}
	}
}
