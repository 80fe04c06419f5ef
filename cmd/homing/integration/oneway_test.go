package integration

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// TestIntegrationOneWay loses the packets of one node to the other, but not those the other way, while both learn. The
// first kind of loss is silent, as of a broken switch; with the second the system says so at each send. Nothing may
// grow or be said over and over, and within 5 s of the end both must know what either learned.
func TestIntegrationOneWay(t *testing.T) {
	needServers(t)
	testkit.NewRooms(t, bridge, network, "11", "12")
	for _, tt := range []struct {
		name       string
		lose, heal []string
	}{
		{
			"silent", // a neighbour that nobody is
			[]string{"neigh", "replace", exampleB, "lladdr", "02:00:5e:00:53:01", "dev", "eth0", "nud", "permanent"},
			[]string{"neigh", "del", exampleB, "dev", "eth0"},
		},
		{"told", []string{"route", "add", "blackhole", exampleB + "/32"}, []string{"route", "del", "blackhole", exampleB + "/32"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := newECDSA(t)
			w := pair(t, tlsServer(t, "a", cert), tlsServer(t, "b", cert))
			ip := func(args []string) {
				t.Helper()
				roomOf(exampleA).IP(t, args...)
			}
			loseOneWay(t, w, cert, func() { ip(tt.lose) }, func() { ip(tt.heal) })
		})
	}
}

// pair is two nodes, each in a room, before the same backends, that have met.
func pair(t *testing.T, backends ...string) *town {
	t.Helper()
	w := newTown(t)
	const token = "none-but-this-test-may-read-metrics"
	tokenFile := filepath.Join(t.TempDir(), "token")
	testkit.Check(t, os.WriteFile(tokenFile, []byte(token+"\n"), 0o600))
	for _, own := range []string{exampleA, exampleB} {
		n := &node{homing: homing{addr: own + ":443", admin: own + ":9090", token: token}, town: w}
		args := []string{
			"run", "--listen", n.addr, "--admin", n.admin, "--admin-token-file", tokenFile, "--loops", "1", "--table-entries", "20000", "--probe", "off",
			"--cluster-bind", own + ":7946", "--cluster-join", exampleA + ":7946", "--cluster-join", exampleB + ":7946",
			"--gossip-key-file", w.gossipKey, "--node-key-file", w.nodeKey,
		}
		for _, b := range backends {
			args = append(args, "--backend", b)
		}
		n.proc = roomOf(own).Start(t, n.addr, binary, args...)
		w.nodes = append(w.nodes, n)
	}
	testkit.Eventually(t, "they meet", func() bool { return together(t, w) })
	return w
}

// together says that both nodes of a pair see each other, and that nothing waits for the other.
func together(t *testing.T, w *town) bool {
	t.Helper()
	for _, n := range w.nodes {
		if n.members(t, "node", "alive") != 1 || !caughtUp(t, n) {
			return false
		}
	}
	return true
}

// loseOneWay lets both nodes learn for 20 s from lose on, and looks at what they make of it.
func loseOneWay(t *testing.T, w *town, cert *farm.Certificate, lose, heal func()) {
	t.Helper()
	config := clientConfig(cert, tls.VersionTLS12)
	config.Source = func() *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(outside)} }
	newUser := func() user { return newGoClient(config) }
	learn := func() (lists [2][]user) {
		for i, n := range w.nodes {
			lists[i] = users(t, n.addr, 25, newUser)
		}
		return lists
	}
	for range 4 {
		learn() // until the memory is what it will be
	}
	testkit.Eventually(t, "all is shared", func() bool { return together(t, w) })
	var before [2]int64
	for i, n := range w.nodes {
		before[i], _ = n.memory(t)
	}

	lose()
	began := time.Now()
	var learned [2][]user
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for time.Since(began) < 20*time.Second {
		for i, list := range learn() {
			learned[i] = append(learned[i], list...)
		}
		<-tick.C
	}
	for i, n := range w.nodes {
		if caughtUp(t, n) {
			t.Errorf("node %d: nothing waits for the other, so nothing was lost", i)
		}
	}
	clock := watchMachine(t)
	heal()
	healed := time.Now()
	testkit.Eventually(t, "both know all", func() bool { return together(t, w) })
	took := clock.since(healed)
	if took > 15*time.Second {
		t.Errorf("it took %s, want 15 s at most", took)
	}
	var c tally
	for i, list := range learned {
		for _, u := range list {
			r, err := u.Get(t.Context(), w.nodes[1-i].addr)
			testkit.Check(t, err)
			c.add(r)
		}
	}
	t.Logf("%s after the heal; then, each at the other node: %v", took.Round(time.Millisecond), &c)
	if c.offered != c.conns || c.refused() > 0 {
		t.Error("both should know what either learned")
	}
	for i, n := range w.nodes {
		after, _ := n.memory(t)
		t.Logf("node %d: %d MiB before, %d MiB after", i, before[i]>>20, after>>20)
		if after > before[i]+16<<20 {
			t.Errorf("node %d: its memory grew from %d to %d bytes", i, before[i], after)
		}
		quiet(t, n.proc.Output())
	}
}

// saidPerEvent is how often a node may say the same: once for the loss, and once when the other comes and goes again.
// manyLines is twice what a node says in all.
const (
	saidPerEvent = 2
	manyLines    = 40
)

// quiet fails the test when a log says the same over and over, or has a panic in it.
func quiet(t *testing.T, log string) {
	t.Helper()
	if strings.Contains(log, "panic:") || strings.Contains(log, "goroutine ") {
		t.Errorf("a panic:\n%s", log)
	}
	said := map[string]int{}
	for line := range strings.Lines(log) {
		line = regexp.MustCompile(`^time=\S+ |:\d{5}\b`).ReplaceAllString(strings.TrimSpace(line), "")
		said[line]++
		if said[line] == saidPerEvent+1 {
			t.Errorf("said again and again: %s", line)
		}
	}
	if n := strings.Count(log, "\n"); n > manyLines {
		t.Errorf("it said %d lines:\n%s", n, log)
	}
}
