//go:build linux

package balancer

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/balancer/pool"
)

func checked(t testing.TB, s ClientLimits) *ClientLimits {
	t.Helper()
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	return &s
}

// later lets d pass for the table.
func (s *networks) later(d time.Duration) { s.began = s.began.Add(-d) }

func TestSourceConns(t *testing.T) {
	s, limits := newNetworks(1), checked(t, ClientLimits{MaxConns: 2})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var refs []uint32
	for i, want := range []Refusal{RefusedNone, RefusedNone, RefusedClientConns, RefusedClientConns} {
		ref, why := s.take(a, limits)
		if why != want || (ref != 0) != (why == RefusedNone) {
			t.Errorf("conn %d: %v, ref %d, want %v", i, why, ref, want)
		}
		refs = append(refs, ref)
	}
	if _, why := s.take(b, limits); why != RefusedNone {
		t.Errorf("a neighbour: %v", why)
	}
	s.give(refs[0])
	s.give(0) // of a conn that was not counted
	if _, why := s.take(a, limits); why != RefusedNone {
		t.Errorf("after one has ended: %v", why)
	}
	if _, why := s.take(a, limits); why != RefusedClientConns {
		t.Errorf("and one more: %v", why)
	}
}

// Networks are as wide as configured, and families stay apart.
func TestSourceNetworks(t *testing.T) {
	limits := checked(t, ClientLimits{MaxConns: 1, Prefix4: 24, Prefix6: 56})
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.200", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"192.0.2.1", "::ffff:192.0.2.9", true},
		{"2001:db8:0:1100::1", "2001:db8:0:11ff:ffff::", true},
		{"2001:db8:0:1100::1", "2001:db8:0:1200::1", false},
		{"::", "0.0.0.0", false},
	} {
		s := newNetworks(7)
		_, first := s.take(netip.MustParseAddr(tt.a), limits)
		if _, why := s.take(netip.MustParseAddr(tt.b), limits); first != RefusedNone || (why != RefusedNone) != tt.same {
			t.Errorf("%s and %s: %v", tt.a, tt.b, why)
		}
	}
	wide := checked(t, ClientLimits{MaxConns: 1, Prefix6: 128})
	s := newNetworks(7)
	s.take(netip.MustParseAddr("2001:db8::1"), wide)
	if _, why := s.take(netip.MustParseAddr("2001:db8::2"), wide); why != RefusedNone {
		t.Errorf("two addresses of a /128: %v", why)
	}
}

// A rate lets a burst in, then as many as time brings, whatever is open meanwhile.
func TestSourceRate(t *testing.T) {
	for _, open := range []bool{false, true} {
		s, limits := newNetworks(1), checked(t, ClientLimits{Rate: 10, Burst: 3})
		a := netip.MustParseAddr("192.0.2.1")
		got := func(n int) (in int) {
			for range n {
				ref, why := s.take(a, limits)
				if why == RefusedNone {
					in++
				}
				if !open {
					s.give(ref)
				}
			}
			return in
		}
		if n := got(10); n != 3 {
			t.Errorf("%d of a burst of 3", n)
		}
		s.later(105 * time.Millisecond)
		if n := got(10); n != 1 {
			t.Errorf("%d a tenth of a second later", n)
		}
		s.later(time.Minute)
		if n := got(10); n != 3 {
			t.Errorf("%d after a minute of quiet", n)
		}
		s.later(5 * time.Hour) // the entry's time has come round
		if n := got(10); n != 3 {
			t.Errorf("%d after hours of quiet", n)
		}
	}
}

// The table is bounded: what does not fit is let in and not counted; entries without conns whose time is over make
// room.
func TestSourcesFull(t *testing.T) {
	s, limits := newNetworks(1), checked(t, ClientLimits{MaxConns: 1, Rate: 100})
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	var counted []uint32
	mistaken := 0 // for another network
	const n = 4 * networkBuckets * networkWays
	for i := range n {
		ref, why := s.take(addr(i), limits)
		if why != RefusedNone {
			mistaken++
		}
		if ref != 0 {
			counted = append(counted, ref)
		}
	}
	if mistaken > 2*n/16000 {
		t.Errorf("%d of %d networks were taken for others", mistaken, n)
	}
	if len(counted) < networkBuckets*networkWays*9/10 {
		t.Errorf("%d networks are counted", len(counted))
	}
	for _, ref := range counted {
		s.give(ref)
	}
	s.later(time.Minute)
	refs := 0
	for i := range 1000 {
		if ref, _ := s.take(addr(n+i), limits); ref != 0 {
			refs++
		}
	}
	if refs != 1000 {
		t.Errorf("%d of 1,000 new networks are counted after the old ones have gone", refs)
	}
}

// Loops take and give at once, and the count is right all the time.
func TestSourcesTogether(t *testing.T) {
	s, limits := newNetworks(1), checked(t, ClientLimits{MaxConns: 3, Rate: 10000, Burst: 10000})
	var open, most atomic.Int64
	var loops sync.WaitGroup
	for range 4 {
		loops.Go(func() {
			for range 20000 {
				ref, why := s.take(netip.MustParseAddr("192.0.2.1"), limits)
				if why != RefusedNone {
					continue
				}
				if n := open.Add(1); n > most.Load() {
					most.Store(n)
				}
				open.Add(-1)
				s.give(ref)
			}
		})
	}
	loops.Wait()
	if most.Load() > 3 {
		t.Errorf("%d open at once", most.Load())
	}
	way, word := s.find(uint32(s.hash(netip.MustParseAddr("192.0.2.1"), limits)%networkBuckets), s.hash(netip.MustParseAddr("192.0.2.1"), limits)>>46|1<<17, 0)
	if way < 0 || unpackNetwork(word).conns != 0 {
		t.Errorf("%d conns are left", unpackNetwork(word).conns)
	}
}

func TestSourceLimitsRefused(t *testing.T) {
	for want, limits := range map[string]ClientLimits{
		"-1 conns": {MaxConns: -1}, "70000 conns": {MaxConns: 70000}, "20000 new": {Rate: 20000}, "-1 new": {Rate: -1},
		"burst per source is negative": {Burst: -1}, "/33 and /64": {Prefix4: 33}, "/32 and /8": {Prefix6: 8}, "takes more than 600 s": {Rate: 0.1, Burst: 100},
	} {
		if err := limits.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", limits, err, want)
		}
	}
}

func TestPrefixSet(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	address := func() netip.Addr {
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 7: byte(random.IntN(4)), 15: byte(random.IntN(256))})
	}
	for range 300 {
		var list []netip.Prefix
		for range random.IntN(6) {
			a := address()
			list = append(list, netip.PrefixFrom(a, a.BitLen()-random.IntN(12)))
		}
		set, err := newPrefixSet(list)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			a, want := address(), false
			for _, p := range list {
				want = want || p.Masked().Contains(a)
			}
			if set.has(a) != want {
				t.Fatalf("%v in %v: %v", a, list, !want)
			}
		}
	}
	mapped, err := newPrefixSet([]netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")})
	if err != nil || !mapped.has(netip.MustParseAddr("192.0.2.7")) || mapped.has(netip.MustParseAddr("192.0.3.7")) {
		t.Errorf("a mapped network: %v", err)
	}
	if _, err := newPrefixSet([]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 99)}); err == nil {
		t.Error("no network is one")
	}
}

func TestSourceAllocations(t *testing.T) {
	s, limits := newNetworks(1), checked(t, ClientLimits{MaxConns: 2, Rate: 10000})
	set, err := newPrefixSet([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() { ref, _ := s.take(a, limits); s.give(ref); set.has(a) }); n != 0 {
		t.Errorf("%v heap objects", n)
	}
}

// near is the n-th of a row of addresses.
func near(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 9, 0, n}) }

// turnedAway dials from an address and expects to be reset.
func (r *rig) turnedAway(from netip.Addr) {
	r.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: patience}
	c, err := d.Dial("tcp", r.addr)
	if err == nil {
		r.track(c)
		if _, err = c.Write(hello{}.bytes()); err == nil { // the RST may be faster, and is told once
			_, err = io.Copy(io.Discard, c)
		}
		c.Close()
	}
	if !isReset(err) && !errors.Is(err, syscall.EPIPE) {
		r.Errorf("the client got %v, want RST", err)
	}
}

// TestSourceLimits: whoever has too many conns open, or comes too fast, is reset and counted; others are not, and it is
// over when the pressure is.
func TestSourceLimits(t *testing.T) {
	for _, mode := range []TLSMode{TLSAuto, TLSOff} {
		r := newRig(t)
		r.serveByHand()
		r.start(func(c *Config) {
			c.Listeners[0].TLS = mode
			c.Clients = ClientLimits{MaxConns: 2, Prefix4: 31}
			c.Loops = 2
		})
		even, odd, other := near(2), near(3), near(4)
		open := func(from netip.Addr) (*net.TCPConn, arrival) {
			c := r.dialFrom(from)
			write(t, c, hello{}.bytes())
			b := r.arrival()
			read(t, b, len(hello{}.bytes()))
			return c, b
		}
		c, b := open(even)
		open(odd)
		for range 3 {
			r.turnedAway(even)
			r.turnedAway(odd)
		}
		open(other)
		if s := r.b.Stats(); s.Refused[RefusedClientConns] != 6 || s.Terminations[CauseRefused][PhaseHello] != 6 || s.Open != 3 {
			t.Errorf("%v: refused %v, %d open", mode, s.Refused, s.Open)
		}
		c.Close()
		b.Close()
		r.await("it has ended", func() bool { return r.b.Stats().Open == 2 })
		open(odd)
		r.reload(func(c *Config) { c.Clients = ClientLimits{Rate: 1, Burst: 1, Prefix4: 32} })
		open(near(20))
		r.turnedAway(near(20))
		open(near(21))
		if s := r.b.Stats(); s.Refused[RefusedClientRate] != 1 {
			t.Errorf("%v: refused %v", mode, s.Refused)
		}
		r.reload(func(c *Config) { c.Clients = ClientLimits{} })
		open(near(20))
		r.stop()
	}
}

// TestAllowDeny: lists of networks, by listener; they change with a reload.
func TestAllowDeny(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	networks := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, 31)} }
	r.startPool(pool.Options{}, func(c *Config) { c.Listeners[0].Deny = networks(near(2)) }, listener("side", nil))
	r.turnedAway(near(2))
	r.turnedAway(near(3))
	served := func(from netip.Addr) {
		t.Helper()
		c := r.dialFrom(from)
		write(t, c, hello{}.bytes())
		r.talk(c, r.arrival(), 1<<20, client(nil))
	}
	served(near(4))
	main := r.addr
	r.addr = r.addrOf("side")
	served(near(2))
	r.addr = main
	r.reload(func(c *Config) { c.Listeners[0].Allow, c.Listeners[0].Deny = networks(near(2)), networks(near(3))[:1] })
	r.turnedAway(near(2)) // denied, though it is allowed
	r.turnedAway(near(4))
	r.reload(func(c *Config) { c.Listeners[0].Deny = nil })
	served(near(2))
	if rec := r.last(1); rec.Refused != RefusedDenied || rec.Termination.String() != "PH" {
		t.Errorf("record %+v", rec)
	}
	if s := r.b.Stats(); s.Refused[RefusedDenied] != 4 || s.Listeners[0].Refused[RefusedDenied] != 4 || s.Listeners[1].Refused[RefusedDenied] != 0 {
		t.Errorf("refused %v", s.Refused)
	}
}
