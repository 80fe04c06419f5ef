package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// alternate makes n conns of clients that go to another node each time, or on to the next when one does not accept.
func alternate(t *testing.T, w *town, list []user, n int) tally {
	t.Helper()
	var c tally
	for i := range n {
		u := list[i%len(list)]
		r, err := u.Get(t.Context(), w.nodes[(i+i/len(list))%len(w.nodes)].addr)
		if err != nil {
			r, err = u.Get(t.Context(), w.nodes[(i+i/len(list)+1)%len(w.nodes)].addr)
		}
		testkit.Check(t, err)
		c.add(r)
	}
	return c
}

// TestIntegrationCluster: two nodes, three nginx that agents announce, clients that alternate between the nodes. One
// node is killed; the clients go on at the other. It comes back, and both are.
func TestIntegrationCluster(t *testing.T) {
	for _, tt := range []struct {
		name    string
		nginx   farm.NginxConfig
		newUser func(*farm.Certificate) func() user
		refused int // while keys are learned
	}{
		{"ID", farm.NginxConfig{NoTickets: true}, idUser, 0},
		{"ticket", farm.NginxConfig{}, func(c *farm.Certificate) func() user { return goUser(c, tls.VersionTLS12) }, 0},
		{"TLS13", farm.NginxConfig{}, func(c *farm.Certificate) func() user { return goUser(c, tls.VersionTLS13) }, perKey * backends},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, cert := clusterOfThree(t, tt.nginx)
			list := users(t, w.nodes[0].addr, clients, tt.newUser(cert))
			both := alternate(t, w, list, reconnects)
			if both.offered != reconnects || both.refused() > tt.refused {
				t.Errorf("at both nodes: %v, want at most %d refused", &both, tt.refused)
			}
			w.nodes[0].proc.Kill()
			one := alternate(t, w, list, reconnects/2)
			if one.refused() > 0 {
				t.Errorf("after kill -9 of one node: %v", &one)
			}
			w.nodes[0].start(t)
			testkit.Eventually(t, "the node is back", func() bool {
				return w.nodes[0].members(t, "node", "alive") == 1 && w.nodes[0].members(t, "agent", "alive") == 3
			})
			testkit.Eventually(t, "it has caught up", func() bool { return caughtUp(t, w.nodes[0]) && caughtUp(t, w.nodes[1]) })
			again := alternate(t, w, list, reconnects/2)
			if again.refused() > 0 {
				t.Errorf("after its restart: %v", &again)
			}
			t.Logf("both: %v; one killed: %v; back: %v", &both, &one, &again)
		})
	}
}

// caughtUp says that the node has a stream on which nothing waits.
func caughtUp(t *testing.T, n *node) bool {
	t.Helper()
	streams := false
	for name, value := range n.metrics(t) {
		if strings.HasPrefix(name, "homing_replication_unacked_facts{") && value > 0 {
			return false
		}
		streams = streams || strings.HasPrefix(name, "homing_replication_streams_total{") && value > 0
	}
	return streams
}

// atOnceWait is after what time a node knows what another has learned.
const atOnceWait = 2 * time.Millisecond

// TestIntegrationClusterAtOnce: a client that resumes at the other node 2 ms after its first handshake there closed. A
// refusal is not homing's where the machine was so late that less than these 2 ms were left to it; and one who comes when
// the other node has been told is never refused, however late the machine is.
func TestIntegrationClusterAtOnce(t *testing.T) {
	const tries = 1000
	for _, tt := range []struct {
		name    string
		nginx   farm.NginxConfig
		newUser func(*farm.Certificate) func() user
	}{
		{"ID", farm.NginxConfig{NoTickets: true}, idUser},
		{"ticket", farm.NginxConfig{}, func(c *farm.Certificate) func() user { return goUser(c, tls.VersionTLS12) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, cert := clusterOfThree(t, tt.nginx)
			clock, best := watchMachine(t), 0
			for round := 0; round < 3 && best < tries*99/100; round++ {
				c, early := atOnce(t, w, clock, tt.newUser(cert), tries)
				t.Logf("%v; the machine left no time to %d of the refused", &c, early)
				if c.offered == tries {
					best = max(best, c.accepted+early)
				}
			}
			if best < tries*99/100 {
				t.Errorf("%d of %d were accepted, want 99 %%", best, tries)
			}
			if c := whenTold(t, w, tt.newUser(cert), tries/50); c.accepted != tries/50 {
				t.Errorf("at a node that has been told: %v", &c)
			}
		})
	}
}

// atOnce lets n new clients come to one node, and 2 ms later resume at the other. Early are those of the refused who came
// sooner by the machine's clock.
func atOnce(t *testing.T, w *town, clock *machineClock, newUser func() user, n int) (c tally, early int) {
	t.Helper()
	var refused []stretch
	for i := range n {
		u := newUser()
		if _, err := u.Get(t.Context(), w.nodes[i%2].addr); err != nil {
			t.Fatal(err)
		}
		closed := time.Now()
		time.Sleep(atOnceWait)
		came := time.Now()
		r, err := u.Get(t.Context(), w.nodes[(i+1)%2].addr)
		testkit.Check(t, err)
		c.add(r)
		if r.Offered && !r.Resumed {
			refused = append(refused, stretch{closed, came})
		}
	}
	for _, waited := range refused {
		if clock.took(waited) < atOnceWait {
			early++
		}
	}
	return c, early
}

// whenTold lets n new clients come to one node, and resume at the other as soon as that has been told of them.
func whenTold(t *testing.T, w *town, newUser func() user, n int) tally {
	t.Helper()
	var c tally
	for i := range n {
		one, other := w.nodes[i%2], w.nodes[(i+1)%2]
		told := func() float64 { return other.metrics(t)[`homing_replication_facts_total{from="peers"}`] }
		testkit.Eventually(t, "all is told", func() bool { return caughtUp(t, one) })
		before, u := told(), newUser()
		if _, err := u.Get(t.Context(), one.addr); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the other node is told", func() bool { return told() > before && caughtUp(t, one) })
		r, err := u.Get(t.Context(), other.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.add(r)
	}
	return c
}

// TestIntegrationAgent: what an agent says is everywhere soon, and no conn is dropped by it.
func TestIntegrationAgent(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	w := newTown(t, "--check-interval", "200ms", "--fall", "2")
	w.build(t, 2)
	clock := watchMachine(t)
	within := func(what string, cond func() bool) {
		t.Helper()
		begin := time.Now()
		testkit.Eventually(t, what, cond)
		took := clock.since(begin)
		t.Logf("%s: %d ms", what, took.Milliseconds())
		if took > soon {
			t.Errorf("%s took %s, want %s at most", what, took, soon)
		}
	}
	first := servers[0].Addr()
	proc := w.agent(t, first, "--weight", "3")
	within("announced", w.everywhere(t, first))
	client := newGoClient(clientConfig(cert, tls.VersionTLS12))
	if _, err := client.Get(t.Context(), w.nodes[1].addr); err != nil {
		t.Fatal(err)
	}
	held, err := net.Dial("tcp", w.nodes[1].addr)
	testkit.Check(t, err)
	defer held.Close()
	secured := tls.Client(held, &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert)})
	testkit.Check(t, secured.HandshakeContext(t.Context()))

	draining := func(want float64) func() bool {
		return func() bool {
			for _, one := range w.nodes {
				if one.metrics(t)[fmt.Sprintf("homing_backend_draining{backend=%q,pool=%q}", first, "default")] != want {
					return false
				}
			}
			return true
		}
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		testkit.Check(t, proc.Signal(s))
	}
	signal(syscall.SIGUSR1)
	within("drained", draining(1))
	signal(syscall.SIGUSR2)
	within("serving again", draining(0))
	signal(syscall.SIGTERM)
	within("withdrawn", w.nowhere(t, first))
	if _, err := io.WriteString(secured, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(secured); err != nil || len(answer) == 0 {
		t.Errorf("the conn that was open when its backend was withdrawn: %q, %v", answer, err)
	}

	crashed := w.agent(t, first)
	within("announced by another agent", w.everywhere(t, first))
	crashed.Kill()
	testkit.Eventually(t, "the crash is known", func() bool {
		return w.nodes[0].members(t, "agent", "vanished") == 1 && w.nodes[1].members(t, "agent", "vanished") == 1
	})
	if !w.everywhere(t, first)() {
		t.Error("a crash of the agent took a backend out that is up")
	}
	servers[0].Kill()
	testkit.Eventually(t, "its server is dead too", w.nowhere(t, first))

	second := servers[1].Addr()
	w.agent(t, second, "--fall", "1", "--check-timeout", "200ms")
	within("another announced", w.everywhere(t, second))
	servers[1].Kill()
	within("its server died", w.nowhere(t, second))
	testkit.Check(t, servers[1].Restart(t.Context()))
	within("its server came back", w.everywhere(t, second))
}

// TestIntegrationAgentRefused: an agent may announce its own address only, unless it is told otherwise.
func TestIntegrationAgentRefused(t *testing.T) {
	needServers(t)
	w := newTown(t, "--discover-from", "192.0.2.0/24")
	w.build(t, 1)
	addr := answering(t)
	w.agent(t, addr)
	testkit.Eventually(t, "it is refused", func() bool { return w.nodes[0].metrics(t)[`homing_announcements{verdict="refused"}`] == 1 })
	if !w.nowhere(t, addr)() {
		t.Error("it is in the pool")
	}
	if out := w.nodes[0].proc.Output(); !strings.Contains(out, "in no network of --discover-from") {
		t.Errorf("the log does not say why:\n%s", out)
	}
}

// TestIntegrationRollingRestart: five nodes, fifty agents; every node is drained and started again, one after another.
// Clients that look at /readyz, as the examples do, meet no error.
func TestIntegrationRollingRestart(t *testing.T) {
	needServers(t)
	const nodes, agents = 5, 50
	w := newTown(t, "--drain-timeout", "2s", "--no-checks")
	w.build(t, nodes)
	start := time.Now()
	for range agents {
		w.agent(t, answering(t), "--check-interval", "5s")
	}
	started := time.Since(start)
	whole := func() bool {
		for _, one := range w.nodes {
			if one.members(t, "agent", "alive") != agents || int(one.metrics(t)[`homing_announcements{verdict="accepted"}`]) != agents {
				return false
			}
		}
		return true
	}
	took := testkit.Eventually(t, "every node has all backends", whole)
	t.Logf("%d agents started in %s; %s later every node had all backends", agents, started.Round(time.Millisecond),
		took.Round(time.Millisecond))

	var ready [nodes]atomic.Bool
	for i := range ready {
		ready[i].Store(true)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var served, failed atomic.Int64
	for c := range 4 {
		running.Go(func() {
			for i := c; ctx.Err() == nil; i++ {
				if !ready[i%nodes].Load() {
					continue
				}
				if err := talk(w.nodes[i%nodes].addr); err != nil {
					failed.Add(1)
					t.Errorf("client: %v", err)
				} else {
					served.Add(1)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	for i, one := range w.nodes {
		ready[i].Store(false)
		time.Sleep(50 * time.Millisecond) // for clients that have just looked
		testkit.Check(t, one.proc.Signal(syscall.SIGTERM))
		<-one.proc.Done()
		one.start(t)
		testkit.Eventually(t, "it knows all backends again", func() bool {
			return one.members(t, "node", "alive") == nodes-1 && int(one.metrics(t)[`homing_announcements{verdict="accepted"}`]) == agents
		})
		if !fileExists(filepath.Join(one.state, "id")) {
			t.Error("the node keeps no name")
		}
		ready[i].Store(true)
	}
	cancel()
	running.Wait()
	took = testkit.Eventually(t, "every node has all backends again", whole)
	t.Logf("%d conns served, %d failed; whole again %s after the last restart", served.Load(), failed.Load(), took.Round(time.Millisecond))
	if served.Load() == 0 {
		t.Error("no client was served")
	}
}

// talk makes one conn, and wants an answer.
func talk(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "hi\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "hello\n" {
		return fmt.Errorf("answer %q: %w", answer, err)
	}
	return nil
}
