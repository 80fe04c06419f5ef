package bench

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"homing/bench/tlscore"
)

// shared is what all loops of a run know and none changes.
type shared struct {
	plan    *Plan
	base    time.Time // of all times that are durations
	targets []netip.AddrPort
	names   []string // at least one
	groups  []group
}

// group is a GroupPlan, made ready.
type group struct {
	*GroupPlan
	index    int
	options  tlscore.Options // but for what hangs on the client
	requests [][2][]byte     // by name: one that others follow on the same conn, and the last
}

// newGroups makes the plan's groups ready.
func (s *shared) newGroups(roots *x509.CertPool) {
	for i := range s.plan.Groups {
		g := group{GroupPlan: &s.plan.Groups[i], index: i}
		g.options = tlscore.Options{
			MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
			Roots: roots, Tickets: g.Kind == Ticket || g.Kind == Full12, RecordBytes: g.Shape.RecordBytes,
		}
		if g.Kind.modern() {
			g.options.MinVersion, g.options.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
		}
		if g.Shape.Browser {
			g.options.Shape = tlscore.Chrome()
		}
		if s.plan.Verify == VerifyOff {
			g.options.Verify = tlscore.VerifyNothing
		}
		for _, name := range s.names {
			g.requests = append(g.requests, [2][]byte{g.request(name, false), g.request(name, true)})
		}
		s.groups = append(s.groups, g)
	}
}

// request is an HTTP/1.1 request. The last one on a conn asks the server to close, so that it is the server's end that
// waits out TIME_WAIT, as it is behind most clients.
func (g *group) request(name string, last bool) []byte {
	path, extra := "/", ""
	if g.Response > 0 {
		path, extra = "/data", fmt.Sprintf("Range: bytes=0-%d\r\n", g.Response-1)
	}
	if last {
		extra += "Connection: close\r\n"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: homing-bench\r\n%s\r\n", path, name, extra)
}

// client is one simulated user: a session, an address, and one conn at a time.
type client struct {
	index   int // among the clients of its loop
	number  int // among all clients
	group   *group
	name    int // of shared.names
	target  int // of shared.targets
	source  netip.Addr
	session *tlscore.Session
	got     time.Duration // when the session came
	busy    bool          // a conn of it is open, or it waits for dueAgain
	queue   []visit       // conns that should have begun meanwhile
}

// visit is a conn that should begin.
type visit struct {
	at  time.Duration
	rec *recorder
}

// offer returns the session to offer now, nil for a fresh handshake. One that cannot be offered in the way of the
// client's kind is not offered at all.
func (c *client) offer(now time.Duration) *tlscore.Session {
	s := c.session
	if s == nil || !c.group.Kind.resumes() || c.group.Kind == Ticket && len(s.Ticket) == 0 {
		return nil
	}
	limit := maxLifetime
	if s.Lifetime > 0 {
		limit = min(limit, s.Lifetime)
	}
	if c.group.Lifetime > 0 {
		limit = min(limit, c.group.Lifetime)
	}
	if now-c.got >= limit {
		c.session = nil
		return nil
	}
	return s
}

// keep takes what a conn left behind. A session that was refused is of no more use; one that was accepted is, until the
// server gives another.
func (c *client) keep(now time.Duration, state *tlscore.State, s *tlscore.Session) {
	if s != nil && s != c.session {
		c.session, c.got = s, now
	} else if s == nil && !state.Resumed {
		c.session = nil
	}
}

// Addresses of clients, of 127.0.0.0/8: from 127.1.0.1 on, so that servers have 127.0.0.0/16 for themselves.
const (
	firstSource = 127<<24 | 1<<16 | 1
	numSources  = 253 << 16
)

func loopback(n int) netip.Addr {
	a := uint32(firstSource + n) // n is below numSources
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// from returns the source address of the client's next conn; the zero value leaves it to the kernel.
func (c *client) from(s Sources, rng *rand.Rand) netip.Addr {
	switch s {
	case SourceOwn:
		return c.source
	case SourceRoam:
		return loopback(rng.IntN(numSources))
	case SourceShared:
		return loopback(0)
	case SourceKernel:
	}
	return netip.Addr{}
}

// newClients makes the clients of all loops: as many of each group as its share, spread evenly over the loops.
func (s *shared) newClients() [][]*client {
	var sum float64
	for i := range s.groups {
		sum += s.groups[i].Share
	}
	loops := make([][]*client, s.plan.Loops)
	owed := make([]float64, len(s.groups)) // clients a group should have by now, above those it has
	for number := range s.plan.Clients {
		most := 0
		for i := range owed {
			if owed[i] += s.groups[i].Share / sum; owed[i] > owed[most] {
				most = i
			}
		}
		owed[most]--
		// Whole runs to one loop, not turn by turn: with two groups and two loops each would get one group.
		l := number * s.plan.Loops / s.plan.Clients
		loops[l] = append(loops[l], &client{
			index: len(loops[l]), number: number, group: &s.groups[most],
			name: number % len(s.names), target: number % len(s.targets), source: loopback(number),
		})
	}
	return loops
}

// resolve finds the addresses of the targets, the first of each name.
func (s *shared) resolve(lookup func(string) ([]netip.Addr, error)) error {
	for _, t := range s.plan.Targets {
		host, port, err := net.SplitHostPort(t)
		if err != nil {
			return fmt.Errorf("target %q: not HOST:PORT", t)
		}
		number, err := net.LookupPort("tcp", port)
		if err != nil || number == 0 {
			return fmt.Errorf("target %s: %q is no port", t, port)
		}
		ip, err := netip.ParseAddr(host)
		if err != nil {
			list, err := lookup(host)
			if err != nil || len(list) == 0 {
				return fmt.Errorf("target %s: no address is known for %q: give the address, or see to the name", t, host)
			}
			ip = list[0].Unmap()
		}
		s.targets = append(s.targets, netip.AddrPortFrom(ip, uint16(number))) // LookupPort's are 16 bits
	}
	s.names = s.plan.Names
	if len(s.names) == 0 {
		host, _, _ := net.SplitHostPort(s.plan.Targets[0]) // read above
		s.names = []string{host}
	}
	return nil
}
