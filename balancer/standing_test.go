//go:build linux

package balancer

import (
	"net/netip"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// standingOf makes standings, and who asks in them by the address and server name.
func standingOf(t testing.TB) (*standings, func(addr string, name pool.NameRef) asker) {
	t.Helper()
	p, err := pool.New("test", []pool.Spec{{Addr: "127.0.0.1:1"}}, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newStandings()
	return s, func(addr string, name pool.NameRef) asker {
		return s.asker(p, affinity.HashNetwork(netip.MustParseAddr(addr)), name)
	}
}

// TestStandingPrice: what a second chance costs rises for who gains nothing by them, for who has just had some, and
// falls again.
func TestStandingPrice(t *testing.T) {
	const live, stranger = 3, 1 + budgetKept
	s, who := standingOf(t)
	now := uint32(1_000_000)
	price := func(what string, a asker, want float64) {
		t.Helper()
		if got := s.price(a, live, now); got != want {
			t.Errorf("%s pays %v, want %v", what, got, want)
		}
	}
	for _, side := range []struct{ addr, neighbour, other string }{
		{"192.0.2.1", "192.0.2.99", "192.0.3.1"},
		{"2001:db8:1::1", "2001:db8:1:ffff::2", "2001:db8:2::1"},
	} {
		a, neighbour, other := who(side.addr, 0), who(side.neighbour, 0), who(side.other, 0)
		price("a stranger", a, stranger)
		s.charge(a, live, now)
		if got := s.price(a, live, now); got <= stranger || got >= budgetBurst {
			t.Errorf("after one loss it pays %v", got)
		}
		for range lossWeight * live {
			s.charge(a, live, now)
		}
		price("who never gains", a, budgetBurst)
		price("its neighbour", neighbour, budgetBurst)
		price("another network", other, stranger)

		s.gained(other, live, now)
		price("who has gained", other, 1)
		s.charge(other, live, now)
		s.charge(other, live, now)
		price("who has just had two", other, 3)
		now++
		price("a second later", other, 2)
		s.earned(a, 1, live, now+10)
		now += standingSeconds - 1
		if got := s.price(a, live, now); got <= stranger {
			t.Errorf("who never gained is forgotten too soon: pays %v", got)
		}
		now += 20
		price("long after", a, stranger)
		price("long after", other, stranger)
	}
}

// TestStandingName: a name by which nobody gains makes strangers pay in full, but not those who gain by others, and one
// gain ends it: junk for somebody's name does not harm who is known.
func TestStandingName(t *testing.T) {
	const live = 3
	s, who := standingOf(t)
	now := uint32(1_000_000)
	proven, stranger := who("192.0.2.1", 7), who("198.51.100.1", 7)
	s.gained(proven, live, now)
	for i := range vainChances {
		s.charge(who(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}).String(), 7), live, now)
	}
	if got := s.price(stranger, live, now); got != 1+budgetKept {
		t.Errorf("a name is in vain at once: a stranger pays %v", got)
	}
	now += vainSeconds
	if got := s.price(stranger, live, now); got != budgetBurst {
		t.Errorf("for a name in vain a stranger pays %v", got)
	}
	if got := s.price(who("198.51.100.1", 8), live, now); got != 1+budgetKept {
		t.Errorf("for another name a stranger pays %v", got)
	}
	if got := s.price(proven, live, now); got != 1 {
		t.Errorf("for a name in vain who has gained pays %v", got)
	}
	s.gained(proven, live, now)
	if got := s.price(stranger, live, now); got != 1+budgetKept {
		t.Errorf("for a name that has gained a stranger pays %v", got)
	}
}

// TestStandingsFull: a flood from ever new networks costs no memory, and does not put out those who gain.
func TestStandingsFull(t *testing.T) {
	const live, known = 3, 100
	s, who := standingOf(t)
	now := uint32(1_000_000)
	of := func(i int) asker { return who(netip.AddrFrom4([4]byte{10, byte(i), 0, 1}).String(), 0) }
	for i := range known {
		s.gained(of(i), live, now)
	}
	flood := make([]asker, 100_000)
	for i := range flood {
		flood[i] = who(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}).String(), pool.NameRef(2*i+1))
	}
	i := 0
	if n := testing.AllocsPerRun(len(flood)-1, func() {
		s.price(flood[i], live, now)
		s.charge(flood[i], live, now)
		i++
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	kept := 0
	for i := range known {
		if s.price(of(i), live, now) == 1 {
			kept++
		}
	}
	if kept < known*95/100 { // more than four may have met in a bucket
		t.Errorf("%d of %d that gain are known after the flood", kept, known)
	}
}
