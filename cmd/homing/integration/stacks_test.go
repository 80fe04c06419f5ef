package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// asker is a user whose offer can be made to a server directly, while the user keeps its session.
type asker interface {
	user
	directly(ctx context.Context, addr string) (tlsclient.Result, error)
}

type goAsker struct{ *goClient }

func (a goAsker) directly(ctx context.Context, addr string) (tlsclient.Result, error) {
	return a.Copy().Get(ctx, addr)
}

type idAsker struct{ *tlsclient.Client }

func (a idAsker) directly(ctx context.Context, addr string) (tlsclient.Result, error) {
	return a.Copy().Get(ctx, addr)
}

// holder is an asker and the server that issued its session: the one that accepts it.
type holder struct {
	asker
	issuer int // -1: not known yet
}

// ask makes the holder's offer to its issuer directly, and reports whether it is accepted, and how
// long the handshake took. An issuer that is not known
// is found by asking all.
func (h *holder) ask(t *testing.T, servers []string) (took time.Duration, accepted bool) {
	t.Helper()
	for i, addr := range servers {
		if h.issuer >= 0 && h.issuer != i {
			continue
		}
		r, err := h.directly(t.Context(), addr)
		if err != nil {
			t.Fatalf("server %d asked directly: %v", i, err)
		}
		if r.Resumed {
			h.issuer = i
			return r.Handshake, true
		}
	}
	h.issuer = -1
	return 0, false
}

// comparison is what became of the same offers directly at their issuer and through homing.
type comparison struct {
	tally
	direct int         // accepted by the issuer when asked directly
	lost   int         // of them, refused through homing
	at     map[int]int // offers accepted through homing, by issuer

	// How long accepted offers took, from connect to the end of the handshake.
	tookDirectly, tookThrough []time.Duration
}

func (c *comparison) String() string {
	return fmt.Sprintf("%d offers: issuer asked directly accepts %d, through homing %d; %d lost; by issuer %v; median handshake %v, through homing %v",
		c.offered, c.direct, c.accepted, c.lost, c.at, middle(c.tookDirectly), middle(c.tookThrough))
}

// middle is the median.
func middle(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(list))[len(list)/2].Round(10 * time.Microsecond)
}

// join adds what became of more offers.
func (c *comparison) join(more *comparison) {
	c.conns += more.conns
	c.offered += more.offered
	c.accepted += more.accepted
	c.direct += more.direct
	c.lost += more.lost
	for i, n := range more.at {
		c.at[i] += n
	}
	c.tookDirectly = append(c.tookDirectly, more.tookDirectly...)
	c.tookThrough = append(c.tookThrough, more.tookThrough...)
}

// compare lets the holders reconnect n times, each time first directly to the issuer and then through homing with the
// same session, from another address each.
func compare(t *testing.T, addr string, servers []string, list []*holder, n int) *comparison {
	t.Helper()
	c := &comparison{at: map[int]int{}}
	for range n {
		h := list[rand.IntN(len(list))]
		took, direct := h.ask(t, servers)
		r, err := h.Get(t.Context(), addr)
		if err != nil {
			t.Fatalf("through homing: %v", err)
		}
		c.add(r)
		if direct {
			c.direct++
			c.tookDirectly = append(c.tookDirectly, took)
			if !r.Resumed {
				c.lost++
			}
		}
		if r.Resumed {
			c.at[h.issuer]++
			c.tookThrough = append(c.tookThrough, r.Handshake)
		} else {
			h.issuer = -1
		}
	}
	return c
}

// resumption is a way to resume.
type resumption struct {
	name  string
	offer string // as homing's metrics call it
	make  func(*farm.Certificate) asker
}

func resumptions() []resumption {
	return []resumption{
		{"ID", "id", func(c *farm.Certificate) asker {
			return idAsker{tlsclient.NewID(clientConfig(c, tls.VersionTLS12))}
		}},
		{"ticket", "ticket", func(c *farm.Certificate) asker {
			return goAsker{newGoClient(clientConfig(c, tls.VersionTLS12))}
		}},
		{"TLS13", "psk", func(c *farm.Certificate) asker {
			return goAsker{newGoClient(clientConfig(c, tls.VersionTLS13))}
		}},
	}
}

// startServers starts three servers of a stack that share nothing.
func startServers(t *testing.T, stack stack, cert *farm.Certificate) []string {
	t.Helper()
	servers, err := farm.StartAll(backends, func(i int) (*farm.Server, error) {
		return stack.startServer(t.Context(), string(rune('a'+i)), cert)
	})
	testkit.Check(t, err)
	var list []string
	for _, s := range servers {
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("%s said:\n%s", s.Name(), s.Output())
			}
		})
		list = append(list, s.Addr())
	}
	return list
}

// awaitKeys waits until homing knows the names of the given number of ticket keys.
func (h *homing) awaitKeys(t *testing.T, want int) {
	t.Helper()
	if !testkit.Wait(testkit.Patience, func() bool { return h.ticketKeys(t) >= want }) {
		t.Fatalf("%d ticket keys are known, want %d", h.ticketKeys(t), want)
	}
}

// ticketKeys is how many ticket keys have a home.
func (h *homing) ticketKeys(t *testing.T) int {
	t.Helper()
	n := 0.0
	for name, value := range h.metrics(t) {
		if strings.HasPrefix(name, "homing_ticket_keys{") {
			n += value
		}
	}
	return int(n)
}

// resumes says whether servers of the stack accept their own sessions of that kind, with Debian's defaults.
func resumes(stack stack, kind resumption) bool {
	// lighttpd turns the cache of OpenSSL off, and issues IDs from NSS that it does not know again.
	return kind.offer != "id" || stack != lighttpdOpenSSL && stack != lighttpdNSS
}

// teaching is how many offers may be lost to find out whose the ticket keys are. TLS <= 1.2 shows what is issued, and the
// probe gets tickets of its own. Else a ticket key is known by what a backend accepts under it: at worst all others
// refuse first.
func teaching(stack stack, kind resumption, probe string) int {
	switch {
	case kind.offer != "psk" || probe == "on":
		return 0
	case stack == javaStack:
		// Its keys are named by four bytes, behind which random ones come: each offer is taken to any backend, until two
		// under one key have met their issuer. 12 are lost on average, and hardly ever so many.
		return 40
	default:
		return perKey * backends
	}
}

// Each stack resumes what it issued, another instance of it does not, and neither fails.
func TestIntegrationStacksResumeTheirOwnSessionsOnly(t *testing.T) {
	cert := newECDSA(t)
	for stack := range numStacks {
		t.Run(stack.String(), func(t *testing.T) {
			servers := startServers(t, stack, cert)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				c := newGoClient(clientConfig(cert, version))
				for i, want := range []struct {
					server  int
					resumed bool
				}{{0, false}, {0, true}, {0, true}, {1, false}, {1, true}} {
					r, err := c.Get(t.Context(), servers[want.server])
					testkit.Check(t, err)
					if r.Resumed != want.resumed || r.Version != version {
						t.Errorf("%s, conn %d: %+v", tls.VersionName(version), i, r)
					}
					if name := string(rune('a' + want.server)); stack != gnutlsStack && r.Backend != name {
						t.Errorf("%s calls itself %q", name, r.Backend)
					}
				}
				t.Logf("%s: ticket of %d bytes", tls.VersionName(version), len(c.Ticket()))
			}
			c := tlsclient.NewID(clientConfig(cert, tls.VersionTLS12))
			knows := resumes(stack, resumptions()[0])
			for i := range 3 {
				r, err := c.Get(t.Context(), servers[0])
				if err != nil || r.Resumed != (knows && i > 0) {
					t.Errorf("ID, conn %d: %+v, %v", i, r, err)
				}
			}
		})
	}
}

// Three servers of each stack that share nothing. Each offer is first made to its issuer directly: what the issuer
// accepts then, it must accept through homing, but for the offers that teach.
func TestIntegrationStacks(t *testing.T) {
	const people, offers = 9, 64
	cert := newECDSA(t)
	for stack := range numStacks {
		t.Run(stack.String(), func(t *testing.T) {
			servers := startServers(t, stack, cert)
			for _, kind := range resumptions() {
				for _, probe := range []string{"off", "on"} {
					t.Run(kind.name+"/probe="+probe, func(t *testing.T) {
						h := startHoming(t, servers, "--probe", probe)
						if probe == "on" {
							h.awaitKeys(t, len(servers))
						}
						var list []*holder
						for range people {
							u := &holder{kind.make(cert), -1}
							if _, err := u.Get(t.Context(), h.addr); err != nil {
								t.Fatal(err)
							}
							list = append(list, u)
						}
						c := compare(t, h.addr, servers, list, offers)
						t.Logf("%s, %s, probe %s: %v", stack, kind.name, probe, c)
						if most := teaching(stack, kind, probe); c.lost > most {
							t.Errorf("%d offers that the issuer accepts were refused through homing, want at most %d", c.lost, most)
						}
						switch {
						case !resumes(stack, kind):
							if c.direct > 0 {
								t.Errorf("the issuers accepted %d offers of a kind that they do not know", c.direct)
							}
						case c.offered != offers || c.direct != offers:
							t.Errorf("of %d conns %d made an offer, of which the issuers accept %d directly, want all", offers, c.offered, c.direct)
						default:
							h.agrees(t, kind.offer, &c.tally)
						}
					})
				}
			}
		})
	}
}
