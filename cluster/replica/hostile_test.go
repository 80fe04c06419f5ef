package replica

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
	"homing/cluster/bound"
)

// silence keeps connections open that say nothing, until the test ends: one that is closed comes again.
func silence(t *testing.T, to string, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(cancel)
	var open atomic.Int64
	for range n {
		all.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				if first {
					open.Add(1)
				}
				_, _ = conn.Read(make([]byte, 1)) // returns when it is closed
				stop()
				conn.Close()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	testkit.Eventually(t, "all have come", func() bool { return open.Load() == int64(n) })
}

// TestStrangersHoldNothing: however many connections say nothing, a node comes in, whether it was known or not.
func TestStrangersHoldNothing(t *testing.T) {
	t.Parallel()
	patient := func(cfg *Config, _ *affinity.Config) { cfg.times = realTimes() } // it does not hurry more than others
	a, b, c := startNode(t, "a", patient), startNode(t, "b"), startNode(t, "c")
	silence(t, b.r.Addr().String(), 3*maxHandshakes)
	silence(t, c.r.Addr().String(), 3*maxHandshakes)
	mesh(a, b)
	a.r.SetPeers([]Peer{b.peer(), c.peer()}) // c does not know of a
	a.learn(0, 10)
	testkit.Eventually(t, "both know", func() bool { return b.knows(0, 10) == 10 && c.knows(0, 10) == 10 })
}

// TestGossipDoesNotPart: what gossip says of a node that has shown the node key does not end its stream, nor does it
// keep it from coming back: that the node left, that it is elsewhere, and that there are hundreds of others.
func TestGossipDoesNotPart(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	testkit.Eventually(t, "they stream",
		func() bool { return a.peerStats("b").State != PeerLost && b.peerStats("a").State != PeerLost })
	streams := func() uint64 { return a.peerStats("b").Streams }
	before := streams()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	elsewhere := Peer{"b", silent.Addr().String()}
	var crowd []Peer
	for i := range 3 * maxPeers {
		crowd = append(crowd, Peer{fmt.Sprintf("aa%d", i), fmt.Sprintf("127.66.%d.%d:1", i>>8, i&255)})
	}
	first := 0
	for _, gossip := range [][]Peer{{}, {elsewhere}, append(slices.Clone(crowd), elsewhere), {elsewhere, b.peer()}} {
		a.r.SetPeers(gossip)
		a.learn(first, first+10)
		testkit.Eventually(t, "facts flow", func() bool { return b.knows(first, first+10) == 10 })
		first += 10
	}
	if n := streams(); n != before {
		t.Errorf("%d streams, %d before", n, before)
	}
	a.r.SetPeers([]Peer{elsewhere})
	(*a.r.streaming.Load())[0].hangUp()
	testkit.Eventually(t, "it is dialled where it was", func() bool { return streams() > before })
	a.learn(first, first+10)
	testkit.Eventually(t, "facts flow again", func() bool { return b.knows(first, first+10) == 10 })
}

// TestStrangersSayLittle: those who come to the replication port and are no nodes, from whatever addresses, in whatever
// way they fail, get one line a minute together; a node that is known keeps its own.
func TestStrangersSayLittle(t *testing.T) {
	t.Parallel()
	n := startNode(t, "a")
	for i := range 2 * bound.MaxKinds {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, byte(i>>8), byte(1+i))}}
		conn, err := d.DialContext(t.Context(), "tcp", n.r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, _ = fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n") // it may have hung up
			_, _ = conn.Read(make([]byte, 1))
		}
		conn.Close()
	}
	lines := func() int { return strings.Count(n.log.String(), "replication stream") }
	testkit.Eventually(t, "a line is written", func() bool { return lines() > 0 })
	b := startNode(t, "b", func(cfg *Config, _ *affinity.Config) { cfg.NodeKeys = [][]byte{nodeKey(2)} })
	n.r.SetPeers([]Peer{b.peer()})
	testkit.Eventually(t, "the node with another key is named",
		func() bool { return strings.Contains(n.log.String(), "peer=b") })
	n.stop() // all have been served
	strangers := 0
	for line := range strings.Lines(n.log.String()) {
		if strings.Contains(line, "peer=127.66.") {
			strangers++
		}
	}
	if strangers != 1 {
		t.Errorf("%d lines of strangers:\n%s", strangers, n.log.String())
	}
}
