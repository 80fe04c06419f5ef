//go:build linux

package balancer

import (
	"crypto/tls"
	"net"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// TestTally: what the backends have had, together, is what the balancer counts as a whole, and each has what is its
// own.
func TestTally(t *testing.T) {
	const clients, rounds = 6, 4
	r := newRig(t)
	for range 3 {
		r.serveTLS(true)
	}
	r.start()
	var want [3]pool.Tally // as the clients saw it
	for i := range clients {
		c := r.browser(tls.VersionTLS12)
		for round := range rounds {
			server, resumed := c.visit(source(i*rounds + round))
			want[server].Conns++
			if resumed {
				want[server].Accepted++
			} else {
				want[server].Refused++ // Go's first hello has a random ID, which could be real
			}
		}
	}
	r.ended(clients * rounds)
	var bytes pool.Tally
	for i, s := range r.servers {
		got := s.backend.Tally()
		bytes.BytesIn += got.BytesIn
		bytes.BytesOut += got.BytesOut
		got.BytesIn, got.BytesOut = 0, 0
		if got != want[i] {
			t.Errorf("backend %d: %+v, want %+v", i, got, want[i])
		}
	}
	if s := r.b.Stats(); bytes.BytesIn != s.BytesIn || bytes.BytesOut != s.BytesOut || s.BytesIn == 0 {
		t.Errorf("%d and %d bytes of backends, %d and %d in all", bytes.BytesIn, bytes.BytesOut, s.BytesIn, s.BytesOut)
	}
}

// TestTallyLost: an offer counts as lost for the backend whose it was, whether that refused it or could not be used.
func TestTallyLost(t *testing.T) {
	r := newRig(t)
	for range 2 {
		r.serveByHand()
	}
	r.start()
	home := r.teachID(fixed('i'))
	if s := r.teach(hello{id: fixed('i')}, backend(answer{}.bytes(), certificate(10), ccs())); s != home {
		t.Fatal("not home")
	}
	r.pool.SetDraining(home.backend, pool.DrainHard)
	if s := r.teach(hello{id: fixed('i')}, backend(answer{}.bytes(), certificate(10), ccs())); s == home {
		t.Fatal("home, though it is drained")
	}
	r.teach(hello{id: fixed('u')}, backend(answer{}.bytes(), certificate(10), ccs())) // nobody's
	other := r.servers[0]
	if other == home {
		other = r.servers[1]
	}
	if got := home.backend.Tally(); got.Lost != 2 || got.Refused != 1 || got.Conns != 2 || got.Fresh != 1 {
		t.Errorf("home: %+v", got)
	}
	if got := other.backend.Tally(); got.Lost != 0 || got.Refused != 2 || got.Conns != 2 || got.Fresh != 0 {
		t.Errorf("the other: %+v", got)
	}
	if s := r.b.Stats(); s.Lost[LostUnknown] != 1 || s.Lost[LostDrained] != 1 || s.Lost[LostNotKept] != 1 || s.Offers[affinity.OfferID] != 3 {
		t.Errorf("lost %v, offers %v", s.Lost, s.Offers)
	}
}

// TestTallyBulk: the traffic of a conn that stays open is counted, spliced or copied.
func TestTallyBulk(t *testing.T) {
	const size = 3 << 20
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff)
	c := r.dial()
	b := r.arrival()
	send := func(from, to *net.TCPConn, n int) {
		go write(t, from, make([]byte, n))
		read(t, to, n)
	}
	send(c, b.TCPConn, size)
	send(b.TCPConn, c, 2*size)
	backend := r.servers[0].backend
	r.await("most of it is counted", func() bool {
		got := backend.Tally()
		return got.BytesIn > size-pool.TallyStep && got.BytesOut > 2*size-pool.TallyStep
	})
	c.Close()
	b.Close()
	r.ended(1)
	if got := backend.Tally(); got.BytesIn != size || got.BytesOut != 2*size {
		t.Errorf("%d in and %d out, want %d and %d", got.BytesIn, got.BytesOut, size, 2*size)
	}
}
