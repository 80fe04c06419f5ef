package health

import (
	"crypto/tls"
	"slices"
	"testing"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// running is the laboratory's targets, where each finds the others.
func (lab *laboratory) running() []*target {
	list := lab.targets()
	for _, tg := range list {
		lab.prober.edit(func(all map[uint32]*target) { all[uint32(tg.backend.ID)] = tg })
	}
	return list
}

// ticket is one under a key, with a number behind its name.
func (lab *laboratory) ticket(key string, number byte) affinity.Ident {
	b := append([]byte(key), number)
	return lab.known.HashIdent(append(b, make([]byte, 100)...))
}

// refuse has a client be refused by the target under a key.
func (lab *laboratory) refuse(tg *target, key string, network uint32) {
	o := affinity.Offer{Kind: affinity.OfferPSK, Network: network}
	o.Add(lab.ticket(key, 99))
	lab.known.Refused(&o, affinity.SourceTicketKey, uint32(tg.backend.ID), lab.store.Now())
}

// homes are those of a key, by their places in list.
func (lab *laboratory) homes(list []*target, key string) (places []int) {
	for i, tg := range list {
		if _, ok := lab.known.TicketKey(lab.ticket(key, 99), uint32(tg.backend.ID), lab.store.Now()); ok {
			places = append(places, i)
		}
	}
	return places
}

// TestSettle: what becomes of a home when clients were refused there.
func TestSettle(t *testing.T) {
	tls12, tls13 := versions(tls.VersionTLS12, tls.VersionTLS12), versions(tls.VersionTLS13, tls.VersionTLS13)
	for _, tt := range []struct {
		name    string
		version func(*server, *tls.Config)
		keys    []string                                 // of the three backends, at first
		after   func(lab *laboratory, servers []*server) // when all have been probed, and before the refusals
		homes   []int                                    // that keyA ends with
	}{
		{"one of three that share a key loses it, TLS 1.3", tls13, []string{keyA, keyA, keyA}, func(_ *laboratory, s []*server) { s[2].rename(keyB) }, []int{0, 1}},
		{"and TLS 1.2", tls12, []string{keyA, keyA, keyA}, func(_ *laboratory, s []*server) { s[2].rename(keyB) }, []int{0, 1}},
		{
			"a home that never was one", tls13,
			[]string{keyA, keyB, keyB},
			func(lab *laboratory, s []*server) {
				for number := range byte(2) {
					lab.known.Probed(lab.ticket(keyA, number), uint32(lab.targets()[2].backend.ID), lab.store.Now())
				}
			},
			[]int{0},
		},
		{"one that takes tickets of the key, and issues others", tls13, []string{keyA, keyA, keyA}, func(_ *laboratory, s []*server) { s[2].rename(keyB); s[2].takes(keyA) }, []int{0, 1, 2}},
		{"nothing but refusals", tls13, []string{keyA, keyA, keyA}, func(*laboratory, []*server) {}, []int{0, 1, 2}},
		{
			"the ticket at hand is too old: another is got", tls13,
			[]string{keyA, keyA, keyA},
			func(_ *laboratory, s []*server) {
				s[2].rename(keyB)
				for _, one := range s {
					one.forget()
				}
			},
			[]int{0, 1},
		},
		{
			"nobody takes one of it any more: nothing speaks against the one alone", tls13,
			[]string{keyA, keyA, keyA},
			func(_ *laboratory, s []*server) {
				for _, one := range s {
					one.rename(keyB)
				}
			},
			[]int{0, 1, 2},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var servers []*server
			var addrs []string
			for _, key := range tt.keys {
				s := serve(t, both(named(key), tt.version), nil)
				s.config.SetSessionTicketKeys([][32]byte{{1}}) // what differs is the name
				servers, addrs = append(servers, s), append(addrs, s.addr)
			}
			lab := newLab(t, nil, addrs...)
			list := lab.running()
			slices.SortFunc(servers, func(a, b *server) int { return lab.place(list, a) - lab.place(list, b) })
			for i, s := range servers {
				s.rename(tt.keys[i])
			}
			for _, tg := range list {
				lab.round(tg)
			}
			first := len(slices.DeleteFunc(slices.Clone(tt.keys), func(k string) bool { return k != keyA }))
			testkit.Eventually(t, "the first keys", func() bool { return len(lab.homes(list, keyA)) == first })
			tt.after(lab, servers)
			testkit.Eventually(t, "what was done", func() bool {
				return len(lab.homes(list, keyA)) >= len(tt.homes) && slices.Contains(lab.homes(list, keyA), 2)
			})
			for network := range uint32(3) { // too few for doubt: the probe is asked for each
				lab.refuse(list[2], keyA, network)
			}
			result, _ := lab.round(list[2])
			testkit.Eventually(t, "the end", func() bool { return slices.Equal(lab.homes(list, keyA), tt.homes) })
			if gone := len(tt.homes) < 3; gone && result != outcomeNews {
				t.Errorf("outcome %d", result)
			}
			// Whoever was found not to hold it is not made a home again but by itself.
			for _, tg := range list {
				lab.round(tg)
			}
			testkit.Eventually(t, "the same", func() bool { return slices.Equal(lab.homes(list, keyA), tt.homes) })
		})
	}
}

// place is that of the server's target in list.
func (lab *laboratory) place(list []*target, s *server) int {
	return slices.IndexFunc(list, func(tg *target) bool { return tg.backend.Addr.String() == s.addr })
}

// TestSettleAsksLittle: however many clients offer junk under good names, at all homes and from everywhere, nothing is
// asked but what a probe asks anyway, and nothing changes.
func TestSettleAsksLittle(t *testing.T) {
	a, b := serve(t, named(keyA), nil), serve(t, named(keyA), nil)
	lab := newLab(t, nil, a.addr, b.addr)
	list := lab.running()
	for range 2 {
		for _, tg := range list {
			lab.round(tg)
		}
	}
	testkit.Eventually(t, "the key", func() bool { return len(lab.homes(list, keyA)) == 2 })
	before := a.conns.Load() + b.conns.Load()
	for _, tg := range list {
		lab.round(tg)
	}
	quiet := a.conns.Load() + b.conns.Load() - before
	for network := range uint32(5000) {
		for _, tg := range list {
			lab.refuse(tg, keyA, network)
		}
	}
	before += quiet
	for _, tg := range list {
		lab.round(tg)
	}
	if n := a.conns.Load() + b.conns.Load() - before; n != quiet {
		t.Errorf("%d handshakes after a flood, %d without", n, quiet)
	}
	for _, k := range lab.known.HeldKeys(lab.store.Now() + 60) {
		if k.Doubtful || len(k.Homes) != 2 {
			t.Errorf("%+v", k)
		}
	}
}

// TestSamples: of each key the newest ticket is kept, and of all keys the newest few.
func TestSamples(t *testing.T) {
	lab := newLab(t, nil, "192.0.2.1:443")
	tg := lab.targets()[0]
	name := func(i byte) string { return string([]byte{'k', 'e', 'y', i}) + "............" }
	for i := range byte(2 * maxSamples) {
		tg.keep([]sample{{ident: lab.ticket(name(i), 1)}, {ident: lab.ticket(name(i), 2)}})
	}
	if len(tg.samples) != maxSamples {
		t.Errorf("%d samples", len(tg.samples))
	}
	for i := range byte(2 * maxSamples) {
		ident := lab.ticket(name(i), 2)
		s, ok := tg.sample(ident.First)
		if want := i >= maxSamples; ok != want || ok && s.ident.Exact != ident.Exact {
			t.Errorf("sample %d: %v", i, ok)
		}
	}
}
