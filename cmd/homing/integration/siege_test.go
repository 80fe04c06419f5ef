package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

// Each host of the siege is a network namespace: one node, three nginx with their agents, and a fourth that was broken into.
const (
	siegeBridge  = "siege"
	siegeNetwork = "198.18.78."
	siegeNode    = siegeNetwork + "11"
	siegeVillain = siegeNetwork + "66"
)

// siege is a node under attack, and who is with it.
type siege struct {
	*town
	t       *testing.T
	admin   *http.Client
	socket  string
	log     string
	villain *villain
	servers []*farm.Nginx
	agents  []*farm.Process
	spoken  uint32 // the last incarnation that the villain gave anybody
	cert    *farm.Certificate
}

func laySiege(t *testing.T) *siege {
	t.Helper()
	needServers(t)
	testkit.NewRooms(t, siegeBridge, siegeNetwork, "11", "21", "22", "23", "66")
	cert := newECDSA(t)
	dir := t.TempDir()
	s := &siege{town: newTown(t), t: t, cert: cert, socket: filepath.Join(dir, "admin.sock"), log: filepath.Join(dir, "log")}
	testkit.Room("siege-11").Start(t, siegeNode+":443", "sh", "-c", `exec "$@" 2>`+s.log, "sh",
		binary, "run", "--listen", siegeNode+":443", "--admin", "unix:"+s.socket, "--loops", "1", "--table-entries", "20000",
		"--cluster-bind", siegeNode+":7946", "--gossip-key-file", s.gossipKey, "--node-key-file", s.nodeKey, "--check-interval", "500ms")
	s.admin = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}}}
	for i, end := range []string{"21", "22", "23"} {
		server, err := farm.StartNginx(t.Context(), farm.NginxConfig{
			Name: string(rune('a' + i)), Certificates: []*farm.Certificate{cert}, Room: "siege-" + end, Addr: siegeNetwork + end + ":443",
		})
		testkit.Check(t, err)
		stops(t, server)
		s.servers = append(s.servers, server)
		s.agents = append(s.agents, s.startAgent(i))
	}
	keys, _, err := cluster.LoadKeys(s.gossipKey)
	testkit.Check(t, err)
	s.villain = newVillain(t, "siege-66", keys[0], siegeNode+":7946")
	testkit.Eventually(t, "the pool has all three", func() bool { up, all := s.pool(); return up == 3 && all == 3 })
	return s
}

// startAgent starts the agent beside a server, in its namespace.
func (s *siege) startAgent(i int) *farm.Process {
	s.t.Helper()
	addr := s.servers[i].Addr()
	return testkit.Room("siege-2"+fmt.Sprint(1+i)).Start(s.t, addr, binary, "agent", "--backend", addr, "--check", "tls",
		"--cluster-join", siegeNode+":7946", "--gossip-key-file", s.gossipKey)
}

// ask asks the node's operators' API.
func (s *siege) ask(path string, out any) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), testkit.Patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	answer, err := s.admin.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, answer.Body)
	} else {
		err = json.NewDecoder(answer.Body).Decode(out)
	}
	return err
}

// pool counts the backends: those that are up and in service, with a weight of 1, and all.
func (s *siege) pool() (up, all int) {
	var out api.Backends
	if err := s.ask("/v1/backends", &out); err != nil {
		s.t.Errorf("backends: %v", err)
		return 0, 0
	}
	for _, b := range out.Backends {
		genuine := slices.ContainsFunc(s.servers, func(n *farm.Nginx) bool { return n.Addr() == b.Address })
		if genuine && b.Health == "up" && b.Weight == 1 && b.State == "in service" {
			up++
		}
	}
	return up, len(out.Backends)
}

func (s *siege) lines() int {
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Error(err)
	}
	return strings.Count(string(b), "\n")
}

// members is the agents as the node knows them: the villain knows them as well.
func (s *siege) members() (agents []api.Member) {
	s.t.Helper()
	var view api.Cluster
	if err := s.ask("/v1/cluster", &view); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range view.Members {
		if m.Role == "agent" && m.State == "serving" {
			agents = append(agents, m)
		}
	}
	return agents
}

// seen is what was measured during one attack.
type seen struct {
	good, failed int
	why          error         // the last that failed
	slowest      time.Duration // answer to an operator, by the machine's clock
	health       time.Duration // the slowest answer of /healthz, likewise
	fewest, most int           // backends: genuine ones in service, and all
	lines        int
}

func (s seen) String() string {
	return fmt.Sprintf("%d of %d conns good; operators answered within %d ms, /healthz within %d ms; %d genuine backends at least, %d in all at most; %d lines",
		s.good, s.good+s.failed, s.slowest.Milliseconds(), s.health.Milliseconds(), s.fewest, s.most, s.lines)
}

// under measures while an attack goes on, and for a moment after it.
func (s *siege) under(attack func()) (now seen) {
	before, clock := s.lines(), watchMachine(s.t)
	var asked, health []stretch
	ctx, cancel := context.WithCancel(s.t.Context())
	var beside sync.WaitGroup
	now.fewest = len(s.servers)
	beside.Go(func() {
		config := clientConfig(s.cert, tls.VersionTLS13)
		config.Source = func() *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(siegeNetwork + "1")} }
		for n := 0; ctx.Err() == nil; n++ {
			limit, stop := context.WithTimeout(s.t.Context(), testkit.Patience)
			if _, err := newGoClient(config).Get(limit, siegeNode+":443"); err != nil {
				now.failed++
				now.why = err
			} else {
				now.good++
			}
			stop()
			time.Sleep(20 * time.Millisecond)
		}
	})
	beside.Go(func() {
		for ctx.Err() == nil {
			begun := time.Now()
			if err := s.ask("/v1/status", nil); err != nil {
				s.t.Errorf("status: %v", err)
			}
			answered := time.Now()
			if err := s.ask("/healthz", nil); err != nil {
				s.t.Errorf("healthz: %v", err)
			}
			asked, health = append(asked, stretch{begun, answered}), append(health, stretch{answered, time.Now()})
			up, all := s.pool()
			now.fewest, now.most = min(now.fewest, up), max(now.most, all)
			time.Sleep(50 * time.Millisecond)
		}
	})
	attack()
	time.Sleep(time.Second)
	cancel()
	beside.Wait()
	now.lines = s.lines() - before
	now.slowest, now.health = clock.longest(asked), clock.longest(health)
	return now
}

// attacks is what the villain does, each for about two seconds.
func (s *siege) attacks() []struct {
	name string
	do   func()
} {
	agents := s.members()
	own := netip.MustParseAddrPort(siegeVillain + ":7946")
	forge := func(change func(*cluster.Meta)) func() {
		return func() {
			for range 20 {
				s.spoken += 1000 // above what refutations have come to
				s.villain.push(forged(agents, s.spoken, change))
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	return []struct {
		name string
		do   func()
	}{
		{"forged: they drain", forge(func(m *cluster.Meta) { m.State = cluster.StateDraining })},
		{"forged: they leave", forge(func(m *cluster.Meta) { m.State = cluster.StateLeaving })},
		{"forged: they weigh 1000", forge(func(m *cluster.Meta) { m.Announced.Weight = 1000 })},
		{"forged: they are dead", func() {
			for range 20 {
				s.spoken += 1000
				s.villain.packets(goodbyes(agents, s.spoken)...)
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{"others speak for them", func() {
			for round := range uint32(20) {
				s.villain.push(speakers(agents, own, 1+round))
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{"garbage commands", func() {
			s.villain.packets(garbage(20_000)...)
		}},
		{"silence at replication and at operators'", func() {
			for range 80 {
				if conn, err := s.villain.dial("tcp", siegeNode+":7947"); err == nil {
					s.t.Cleanup(func() { conn.Close() })
				}
				if conn, err := net.Dial("unix", s.socket); err == nil {
					s.t.Cleanup(func() { conn.Close() })
				}
			}
			time.Sleep(2 * time.Second)
		}},
		{"5,000 fakes, again and again", func() {
			for range 5 {
				s.villain.push(fakes(5000))
			}
		}},
	}
}

// TestIntegrationHostileAgent: whoever has the gossip key, on a host of its own, takes nothing from others: good clients
// are all served, the pool stays what it is, operators are answered, and the log stays short.
func TestIntegrationHostileAgent(t *testing.T) {
	s := laySiege(t)
	for _, attack := range s.attacks() {
		now := s.under(attack.do)
		t.Logf("%-40s %v", attack.name+":", now)
		if now.failed > 0 || now.good == 0 {
			t.Errorf("%s: %d of %d conns failed, the last: %v", attack.name, now.failed, now.good+now.failed, now.why)
		}
		if now.slowest > time.Second || now.health > time.Second {
			t.Errorf("%s: operators waited %s, health %s", attack.name, now.slowest, now.health)
		}
		if now.fewest != len(s.servers) || now.most != len(s.servers) {
			t.Errorf("%s: %d genuine backends in service, %d in all", attack.name, now.fewest, now.most)
		}
		if now.lines > 12 {
			t.Errorf("%s: %d lines in the log", attack.name, now.lines)
		}
	}
	// Its own real agent, which claims what is not its own.
	for _, flags := range [][]string{
		{"--backend", s.servers[0].Addr(), "--cluster-bind", siegeVillain + ":0"},
		{"--backend", s.servers[0].Addr(), "--cluster-bind", siegeVillain + ":7946", "--cluster-advertise", siegeNetwork + "21:7946"},
	} {
		var liar *farm.Process
		now := s.under(func() {
			liar = testkit.Room("siege-66").Start(t, s.servers[0].Addr(), binary, append([]string{
				"agent", "--weight", "1000", "--cluster-join", siegeNode + ":7946", "--gossip-key-file", s.gossipKey,
			}, flags...)...)
			time.Sleep(2 * time.Second)
			if err := liar.Signal(syscall.SIGUSR1); err != nil { // drain
				t.Error(err)
			}
			time.Sleep(time.Second)
			liar.Stop() // withdraw
		})
		t.Logf("%v: %v", flags, now)
		if now.failed > 0 || now.fewest != len(s.servers) || now.most != len(s.servers) {
			t.Errorf("an agent with %v: %v", flags, now)
		}
	}
	// And a genuine one that leaves and comes back is followed, after and amid all that.
	attacks := s.attacks()
	done := make(chan struct{})
	go func() {
		defer close(done)
		attacks[len(attacks)-1].do()
	}()
	testkit.Check(t, s.agents[1].Signal(syscall.SIGTERM))
	took := testkit.Eventually(t, "it is withdrawn", func() bool { _, all := s.pool(); return all == len(s.servers)-1 })
	s.agents[1] = s.startAgent(1)
	back := testkit.Eventually(t, "it is back", func() bool { up, _ := s.pool(); return up == len(s.servers) })
	<-done
	t.Logf("amid 5,000 fakes: withdrawn after %d ms, back after %d ms", took.Milliseconds(), back.Milliseconds())
}
