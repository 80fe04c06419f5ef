package integration

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// The example's addresses are moved into a network that is for benchmarks (RFC 2544), so that nothing real has them.
const (
	bridge   = "homing" // of the rooms homing-11 and homing-12
	network  = "198.18.77."
	outside  = network + "1" // of clients and backends, on the bridge
	service  = network + "10:443"
	exampleA = network + "11"
	exampleB = network + "12"
)

// tlsServer is a backend with a ticket key of its own, which answers by its name.
func tlsServer(t *testing.T, name string, cert *farm.Certificate) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{testkit.Pair(t, cert)}}
	listener := tls.NewListener(testkit.Listen(t, "tcp", outside+":0"), config)
	return testkit.ServeOn(t, listener, func(conn net.Conn) {
		if n, _ := conn.Read(make([]byte, 256)); n > 0 {
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s \n", name)
		}
	})
}

func roomOf(own string) testkit.Room { return testkit.Room(bridge + "-" + own[len(own)-2:]) }

// needPair skips a test where its programs are missing.
func needPair(t *testing.T) {
	t.Helper()
	needServers(t)
	testkit.NeedRooms(t)
	testkit.Need(t, "keepalived", "curl")
}

// pairNode is one node of the example, with its keepalived, in a network namespace.
type pairNode struct {
	own                  string
	room                 testkit.Room
	balancer, keepalived *farm.Process
}

// startPair starts the example's two nodes, by their addresses, in the rooms that are there.
func startPair(t *testing.T, w *town, args ...string) map[string]*pairNode {
	t.Helper()
	example, err := os.ReadFile("../../../cluster/examples/keepalived.conf")
	testkit.Check(t, err)
	dir, nodes := t.TempDir(), map[string]*pairNode{}
	for _, own := range []string{exampleA, exampleB} {
		n := &pairNode{own: own, room: roomOf(own)}
		n.balancer = n.room.Start(t, own+":443", binary, append([]string{
			"run", "--listen", ":443", "--admin", "127.0.0.1:9090", "--loops", "1",
			"--table-entries", "20000", "--cluster-bind", own + ":7946", "--cluster-join", exampleA + ":7946", "--cluster-join", exampleB + ":7946",
			"--gossip-key-file", w.gossipKey, "--node-key-file", w.nodeKey, "--probe", "off",
		}, args...)...)
		conf := strings.ReplaceAll(string(example), "192.0.2.", network)
		if own == exampleB { // as the example's first lines say
			conf = strings.NewReplacer(exampleA, exampleB, exampleB, exampleA).Replace(conf)
		}
		path := filepath.Join(dir, string(n.room)+".conf")
		put(t, path, conf)
		n.keepalived = n.room.Start(t, own+":443", "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", path,
			"--pid", filepath.Join(dir, string(n.room)+".pid"), "--vrrp_pid", filepath.Join(dir, string(n.room)+".vrrp.pid"))
		nodes[own] = n
	}
	return nodes
}

// TestIntegrationKeepalived runs the example: two nodes, each in a network namespace with keepalived. The one that holds
// the address is killed, and clients go on, and resume, at the other.
func TestIntegrationKeepalived(t *testing.T) {
	needPair(t)
	testkit.NewRooms(t, bridge, network, "11", "12")
	cert := newECDSA(t)
	w := newTown(t)
	nodes := startPair(t, w, "--discover-from", outside+"/32")
	for _, name := range []string{"a", "b"} {
		addr := tlsServer(t, name, cert)
		bind := testkit.Listen(t, "tcp", outside+":0")
		gossip := bind.Addr().String()
		bind.Close()
		testkit.Start(t, gossip, binary, "agent", "--backend", addr, "--cluster-bind", gossip,
			"--cluster-join", exampleA+":7946", "--gossip-key-file", w.gossipKey)
	}
	config := clientConfig(cert, tls.VersionTLS12)
	config.Source = func() *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(outside)} }
	var list []user
	met := map[string]bool{}
	testkit.Eventually(t, "the address serves both backends", func() bool {
		u := newGoClient(config)
		r, err := u.Get(t.Context(), service)
		if err != nil {
			return false
		}
		list, met[r.Backend] = append(list, u), true
		return len(list) >= 20 && len(met) == 2
	})

	p := &vrrpPair{t, nodes}
	testkit.Eventually(t, "one node has the address", func() bool { return p.holder() != nil })
	clock := watchMachine(t)
	p.holder().balancer.Kill()
	start := time.Now()
	var c tally
	worst := time.Duration(0)
	for _, u := range list {
		testkit.Eventually(t, "the client is served again", func() bool {
			r, err := u.Get(t.Context(), service)
			if err == nil {
				c.add(r)
				worst = time.Since(start)
			}
			return err == nil
		})
	}
	t.Logf("the node with the address was killed: all clients were served within %s: %v", worst.Round(time.Millisecond), &c)
	// A client that connects while the kernel is still taking the dead node's ring apart is let in and reset: crypto/tls
	// forgets its session then, and shakes hands afresh.
	if c.offered < len(list)-2 || c.refused() > 0 {
		t.Errorf("at the other node: %v", &c)
	}
	if worst = clock.took(stretch{start, start.Add(worst)}); worst > 10*time.Second {
		t.Errorf("the address took %s to move", worst)
	}
}
