//go:build soak

package replica

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"homing/balancer/affinity"
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
	eventually(t, "caught up", func() bool { return n.peerStats("b").Filled > 0 })
	eventually(t, "told to learn", appears(filepath.Join(dir, "learn")))
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
	const space, here, there = "homing-soak", "homing-soak0", "homing-soak1"
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := ip("netns", "add", space); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := ip("netns", "del", space); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"link", "add", here, "type", "veth", "peer", "name", there, "netns", space},
		{"addr", "add", "10.231.77.1/30", "dev", here},
		{"link", "set", here, "up"},
		{"-n", space, "addr", "add", "10.231.77.2/30", "dev", there},
		{"-n", space, "link", "set", there, "up"},
		{"-n", space, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Skip(err)
		}
	}
	b := startNode(t, "b", realNode, func(r *Config, _ *affinity.Config) { r.Bind = "10.231.77.1:0" })
	b.r.SetPeers([]Peer{{ID: "a"}}) // it dials us

	dir := t.TempDir()
	cmd := exec.Command("ip", "netns", "exec", space, os.Args[0], "-test.run", "^TestSoakPartitionProcess$")
	cmd.Env = append(os.Environ(), partitionPeer+"="+b.r.Addr().String(), partitionDir+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "streaming", func() bool { return b.peerStats("a").State == PeerStreaming })

	if err := ip("-n", space, "link", "set", there, "down"); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	touch("learn")
	b.learn(0, partitionSessions)
	eventually(t, "the cut is noticed", func() bool { return b.peerStats("a").State == PeerLost })
	t.Logf("noticed after %v", time.Since(cut))
	time.Sleep(time.Until(cut.Add(time.Minute)))
	if n := b.knows(partitionSessions, 2*partitionSessions); n != 0 {
		t.Fatalf("%d sessions crossed the cut", n)
	}
	if err := ip("-n", space, "link", "set", there, "up"); err != nil {
		t.Fatal(err)
	}
	healed := time.Now()
	eventually(t, "the union on both sides", func() bool {
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
