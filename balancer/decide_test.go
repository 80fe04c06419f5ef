//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/affinity"
)

// routed lets the balancer route an offer of a client to a backend, which answers
// with the flight, and returns where it went and by which rule.
func (r *rig) decided(from int, h hello, flight ...[]byte) (*server, affinity.Source) {
	r.Helper()
	n := len(r.ended(0))
	c := r.dialFrom(source(from))
	sent := h.bytes()
	write(r, c, sent)
	b := r.arrival()
	read(r, b, len(sent))
	r.talk(c, b, 1<<20, backend(flight...))
	c.Close()
	b.Close()
	return b.server, r.last(n + 1).Source
}

// TestExplore is rule 4: each refusal teaches, so that an unknown name comes to
// every backend once, wherever the clients are, and then counts as fresh.
func TestExplore(t *testing.T) {
	const backends = 4
	for name, refuse := range map[string][]byte{
		"PSK":    join(answer{tls13: true}.bytes(), appData(300)),
		"ticket": join(answer{}.bytes(), certificate(300)),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range backends {
				r.serveByHand()
			}
			r.start()
			offer := func(i int) hello {
				if name == "PSK" {
					return hello{psks: [][]byte{named("sixteen bytes nm", i)}}
				}
				return hello{ticket: named("sixteen bytes nm", i)}
			}
			asked := map[*server]bool{}
			for i := range backends {
				s, by := r.decided(i, offer(i), refuse)
				if asked[s] || by != affinity.SourceExplore {
					t.Errorf("offer %d went to %d by %v, a second time: %v", i, s.index, by, asked[s])
				}
				asked[s] = true
			}
			if _, by := r.decided(backends, offer(backends), refuse); by != affinity.SourceFresh {
				t.Errorf("refused everywhere, routed by %v", by)
			}
			if s := r.b.Stats(); s.Decisions[affinity.SourceExplore] != backends || s.Lost[LostUnknown] != backends+1 {
				t.Errorf("decisions %v, lost %v", s.Decisions, s.Lost)
			}
		})
	}
}

// A session ID that is known is an offer of a TLS 1.3 client too: sent home, held,
// judged and counted as one. An unknown one is nothing.
func TestSessionIDOfTLS13Client(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveByHand()
	}
	r.start(func(c *Config) { c.HoldTimeout = patience })
	id := fixed('i')
	home := r.teachID(id)
	offer := hello{id: id, tls13: true}.bytes()
	for i := range 3 {
		c := r.dialFrom(source(i))
		write(t, c, offer)
		b := r.arrival()
		read(t, b, len(offer))
		first := answer{id: id}.bytes()
		write(t, b, first)
		r.await("the ServerHello is read", func() bool { return r.b.Stats().Handshakes == 1 && r.b.Stats().BufferBytes > 1024 })
		r.settle()
		if n := pending(t, c); n != 0 {
			t.Errorf("the client has %d bytes before the verdict", n)
		}
		write(t, b, ccs())
		read(t, c, len(first)+len(ccs()))
		c.Close()
		b.Close()
		rec := r.last(2 + i)
		if b.server != home || rec.Source != affinity.SourceSession || rec.Offer != affinity.OfferID || rec.Verdict != VerdictAccepted {
			t.Errorf("to %d, record %+v", b.server.index, *rec)
		}
	}
	if _, by := r.decided(9, hello{id: fixed('u'), tls13: true}, answer{tls13: true}.bytes()); by != affinity.SourceFresh {
		t.Errorf("an unknown ID was routed by %v", by)
	}
	if s := r.b.Stats(); s.Offers[affinity.OfferID] != 3 || s.Verdicts[affinity.OfferID] != [NumVerdicts]uint64{VerdictAccepted: 3} || s.Offers[affinity.OfferNone] != 2 {
		t.Errorf("offers %v, verdicts %v", s.Offers, s.Verdicts)
	}
}

// TestClientHome is rule 3: where a client completed a handshake, of either
// version, its unknown offers go; two refusals end that, and a hello that offers
// nothing is nobody's.
func TestClientHome(t *testing.T) {
	for name, version := range map[string]struct {
		fresh    hello
		complete []turn
	}{
		"TLS 1.2": {hello{ticket: []byte{}}, []turn{backend(answer{}.bytes(), certificate(10), ccs())}},
		"TLS 1.3": {hello{tls13: true}, []turn{backend(answer{tls13: true}.bytes(), appData(900)), client(ccs(), appData(50)), backend(appData(200))}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveByHand()
			}
			r.start()
			tls13 := name == "TLS 1.3"
			offer := func(i int) hello {
				if tls13 {
					return hello{psks: [][]byte{noName(i)}}
				}
				return hello{ticket: noName(i)}
			}
			refuse := join(answer{tls13: tls13}.bytes(), certificate(10))
			home := r.teachFrom(1, version.fresh, version.complete...)
			for i := range 2 { // two strikes
				if s, by := r.decided(1, offer(i), refuse); s != home || by != affinity.SourceClient {
					t.Errorf("offer %d of the client went to %d by %v, home is %d", i, s.index, by, home.index)
				}
			}
			if _, by := r.decided(1, offer(2), refuse); by != affinity.SourceExplore {
				t.Errorf("after two refusals routed by %v", by)
			}
			if _, by := r.decided(2, offer(3), refuse); by != affinity.SourceExplore {
				t.Errorf("another client routed by %v", by)
			}
			r.teachFrom(3, version.fresh, version.complete...)
			seen := map[*server]bool{}
			for range 3 {
				s, by := r.decided(3, version.fresh, join(answer{tls13: tls13}.bytes(), certificate(10)))
				if by != affinity.SourceFresh {
					t.Errorf("a fresh hello routed by %v", by)
				}
				seen[s] = true
			}
			if len(seen) != 3 {
				t.Errorf("fresh hellos of one client went to %d of 3 backends", len(seen))
			}
		})
	}
}

// noName is a ticket that nothing is like.
func noName(i int) []byte {
	return named(string([]byte{byte(i), byte(i >> 8), 'x', byte(7 * i)}), 1000+i)
}
