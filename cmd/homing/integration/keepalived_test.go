package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/tlsclient"
)

// The example's addresses are moved into a network that is for benchmarks (RFC 2544), so that nothing real has them.
const (
	bridge   = "homing-test"
	network  = "198.18.77."
	outside  = network + "1" // of clients and backends, on the bridge
	service  = network + "10:443"
	exampleA = network + "11"
	exampleB = network + "12"
)

// command runs a program to its end.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// rooms makes two network namespaces behind one bridge, named as their nodes' addresses end.
func rooms(t *testing.T) {
	t.Helper()
	clear := func() {
		for _, args := range [][]string{
			{"link", "del", "homing11"}, {"link", "del", "homing12"}, // first: with its namespace one goes some time later
			{"netns", "del", "homing-11"}, {"netns", "del", "homing-12"}, {"link", "del", bridge},
		} {
			_ = exec.Command("ip", args...).Run() // what is not there need not go
		}
	}
	clear()
	t.Cleanup(clear)
	command(t, "ip", "link", "add", bridge, "type", "bridge")
	command(t, "ip", "addr", "add", outside+"/24", "dev", bridge)
	command(t, "ip", "link", "set", bridge, "up")
	for _, end := range []string{"11", "12"} {
		room := "homing-" + end
		command(t, "ip", "netns", "add", room)
		command(t, "ip", "link", "add", "homing"+end, "type", "veth", "peer", "name", "eth0", "netns", room)
		command(t, "ip", "link", "set", "homing"+end, "master", bridge, "up")
		command(t, "ip", "-n", room, "addr", "add", network+end+"/24", "dev", "eth0")
		command(t, "ip", "-n", room, "link", "set", "eth0", "up")
		command(t, "ip", "-n", room, "link", "set", "lo", "up")
	}
}

// inRoom starts a program in a namespace; what it listens on is reachable over the bridge.
func inRoom(t *testing.T, room, addr, name string, args ...string) *farm.Process {
	t.Helper()
	proc, err := farm.Start(context.Background(), addr, "ip", append([]string{"netns", "exec", room, name}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proc.Stop()
		if t.Failed() {
			t.Logf("%s in %s said:\n%s", name, room, proc.Output())
		}
	})
	return proc
}

// tlsServer is a backend with a ticket key of its own, which answers by its name.
func tlsServer(t *testing.T, name string, cert *farm.Certificate) string {
	t.Helper()
	pair, err := tls.X509KeyPair(cert.Chain, cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", outside+":0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if n, _ := conn.Read(make([]byte, 256)); n > 0 {
					fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s \n", name)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// needPair skips a test where its programs are missing.
func needPair(t *testing.T) {
	t.Helper()
	needServers(t)
	if os.Getuid() != 0 {
		t.Skip("network namespaces are root's to make")
	}
	for _, program := range []string{"ip", "keepalived", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
}

// pairNode is one node of the example, with its keepalived, in a network namespace.
type pairNode struct {
	own, room            string
	balancer, keepalived *farm.Process
}

// startPair starts the example's two nodes, by their addresses, in the rooms that are there.
func startPair(t *testing.T, w *town, args ...string) map[string]*pairNode {
	t.Helper()
	example, err := os.ReadFile("../../../cluster/examples/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir, nodes := t.TempDir(), map[string]*pairNode{}
	for _, own := range []string{exampleA, exampleB} {
		n := &pairNode{own: own, room: "homing-" + own[len(own)-2:]}
		n.balancer = inRoom(t, n.room, own+":443", binary, append([]string{
			"run", "--listen", ":443", "--admin", "127.0.0.1:9090", "--loops", "1",
			"--table-entries", "20000", "--cluster-bind", own + ":7946", "--cluster-join", exampleA + ":7946", "--cluster-join", exampleB + ":7946",
			"--gossip-key-file", w.gossipKey, "--node-key-file", w.nodeKey, "--probe", "off",
		}, args...)...)
		conf := strings.ReplaceAll(string(example), "192.0.2.", network)
		if own == exampleB { // as the example's first lines say
			conf = strings.NewReplacer(exampleA, exampleB, exampleB, exampleA).Replace(conf)
		}
		path := filepath.Join(dir, n.room+".conf")
		put(t, path, conf)
		n.keepalived = inRoom(t, n.room, own+":443", "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", path,
			"--pid", filepath.Join(dir, n.room+".pid"), "--vrrp_pid", filepath.Join(dir, n.room+".vrrp.pid"))
		nodes[own] = n
	}
	return nodes
}

// TestIntegrationKeepalived runs the example: two nodes, each in a network namespace with keepalived. The one that holds
// the address is killed, and clients go on, and resume, at the other.
func TestIntegrationKeepalived(t *testing.T) {
	needPair(t)
	rooms(t)
	cert, err := farm.NewECDSA()
	if err != nil {
		t.Fatal(err)
	}
	w := newTown(t)
	nodes := startPair(t, w, "--discover-from", outside+"/32")
	for _, name := range []string{"a", "b"} {
		addr := tlsServer(t, name, cert)
		bind, err := net.Listen("tcp", outside+":0")
		if err != nil {
			t.Fatal(err)
		}
		gossip := bind.Addr().String()
		bind.Close()
		agent, err := farm.Start(context.Background(), gossip, binary, "agent", "--backend", addr, "--cluster-bind", gossip,
			"--cluster-join", exampleA+":7946", "--gossip-key-file", w.gossipKey)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(agent.Stop)
	}
	config := clientConfig(cert, tls.VersionTLS12)
	config.Source = func() *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(outside)} }
	var list []user
	met := map[string]bool{}
	w.waitFor(t, "the address serves both backends", func() bool {
		u := tlsclient.New(config)
		r, err := u.Get(t.Context(), service)
		if err != nil {
			return false
		}
		list, met[r.Backend] = append(list, u), true
		return len(list) >= 20 && len(met) == 2
	})

	p := &vrrpPair{t, nodes}
	w.waitFor(t, "one node has the address", func() bool { return p.holder() != nil })
	p.holder().balancer.Kill()
	start := time.Now()
	var c tally
	worst := time.Duration(0)
	for _, u := range list {
		w.waitFor(t, "the client is served again", func() bool {
			r, err := u.Get(t.Context(), service)
			if err == nil {
				c.add(r)
				worst = max(worst, time.Since(start))
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
	if worst > 10*time.Second {
		t.Errorf("the address took %s to move", worst)
	}
}
