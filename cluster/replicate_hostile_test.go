package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
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
				pause := time.NewTimer(10 * time.Millisecond)
				<-pause.C
			}
		})
	}
	eventually(t, "all have come", func() bool { return open.Load() == int64(n) })
}

// TestStrangersHoldNothing: however many connections say nothing, a node comes in, whether it was known or not.
func TestStrangersHoldNothing(t *testing.T) {
	t.Parallel()
	patient := func(cfg *ReplicatorConfig, _ *affinity.Config) { cfg.times = realTimes() } // it does not hurry more than others
	a, b, c := startNode(t, "a", patient), startNode(t, "b"), startNode(t, "c")
	silence(t, b.r.Addr().String(), 3*maxHandshakes)
	silence(t, c.r.Addr().String(), 3*maxHandshakes)
	mesh(a, b)
	a.r.SetPeers([]Peer{b.peer(), c.peer()}) // c does not know of a
	a.learn(0, 10)
	eventually(t, "both know", func() bool { return b.knows(0, 10) == 10 && c.knows(0, 10) == 10 })
}

// TestGossipDoesNotPart: what gossip says of a node that has shown the node key does not end its stream, nor does it keep
// it from coming back: that the node left, that it is elsewhere, and that there are hundreds of others.
func TestGossipDoesNotPart(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	eventually(t, "they stream", func() bool { return a.peerStats("b").State != PeerLost && b.peerStats("a").State != PeerLost })
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
		eventually(t, "facts flow", func() bool { return b.knows(first, first+10) == 10 })
		first += 10
	}
	if n := streams(); n != before {
		t.Errorf("%d streams, %d before", n, before)
	}
	a.r.SetPeers([]Peer{elsewhere})
	(*a.r.streaming.Load())[0].hangUp()
	eventually(t, "it is dialled where it was", func() bool { return streams() > before })
	a.learn(first, first+10)
	eventually(t, "facts flow again", func() bool { return b.knows(first, first+10) == 10 })
}
