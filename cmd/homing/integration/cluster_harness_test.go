package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/proc"
	"homing/bench/testkit"
	"homing/cluster"
)

// soon is within what nodes must have followed an agent: 2 s where the machine has time, and here what tells gossip from
// the exchange of all that members know, every 30 s, on one that has none.
const soon = 10 * time.Second

// town is a cluster on loopback: its secrets, its nodes and its agents.
type town struct {
	gossipKey, nodeKey string
	nodes              []*node
	flags              []string // of every node
}

// node is one homing that may be killed and started again.
type node struct {
	homing
	town   *town
	gossip string
	state  string
}

func newTown(tb testing.TB, flags ...string) *town {
	tb.Helper()
	dir := tb.TempDir()
	w := &town{gossipKey: filepath.Join(dir, "gossip.key"), nodeKey: filepath.Join(dir, "node.key"), flags: flags}
	for _, path := range []string{w.gossipKey, w.nodeKey} {
		testkit.Check(tb, cluster.SaveKeys(path, [][]byte{cluster.NewKey()}))
	}
	return w
}

// build starts n nodes; each knows all others from the start, whether they run or not.
func (w *town) build(tb testing.TB, n int) {
	tb.Helper()
	addrs, err := proc.FreeAddrs(tb.Context(), 3*n) // all at once, so that none is drawn twice
	testkit.Check(tb, err)
	for own := range slices.Chunk(addrs, 3) {
		w.nodes = append(w.nodes, &node{homing: homing{addr: own[0], admin: own[1]}, town: w, gossip: own[2], state: tb.TempDir()})
	}
	for _, one := range w.nodes {
		one.start(tb)
	}
	tb.Cleanup(func() {
		for i, one := range w.nodes {
			one.proc.Stop()
			if tb.Failed() {
				tb.Logf("node %d said:\n%s", i, one.proc.Output())
			}
		}
	})
	for _, one := range w.nodes {
		testkit.Eventually(tb, "all nodes meet", func() bool { return one.members(tb, "node", "alive") == n-1 })
	}
}

func (n *node) start(tb testing.TB) {
	tb.Helper()
	args := []string{
		"run", "--listen", n.addr, "--admin", n.admin, "--loops", "1", "--table-entries", "20000", "--client-entries", "2000", "--cluster-bind", n.gossip,
		"--replication-bind", "127.0.0.1:0", "--gossip-key-file", n.town.gossipKey, "--node-key-file", n.town.nodeKey, "--state-dir", n.state,
	}
	for _, other := range n.town.nodes {
		if other != n {
			args = append(args, "--cluster-join", other.gossip)
		}
	}
	p, err := proc.Start(context.Background(), proc.Command{Path: binary, Args: append(args, n.town.flags...), Ready: []string{n.addr}})
	testkit.Check(tb, err)
	n.proc = p
	n.awaitAdmin(tb)
}

// members counts the other members that the node knows.
func (n *node) members(tb testing.TB, role, state string) int {
	tb.Helper()
	return int(n.metrics(tb)[fmt.Sprintf("homing_cluster_members{role=%q,state=%q}", role, state)])
}

// everywhere says that every node has the backend, and takes it for up.
func (w *town) everywhere(tb testing.TB, addr string) func() bool {
	return func() bool {
		for _, one := range w.nodes {
			if !one.up(tb, addr) {
				return false
			}
		}
		return true
	}
}

// nowhere says that no node has the backend.
func (w *town) nowhere(tb testing.TB, addr string) func() bool {
	return func() bool {
		for _, one := range w.nodes {
			if _, there := one.metrics(tb)[fmt.Sprintf("homing_backend_up{backend=%q,pool=%q}", addr, "default")]; there {
				return false
			}
		}
		return true
	}
}

// agent starts an agent for a backend. It is stopped with the test.
func (w *town) agent(tb testing.TB, backend string, flags ...string) *farm.Process {
	tb.Helper()
	bind := testkit.FreeAddr(tb)
	args := []string{"agent", "--backend", backend, "--cluster-bind", bind, "--gossip-key-file", w.gossipKey, "--check-interval", "500ms"}
	for _, one := range w.nodes {
		args = append(args, "--cluster-join", one.gossip)
	}
	return testkit.Start(tb, bind, binary, append(args, flags...)...)
}

// clusterOfThree is two nodes and three nginx that agents announce.
func clusterOfThree(t *testing.T, cfg farm.NginxConfig) (*town, []*farm.Nginx, *farm.Certificate) {
	t.Helper()
	servers, cert := three(t, cfg, farm.NewECDSA)
	w := newTown(t)
	w.build(t, 2)
	for _, n := range servers {
		w.agent(t, n.Addr(), "--check", "tls")
	}
	for _, n := range servers {
		testkit.Eventually(t, "the backend is everywhere", w.everywhere(t, n.Addr()))
	}
	return w, servers, cert
}

// answering starts a server that sends one line to whoever connects, and returns its address.
func answering(tb testing.TB) string {
	tb.Helper()
	return testkit.Serve(tb, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 64)) // the check says nothing, and hangs up
		_, _ = conn.Write([]byte("hello\n"))
	})
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
