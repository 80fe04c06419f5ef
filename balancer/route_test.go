//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/affinity"
)

// routed lets the balancer route an offer of a client to a backend, which answers
// with the flight, and returns where it went and by which rule.
func (r *rig) routed(from int, h hello, flight ...[]byte) (*server, affinity.Source) {
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
				s, by := r.routed(i, offer(i), refuse)
				if asked[s] || by != affinity.SourceExplore {
					t.Errorf("offer %d went to %d by %v, a second time: %v", i, s.index, by, asked[s])
				}
				asked[s] = true
			}
			if _, by := r.routed(backends, offer(backends), refuse); by != affinity.SourceFresh {
				t.Errorf("refused everywhere, routed by %v", by)
			}
			if s := r.b.Stats(); s.Routes[affinity.SourceExplore] != backends || s.Lost[LostUnknown] != backends+1 {
				t.Errorf("routes %v, lost %v", s.Routes, s.Lost)
			}
		})
	}
}

// One acceptance is a hint for the next ticket of that name, a second makes the
// name a ticket key.
func TestHintAndTicketKey(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveByHand()
	}
	r.start()
	accept := join(answer{tls13: true, psk: 1}.bytes(), appData(100))
	offer := func(i int) hello { return hello{psks: [][]byte{named("sixteen bytes nm", i)}} }
	home, by := r.routed(0, offer(0), accept)
	if by != affinity.SourceExplore {
		t.Errorf("first offer by %v", by)
	}
	if s, by := r.routed(1, offer(1), accept); s != home || by != affinity.SourceExplore {
		t.Errorf("second offer to %d by %v, home is %d", s.index, by, home.index)
	}
	r.await("the ticket key is known", func() bool { return r.keys16() == 1 })
	for i := range 5 {
		if s, by := r.routed(2+i, offer(2+i), accept); s != home || by != affinity.SourceTicketKey {
			t.Errorf("offer to %d by %v, home is %d", s.index, by, home.index)
		}
	}
	// The very same ticket has no entry of its own any more, nor needs one.
	if s, by := r.routed(20, offer(4), accept); s != home || by != affinity.SourceTicketKey {
		t.Errorf("offered again: to %d by %v", s.index, by)
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
				if s, by := r.routed(1, offer(i), refuse); s != home || by != affinity.SourceClient {
					t.Errorf("offer %d of the client went to %d by %v, home is %d", i, s.index, by, home.index)
				}
			}
			if _, by := r.routed(1, offer(2), refuse); by != affinity.SourceExplore {
				t.Errorf("after two refusals routed by %v", by)
			}
			if _, by := r.routed(2, offer(3), refuse); by != affinity.SourceExplore {
				t.Errorf("another client routed by %v", by)
			}
			home = r.teachFrom(3, version.fresh, version.complete...)
			seen := map[*server]bool{}
			for range 3 {
				s, by := r.routed(3, version.fresh, join(answer{tls13: tls13}.bytes(), certificate(10)))
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

// An exact entry that a second backend accepts, too, is good for any.
func TestSharedSession(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveByHand()
	}
	r.start()
	accept := join(answer{tls13: true, psk: 1}.bytes(), appData(100))
	offer := hello{psks: [][]byte{noName(1)}}
	first, _ := r.routed(0, offer, accept)
	r.pool.SetUp(first.backend, false, "test")
	second, by := r.routed(1, offer, accept)
	if second == first || by != affinity.SourceFresh {
		t.Fatalf("with its home down the offer went to %d by %v", second.index, by)
	}
	for i, down := range r.servers {
		r.pool.SetUp(first.backend, true, "test")
		r.pool.SetUp(down.backend, false, "test")
		if s, by := r.routed(2+i, offer, accept); s == down || by != affinity.SourceSession {
			t.Errorf("good for any, went to %d by %v with %d down", s.index, by, i)
		}
		r.pool.SetUp(down.backend, true, "test")
	}
}
