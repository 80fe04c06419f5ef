package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// idleMemory is the most that homing may hold for a conn that is established and silent, in bytes.
const idleMemory = 0.5 * (1 << 10)

// TestIntegrationIdle opens many conns through homing on each engine, lets them rest, and has each of them answer one more
// round trip. It reports what an idle one costs: the slope of homing's resident memory, and of the kernel's.
//
// At full length it is 50,000 conns. Clients and backends are processes of their own, and where the limit of open files does
// not allow 100,000 to a process, there are several homing too.
func TestIntegrationIdle(t *testing.T) {
	needServers(t)
	conns := 2_000
	if soak() {
		conns = 50_000
	}
	for _, engine := range []string{"io_uring", "epoll"} {
		t.Run(engine, func(t *testing.T) { idle(t, engine, conns) })
	}
}

// needEngine skips the test where the engine is not to be had.
func needEngine(t *testing.T, engine string) {
	t.Helper()
	if b, _ := os.ReadFile("/proc/sys/kernel/io_uring_disabled"); engine == "io_uring" && strings.TrimSpace(string(b)) == "2" {
		t.Skip("kernel.io_uring_disabled is 2")
	}
}

// idleGroup is one homing with its clients and backends.
type idleGroup struct {
	h     *homing
	peer  *idlePeer
	conns int
}

func idle(t *testing.T, engine string, conns int) {
	needEngine(t, engine)
	most := (fileLimit(t) - 1000) / 2 // a conn has two descriptors on either side of homing
	n := (conns + most - 1) / most
	var groups []*idleGroup
	for i := range n {
		g := &idleGroup{peer: startIdlePeer(t, i), conns: conns*(i+1)/n - conns*i/n}
		g.h = startHoming(t, g.peer.backends, "--loops", "1", "--engine", engine, "--table-entries", "4096",
			"--client-entries", "4096", "--probe", "off")
		groups = append(groups, g)
	}
	all := func(command func(g *idleGroup) string) {
		for _, g := range groups {
			g.peer.say(t, command(g))
		}
		for _, g := range groups {
			g.peer.heed(t)
		}
	}
	grow := func(share int) {
		all(func(g *idleGroup) string { return fmt.Sprintf("grow %d %s", g.conns*share/5, g.h.addr) })
	}
	held := func() (own, sockets, conns int64) {
		for _, g := range groups {
			own += g.h.settledMemory(t)
			sockets += int64(g.h.files(t).sockets)
			conns += int64(g.h.metrics(t)["homing_conns_open"])
		}
		return own, sockets, conns
	}
	grow(1) // tables, stacks and the heap's first growth
	own, sockets, open := held()
	kernel := slab(t)
	grow(5)
	ownNow, socketsNow, openNow := held()
	kernel = slab(t) - kernel
	more := float64(openNow - open)
	perConn := float64(ownNow-own) / more
	t.Logf("%d conns in %d homing: %.0f bytes and %.2f descriptors a conn; in the kernel, clients' and backends' sides included, %.1f kB",
		conns, n, perConn, float64(socketsNow-sockets)/more, float64(kernel)/more/(1<<10))
	if perConn > idleMemory && soak() { // fewer are too few to tell from what the heap takes at a time
		t.Errorf("%.0f bytes for an idle conn, %.0f are allowed", perConn, float64(idleMemory))
	}
	if int(openNow) != conns {
		t.Errorf("homing says that %d conns are open, there are %d", openNow, conns)
	}
	all(func(*idleGroup) string { return "ping" })
}

// settledMemory is homing's resident memory once it has stopped changing.
func (h *homing) settledMemory(t *testing.T) int64 {
	t.Helper()
	last, _ := h.memory(t)
	testkit.Wait(10*time.Second, func() bool {
		before := last
		time.Sleep(300 * time.Millisecond)
		last, _ = h.memory(t)
		return last == before
	})
	return last
}

// slab is the memory of the kernel's own objects, sockets among them (Slab, proc(5)), in bytes.
func slab(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/meminfo")
	testkit.Check(t, err)
	_, rest, _ := strings.Cut(string(b), "\nSlab:")
	var kB int64
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatalf("no Slab in /proc/meminfo: %v", err)
	}
	return kB << 10
}
