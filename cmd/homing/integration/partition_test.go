package integration

import (
	"os/exec"
	"testing"
	"time"

	"homing/bench/testkit"
)

// TestIntegrationPartition parts two nodes for longer than memberlist remembers (30 s), by taking a cable out. Both must be
// together again, streams included, within 5 s.
func TestIntegrationPartition(t *testing.T) {
	needServers(t)
	testkit.NewRooms(t, bridge, network, "11", "12")
	w := pair(t)
	testkit.Run(t, "ip", "link", "set", "homing11", "down")
	out := time.Now()
	testkit.Eventually(t, "one has lost the other", func() bool { return w.nodes[1].members(t, "node", "vanished") == 1 })
	time.Sleep(35 * time.Second)
	clock := watchMachine(t)
	testkit.Run(t, "ip", "link", "set", "homing11", "up")
	parted, back := time.Since(out), time.Now()
	testkit.Eventually(t, "the other answers",
		func() bool { return exec.Command("curl", "-sm1", "http://"+w.nodes[0].admin+"/healthz").Run() == nil })
	testkit.Eventually(t, "they are together again", func() bool { return together(t, w) })
	healed := clock.since(back)
	t.Logf("parted for %s, together again after %s", parted.Round(time.Second), healed.Round(time.Millisecond))
	if healed > 5*time.Second {
		t.Errorf("it took %s, want 5 s at most", healed)
	}
}
