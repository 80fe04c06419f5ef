package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// namelessFarm is three backends whose TLS 1.3 tickets tell nothing of who issued them.
type namelessFarm struct {
	name  string
	start func(t *testing.T, cert *farm.Certificate) []string
	kind  resumption // how it resumes in TLS 1.2
}

func namelessFarms() []namelessFarm {
	kinds := resumptions()
	return []namelessFarm{
		{"Go", func(t *testing.T, cert *farm.Certificate) []string { return serversOf(startGo(t, cert)) }, kinds[1]},
		// Its TLS 1.3 tickets are keys of its session cache.
		{"nginx without tickets", func(t *testing.T, cert *farm.Certificate) []string {
			servers, err := farm.StartThree(t.Context(), farm.NginxConfig{NoTickets: true, Certificates: []*farm.Certificate{cert}})
			testkit.Check(t, err)
			t.Cleanup(func() {
				if err := farm.StopAll(servers); err != nil {
					t.Error(err)
				}
			})
			return addrs(servers)
		}, kinds[0]},
	}
}

// goServer is a server of crypto/tls, whose tickets do not name their key.
type goServer struct {
	addr   string
	hellos atomic.Int64
}

func startGoServer(t *testing.T, name string, cert *farm.Certificate) *goServer {
	t.Helper()
	s := &goServer{}
	config := &tls.Config{Certificates: []tls.Certificate{testkit.Pair(t, cert)}}
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.hellos.Add(1)
		return nil, nil // which says: the config that asked
	}
	s.addr = testkit.ServeTLS(t, config, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n"+name+"\n") // the client sees what is missing
		}
	})
	return s
}

// startGo starts three servers of crypto/tls.
func startGo(t *testing.T, cert *farm.Certificate) []*goServer {
	t.Helper()
	var list []*goServer
	for _, name := range []string{"a", "b", "c"} {
		list = append(list, startGoServer(t, name, cert))
	}
	return list
}

func serversOf(list []*goServer) []string {
	var addrs []string
	for _, s := range list {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// crypto/tls has no names for its ticket keys: neither two tickets of one server nor of two begin alike.
func TestIntegrationGoServer(t *testing.T) {
	cert := newECDSA(t)
	a, b := startGoServer(t, "a", cert), startGoServer(t, "b", cert)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := newGoClient(clientConfig(cert, version))
		var tickets []string
		for i, conn := range []struct {
			server  *goServer
			name    string
			resumed bool
		}{{a, "a", false}, {a, "a", true}, {b, "b", false}, {b, "b", true}} {
			r, err := c.Get(t.Context(), conn.server.addr)
			if err != nil || r.Resumed != conn.resumed || r.Backend != conn.name || r.Version != version {
				t.Errorf("%s, conn %d: %+v, %v", tls.VersionName(version), i, r, err)
			}
			tickets = append(tickets, string(c.Ticket()[:4]))
		}
		slices.Sort(tickets)
		if len(slices.Compact(tickets)) < 4 {
			t.Errorf("%s: tickets that begin alike: %x", tls.VersionName(version), tickets)
		}
	}
	if a.hellos.Load() != 4 || b.hellos.Load() != 4 {
		t.Errorf("%d and %d hellos were counted, want 4 each", a.hellos.Load(), b.hellos.Load())
	}
}

func newECDSA(t *testing.T) *farm.Certificate {
	t.Helper()
	needServers(t)
	cert, err := farm.NewECDSA()
	testkit.Check(t, err)
	return cert
}

// stayer makes clients of TLS 1.3 that keep their address, each its own.
func stayer(cert *farm.Certificate) func() user {
	n := 1 << 17
	return func() user {
		n++
		return stayingAt(cert, tlsclient.Loopback(n))
	}
}

func stayingAt(cert *farm.Certificate, addr *net.TCPAddr) *goClient {
	cfg := clientConfig(cert, tls.VersionTLS13)
	cfg.Source = func() *net.TCPAddr { return addr }
	return newGoClient(cfg)
}

// Backends without names of ticket keys. TLS 1.2 shows what it issues, so nothing is lost. In TLS 1.3 a client that keeps
// its address is found by it; one that changes it is at chance, unless there is a second chance.
func TestIntegrationNameless(t *testing.T) {
	const offers = 200
	cert := newECDSA(t)
	for _, f := range namelessFarms() {
		for _, probe := range []string{"off", "on"} {
			t.Run(f.name+"/probe="+probe, func(t *testing.T) {
				servers := f.start(t, cert)
				h := startHoming(t, servers, "--probe", probe)
				c := reconnect(t, h.addr, users(t, h.addr, 12, func() user { return f.kind.make(cert) }), offers)
				t.Logf("TLS 1.2 %s, changing addresses: %v", f.kind.name, &c)
				if c.offered != offers || c.refused() > 0 {
					t.Errorf("TLS 1.2: %v", &c)
				}

				before := h.metrics(t)
				c = reconnect(t, h.addr, users(t, h.addr, 12, stayer(cert)), offers)
				byClient := h.since(t, before, `homing_routes_total{source="client"}`)
				t.Logf("TLS 1.3, addresses kept: %v; %v routed by client", &c, byClient)
				if c.offered != offers || c.refused() > 0 || byClient != offers {
					t.Errorf("TLS 1.3 of clients that keep their address: %v; %v routed by client", &c, byClient)
				}

				c = reconnect(t, h.addr, users(t, h.addr, 12, goUser(cert, tls.VersionTLS13)), offers/2)
				t.Logf("TLS 1.3, changing addresses, no second chance: %v", &c)
				if n := h.ticketKeys(t); n > 0 {
					t.Errorf("%d ticket keys are believed known", n)
				}
			})
		}
	}
}

// since is by how much a counter has grown.
func (h *homing) since(t *testing.T, before map[string]float64, name string) float64 {
	t.Helper()
	after, ok := h.metrics(t)[name]
	if !ok {
		t.Errorf("no metric %s", name)
	}
	return after - before[name]
}

// secondChances are the flags that let every refused guess be repaired, whatever it costs, and however long a backend
// takes for its answer.
func secondChances() []string {
	return []string{"--probe", "off", "--second-chance", "auto", "--second-chance-tries", "2", "--second-chance-budget", "2", "--hold-timeout", "1m"}
}

// Clients that change their address, before backends without names of ticket keys: with second chances as many as there
// are other backends nothing is lost, at no more extra handshakes than that. So many tickets without a name leave nothing
// behind in the directory of ticket keys.
func TestIntegrationNamelessSecondChance(t *testing.T) {
	const tries = backends - 1
	cert := newECDSA(t)
	t.Run("nginx without tickets", func(t *testing.T) {
		const offers = 300
		h := startHoming(t, namelessFarms()[1].start(t, cert), secondChances()...)
		c := reconnect(t, h.addr, users(t, h.addr, 12, goUser(cert, tls.VersionTLS13)), offers)
		extra := h.metrics(t)["homing_second_chances_total"]
		t.Logf("%v; %v extra handshakes, %.2f per resumption", &c, extra, extra/offers)
		if c.offered != offers || c.refused() > 0 || extra > tries*offers || h.ticketKeys(t) > 0 {
			t.Errorf("%v; %v extra handshakes, %d ticket keys", &c, extra, h.ticketKeys(t))
		}
	})
	t.Run("Go", func(t *testing.T) {
		const offers = 10_000
		servers := startGo(t, cert)
		h := startHoming(t, serversOf(servers), secondChances()...)
		c := inTurns(t, h.addr, users(t, h.addr, 40, goUser(cert, tls.VersionTLS13)), offers)
		// The clients made one conn each before their first offer.
		extra := -c.conns - 40
		for _, s := range servers {
			extra += int(s.hellos.Load())
		}
		m := h.metrics(t)
		t.Logf("%v; %d extra handshakes, %.2f per resumption", c, extra, float64(extra)/offers)
		if c.offered != offers || c.refused() > 0 || extra > tries*offers {
			t.Errorf("%v; %d extra handshakes; lost: %v", c, extra, h.lost(t))
		}
		if counted := m["homing_second_chances_total"]; int(counted) != extra {
			t.Errorf("homing counted %v second chances, the backends %d", counted, extra)
		}
		if n := h.ticketKeys(t); n > 0 {
			t.Errorf("%d ticket keys are believed known after %d tickets without a name", n, offers)
		}
		t.Logf("tables: sessions %v, clients %v, refusals %v, hints %v", m[`homing_table_entries{table="sessions"}`],
			m[`homing_table_entries{table="clients"}`], m[`homing_table_entries{table="refusals"}`], m[`homing_table_entries{table="hints"}`])
	})
}

// inTurns lets the users reconnect n times in all, four of them at any time.
func inTurns(t *testing.T, addr string, list []user, n int) *tally {
	t.Helper()
	const streams = 4
	tallies, errs := make([]tally, streams), make([]error, streams)
	var wg sync.WaitGroup
	for s := range streams {
		wg.Go(func() {
			mine := list[s*len(list)/streams : (s+1)*len(list)/streams] // a client is one user
			for i := range n / streams {
				var r tlsclient.Result
				if r, errs[s] = mine[i%len(mine)].Get(context.WithoutCancel(t.Context()), addr); errs[s] != nil {
					return
				}
				tallies[s].add(r)
			}
		})
	}
	wg.Wait()
	sum := &tally{met: map[string]int{}}
	for s := range streams {
		if errs[s] != nil {
			t.Fatal(errs[s])
		}
		sum.conns += tallies[s].conns
		sum.offered += tallies[s].offered
		sum.accepted += tallies[s].accepted
		for name, met := range tallies[s].met {
			sum.met[name] += met
		}
	}
	return sum
}

// 100 clients behind one address look like one to homing, when their backends' tickets have no names. That must not send
// them all to one backend: neither their fresh conns, nor, by and by, all others, although each refused guess leaves one
// more client with a session of who refused it.
func TestIntegrationOneAddress(t *testing.T) {
	const people, conns = 100, 3000
	cert := newECDSA(t)
	for _, chances := range []string{"off", "auto"} {
		for _, fresh := range []float64{0, 0.1} { // share of conns for which a client has no session
			t.Run(fmt.Sprintf("chances=%s/fresh=%v", chances, fresh), func(t *testing.T) {
				h := startHoming(t, serversOf(startGo(t, cert)), append(secondChances(), "--second-chance", chances)...)
				from := tlsclient.Loopback(1 << 17)
				first, later, met := map[string]int{}, map[string]int{}, map[string]int{}
				var c tally
				list := make([]*goClient, people)
				for i := range list {
					list[i] = stayingAt(cert, from)
				}
				for i := range people + conns {
					u := list[i%people]
					if i >= people {
						u = list[rand.IntN(people)]
						if rand.Float64() < fresh {
							u.Forget()
						}
					}
					r, err := u.Get(t.Context(), h.addr)
					testkit.Check(t, err)
					c.add(r)
					met[r.Backend]++
					if r.Offered {
						later[r.Backend]++
					} else {
						first[r.Backend]++
					}
				}
				t.Logf("%v; fresh %v, with an offer %v", &c, first, later)
				fair(t, "fresh conns", first)
				fair(t, "all conns", met)
			})
		}
	}
}

// A few clients behind one address. One or two all end at one backend, and lose next to nothing on the way; with more
// than that the home strikes out, and they are at chance.
func TestIntegrationFewAtOneAddress(t *testing.T) {
	const conns = 120
	cert := newECDSA(t)
	for _, tt := range [][2]int{{1, conns}, {2, conns - 6}, {3, conns / 5}, {6, conns / 5}} {
		people, least := tt[0], tt[1]
		t.Run(fmt.Sprint(people), func(t *testing.T) {
			h := startHoming(t, serversOf(startGo(t, cert)))
			from := tlsclient.Loopback(1 << 17)
			c := reconnect(t, h.addr, users(t, h.addr, people, func() user { return stayingAt(cert, from) }), conns)
			t.Logf("%v", &c)
			if c.accepted < least {
				t.Errorf("%d accepted, want %d", c.accepted, least)
			}
		})
	}
}

// fair fails the test when a backend got more than one and a half times its share.
func fair(t *testing.T, what string, met map[string]int) {
	t.Helper()
	sum := 0
	for _, n := range met {
		sum += n
	}
	for name, n := range met {
		if share := float64(n) * backends / float64(sum); share > 1.5 {
			t.Errorf("backend %s got %d of %d %s, %.2f times its share", name, n, sum, what, share)
		}
	}
}
