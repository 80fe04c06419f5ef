//go:build linux

package balancer

import (
	"crypto/rand"
	"crypto/tls"
	"net/netip"
	"testing"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

// foreign is a session cache that offers another ticket each time, which nobody has issued, with a state that the
// client believes in.
type foreign struct{ state *tls.SessionState }

func (j foreign) Put(string, *tls.ClientSessionState) {}

func (j foreign) Get(string) (*tls.ClientSessionState, bool) {
	ticket := make([]byte, 120)
	if _, err := rand.Read(ticket); err != nil {
		return nil, false
	}
	s, err := tls.NewResumptionState(ticket, j.state)
	return s, err == nil
}

// newForeign takes the state from a session of a server of its own.
func newForeign(t testing.TB) foreign {
	t.Helper()
	cache := tls.NewLRUClientSessionCache(1)
	addr := testkit.Serve(t, tlsServer(1, false))
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, ClientSessionCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	read(t, c, 1)
	c.Close()
	session, ok := cache.Get("a.test")
	if !ok {
		t.Fatal("no session")
	}
	_, state, err := session.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	return foreign{state}
}

// TestSecondChancesUnderFlood: clients who roam get the second chances that they can use, although others offer eight
// times as often what no backend has issued, from one address, from ten or from two hundred networks. Backends are
// those of Go, whose tickets have no name: an offer of an unknown client finds home by chance, one time in three, or
// two in three with a second chance.
func TestSecondChancesUnderFlood(t *testing.T) {
	const good, each = 150, 8
	for name, from := range map[string]func(n int) netip.Addr{
		"nobody else":  nil,
		"one address":  func(int) netip.Addr { return netip.AddrFrom4([4]byte{127, 250, 0, 1}) },
		"ten":          func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 250, 0, byte(1 + n%10)}) },
		"200 networks": func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 251, byte(n % 200), 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveTLS(false)
			}
			r.startPool(pool.Options{SecondChance: pool.SecondChance{Auto: true, Budget: 0.1}})
			cache := newForeign(t)
			hostile := r.browser(tls.VersionTLS13, func(c *tls.Config) { c.ClientSessionCache = cache })
			resumed, n := 0, 0
			for i := range good {
				for range each {
					if from != nil {
						hostile.visit(from(n))
						n++
					}
				}
				// It has its session from one network, and comes back from one of ten others.
				b := r.browser(tls.VersionTLS13)
				b.visit(netip.AddrFrom4([4]byte{127, 1, byte(i), 1}))
				if _, ok := b.visit(netip.AddrFrom4([4]byte{127, 2, byte(i % 10), byte(1 + i)})); ok {
					resumed++
				}
			}
			s := r.b.Stats()
			t.Logf("%d of %d resumed; %d second chances, %d without budget", resumed, good, s.SecondChances, s.NoBudget)
			// By chance a few more or less, with a standard deviation of six. Without any fairness it is 50 to 57.
			if least := map[string]int{"one address": 78, "ten": 78, "200 networks": 62}[name]; resumed < least {
				t.Errorf("%d of %d resumed", resumed, good)
			}
		})
	}
}
