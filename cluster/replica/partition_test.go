//go:build soak

package replica

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// What the process on the other side of the partition is told by its environment.
const (
	partitionPeer = "HOMING_PARTITION_PEER" // where the node on this side is
	partitionDir  = "HOMING_PARTITION_DIR"  // learns when "learn" appears in it, ends when "stop" does
)

const partitionSessions = 10_000

func appears(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

func TestSoakPartitionProcess(t *testing.T) {
	addr := os.Getenv(partitionPeer)
	if addr == "" {
		t.Skip("is started by the other")
	}
	dir := os.Getenv(partitionDir)
	n := startNode(t, "a", realNode)
	n.r.SetPeers([]Peer{{ID: "b", Addr: addr}})
	testkit.Eventually(t, "caught up", func() bool { return n.peerStats("b").Filled > 0 })
	testkit.Eventually(t, "told to learn", appears(filepath.Join(dir, "learn")))
	n.learn(partitionSessions, 2*partitionSessions)
	for stop := appears(filepath.Join(dir, "stop")); !stop(); {
		time.Sleep(10 * time.Millisecond)
	}
}

func realNode(r *Config, c *affinity.Config) {
	r.times, r.Ring, c.TableEntries = realTimes(), 0, 100_000
}

// TestSoakPartition cuts the link between two network namespaces for a minute, while both sides learn. It needs root
// and the command ip.
func TestSoakPartition(t *testing.T) {
	const here, there = "homing-soak0", "homing-soak1"
	room := testkit.NewRoom(t, "homing-soak", nil)
	testkit.Run(t, "ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", string(room))
	testkit.Run(t, "ip", "addr", "add", "10.231.77.1/30", "dev", here)
	testkit.Run(t, "ip", "link", "set", here, "up")
	room.Join(t, there, "10.231.77.2/30")
	b := startNode(t, "b", realNode, func(r *Config, _ *affinity.Config) { r.Bind = "10.231.77.1:0" })
	b.r.SetPeers([]Peer{{ID: "a"}}) // it dials us

	dir := t.TempDir()
	cmd := room.Command(t.Context(), os.Args[0], "-test.run", "^TestSoakPartitionProcess$")
	cmd.Env = append(os.Environ(), partitionPeer+"="+b.r.Addr().String(), partitionDir+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "streaming", func() bool { return b.peerStats("a").State == PeerStreaming })

	room.IP(t, "link", "set", there, "down")
	cut := time.Now()
	touch("learn")
	b.learn(0, partitionSessions)
	testkit.Eventually(t, "the cut is noticed", func() bool { return b.peerStats("a").State == PeerLost })
	t.Logf("noticed after %v", time.Since(cut))
	time.Sleep(time.Until(cut.Add(time.Minute)))
	if n := b.knows(partitionSessions, 2*partitionSessions); n != 0 {
		t.Fatalf("%d sessions crossed the cut", n)
	}
	room.IP(t, "link", "set", there, "up")
	healed := time.Now()
	testkit.Eventually(t, "the union on both sides", func() bool {
		return b.knows(partitionSessions, 2*partitionSessions) == partitionSessions && b.peerStats("a").Unacked == 0
	})
	took := time.Since(healed)
	t.Logf("the union on both sides %v after the heal: %+v", took, b.peerStats("a"))
	touch("stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if took > 5*time.Second {
		t.Error("too late")
	}
}
