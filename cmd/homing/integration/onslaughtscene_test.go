package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

// Each host of the onslaught is a network namespace. Clients have addresses of a network that is this machine's own.
const (
	onslaughtBridge  = "onslaught"
	onslaughtNetwork = "198.18.79."
	onslaughtClients = "198.19.0.0/16"
)

const onslaughtFile = `
accept_proxy: [198.18.79.99/32]
listeners:
  - {address: ADDR, default: default, routes: [{names: [attack.example], pool: bad}]}
pools:
  - {name: default, second_chance: {mode: auto}}
  - {name: bad, backends: [BAD], probe: {enabled: off}, discover_from: none}
`

const (
	// onslaughtRate is how many good conns a second come to each pair, open loop.
	onslaughtRate = 24
	// onslaughtUsers of each kind come to each pair.
	onslaughtUsers = 12
)

// onslaught is a pair of nodes under attack and one that is let alone, before the same three nginx.
type onslaught struct {
	servers  []*farm.Nginx
	cert     *farm.Certificate
	bad      *hostileBackend
	attacked *twoNodes
	control  *twoNodes
	clock    *machineClock
}

func layOnslaught(t *testing.T) *onslaught {
	t.Helper()
	needServers(t)
	ends := []string{"11", "12", "13", "14", "21", "22", "23", "66"}
	testkit.NewRooms(t, onslaughtBridge, onslaughtNetwork, ends...)
	testkit.Run(t, "ip", "route", "replace", "local", onslaughtClients, "dev", "lo")
	t.Cleanup(func() { testkit.Run(t, "ip", "route", "del", "local", onslaughtClients, "dev", "lo") })
	for _, end := range ends {
		testkit.Room(onslaughtBridge+"-"+end).IP(t, "route", "add", onslaughtClients, "via", onslaughtNetwork+"1")
	}
	cert := newECDSA(t)
	o := &onslaught{cert: cert, clock: watchMachine(t), bad: startHostileBackend(t, onslaughtNetwork+"1:0")}
	for i, end := range []string{"21", "22", "23"} {
		server, err := farm.StartNginx(t.Context(), farm.NginxConfig{
			Name: string(rune('a' + i)), Certificates: []*farm.Certificate{cert}, Room: onslaughtBridge + "-" + end,
			Addr: onslaughtNetwork + end + ":443", QuietLog: true, SessionTimeout: "1h",
		})
		testkit.Check(t, err)
		stops(t, server)
		o.servers = append(o.servers, server)
	}
	o.attacked = o.newPair(t, "11", "12")
	o.control = o.newPair(t, "13", "14")
	return o
}

// twoNodes is two nodes of a cluster, with agents that announce the servers to them.
type twoNodes struct {
	*town
	nodes []*homing
	logs  []string
	bad   string // the address of the hostile tenant's backend
	good  *regulars
}

func (o *onslaught) newPair(t *testing.T, ends ...string) *twoNodes {
	t.Helper()
	p := &twoNodes{town: newTown(t), bad: o.bad.ln.Addr().String()}
	token := filepath.Join(t.TempDir(), "token")
	word := strings.Repeat("operator", 4)
	testkit.Check(t, os.WriteFile(token, []byte(word+"\n"), 0o600))
	join := func(args ...string) []string {
		for _, end := range ends {
			args = append(args, "--cluster-join", onslaughtNetwork+end+":7946")
		}
		return append(args, "--gossip-key-file", p.gossipKey)
	}
	for _, end := range ends {
		dir, ip := t.TempDir(), onslaughtNetwork+end
		h := &homing{addr: ip + ":443", admin: ip + ":9090", token: word}
		file, log := filepath.Join(dir, "homing.yaml"), filepath.Join(dir, "log")
		testkit.Check(t, os.WriteFile(file, []byte(fill(onslaughtFile, "ADDR", h.addr, "BAD", p.bad)), 0o600))
		h.proc = testkit.Room(onslaughtBridge+"-"+end).Start(t, h.addr, "sh", join("-c", `exec "$@" 2>`+log, "sh", binary, "run",
			"--config", file, "--admin", h.admin, "--admin-token-file", token, "--loops", "1", "--table-entries", "20000",
			"--client-entries", "2000", "--cluster-bind", ip+":7946", "--node-key-file", p.nodeKey)...)
		h.awaitAdmin(t)
		t.Cleanup(func() {
			if t.Failed() {
				b, _ := os.ReadFile(log)
				t.Logf("node %s said:\n%s", end, b[max(0, len(b)-8000):])
			}
		})
		p.nodes, p.logs = append(p.nodes, h), append(p.logs, log)
	}
	for i, n := range o.servers {
		testkit.Room(onslaughtBridge+"-2"+fmt.Sprint(1+i)).Start(t, n.Addr(), binary, join("agent", "--backend", n.Addr(), "--check", "tls")...)
	}
	for _, h := range p.nodes {
		testkit.Eventually(t, "all three backends are in service", func() bool { return h.inService(t.Context(), o.servers, time.Now()) == nil })
		testkit.Eventually(t, "the ticket keys are known", func() bool { return len(h.heldKeys(t)) == len(o.servers) })
	}
	p.good = o.newRegulars(t, p.nodes)
	return p
}

// inService says what is wrong with the genuine backends, which have been up since that time at least.
func (h *homing) inService(ctx context.Context, servers []*farm.Nginx, since time.Time) error {
	var out api.Backends
	if err := h.ask(ctx, "/v1/backends", &out); err != nil {
		return err
	}
	out.Backends = slices.DeleteFunc(out.Backends, func(b api.Backend) bool { return b.Pool != "default" })
	for _, b := range out.Backends {
		genuine := slices.ContainsFunc(servers, func(n *farm.Nginx) bool { return n.Addr() == b.Address })
		if !genuine || b.Health != "up" || b.Weight != 1 || b.State != "in service" || b.HealthSince.After(since) {
			return fmt.Errorf("a backend is not as it should be: %+v", b)
		}
	}
	if len(out.Backends) != len(servers) {
		return fmt.Errorf("%d backends in the pool", len(out.Backends))
	}
	return nil
}

// known is what a node knows of the genuine pool.
type known struct {
	keys     string // length and homes of each ticket key
	doubtful int
	sessions float64
}

func (h *homing) known(t *testing.T) known {
	t.Helper()
	var k known
	var keys []string
	for _, key := range h.heldKeys(t) {
		homes := make([]string, len(key.Backends))
		for i, b := range key.Backends {
			homes[i] = b.Address
		}
		slices.Sort(homes)
		keys = append(keys, fmt.Sprint(key.Pool, " ", key.Length, " ", homes))
		if key.Doubtful {
			k.doubtful++
		}
	}
	slices.Sort(keys)
	k.keys = strings.Join(keys, "; ")
	k.sessions = h.metrics(t)[`homing_table_pool_entries{pool="default",table="sessions"}`]
	return k
}

// lines counts what the nodes have said.
func (p *twoNodes) lines(t *testing.T) (n int) {
	t.Helper()
	for _, log := range p.logs {
		b, err := os.ReadFile(log)
		testkit.Check(t, err)
		n += strings.Count(string(b), "\n")
	}
	return n
}

// clientAt is an address of onslaughtClients: the third byte and the fourth.
func clientAt(third, fourth int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(198, 19, byte(third), byte(fourth))}
}

// goodAt is an address of a good client, in a network without attackers.
func goodAt() *net.TCPAddr { return clientAt(200+rand.IntN(50), 1+rand.IntN(254)) }

// regulars are good clients of all kinds, who come to either node from another address each time.
type regulars struct {
	nodes []*homing
	kinds []chan user
	slow  []user // each a process

	mu  sync.Mutex
	now timedTally
}

func (o *onslaught) newRegulars(t *testing.T, nodes []*homing) *regulars {
	t.Helper()
	r := &regulars{nodes: nodes}
	at := func(version uint16) tlsclient.Config {
		cfg := clientConfig(o.cert, version)
		cfg.Source = goodAt
		return cfg
	}
	for _, one := range []func() user{
		func() user { return tlsclient.NewID(at(tls.VersionTLS12)) },
		func() user { return newGoClient(at(tls.VersionTLS12)) },
		func() user { return newGoClient(at(tls.VersionTLS13)) },
	} {
		free := make(chan user, onslaughtUsers)
		for i, u := range users(t, nodes[0].addr, onslaughtUsers, one) {
			free <- u
			if _, err := u.Get(t.Context(), nodes[i%2].addr); err != nil {
				t.Fatal(err)
			}
		}
		r.kinds = append(r.kinds, free)
	}
	for _, flags := range [][]string{{"-tls1_2", "-no_ticket"}, {"-tls1_2"}, {"-tls1_3"}} {
		maker := newOpenSSL(t, o.cert, flags...)
		r.slow = append(r.slow, users(t, nodes[0].addr, 1, func() user {
			u := maker().(*openssl)
			u.source = goodAt
			return u
		})...)
	}
	return r
}

// run lets them come until ctx is done.
func (r *regulars) run(ctx context.Context) {
	var all sync.WaitGroup
	for i, u := range r.slow {
		all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				r.visit(u, n)
				sleep(ctx, 3*time.Second)
			}
		})
	}
	pace := time.NewTicker(time.Second / onslaughtRate)
	defer pace.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		<-pace.C
		free := r.kinds[n%len(r.kinds)]
		u := <-free
		all.Go(func() {
			r.visit(u, rand.IntN(2))
			free <- u
		})
	}
	all.Wait()
}

func (r *regulars) visit(u user, n int) {
	begun := time.Now()
	res, err := u.Get(context.Background(), r.nodes[n%len(r.nodes)].addr)
	took := time.Since(begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.times = append(r.now.times, took)
	if err == nil {
		r.now.add(res)
	} else if r.now.failed++; r.now.first == nil {
		r.now.first = err
	}
}

// take is what they have seen since the last time.
func (r *regulars) take() *timedTally {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.now
	r.now = timedTally{}
	return &was
}

// sleep waits, at most until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// gossipKeyOf is what the hostile agent has, too.
func gossipKeyOf(t *testing.T, p *twoNodes) []byte {
	t.Helper()
	keys, _, err := cluster.LoadKeys(p.gossipKey)
	testkit.Check(t, err)
	return keys[0]
}
