//go:build soak

package replica

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// The figures that replication has to show, between two processes:
//
//	go test -tags soak -run '^TestSoak' -v ./cluster
//
// One process learns, the other one, this test binary again, is its peer. A fact's key is the time at which it was
// learned, by the clock that both processes share, so that the peer can tell how long it took until the fact was in its
// table.

const (
	soakPeer = "HOMING_SOAK_PEER" // where the learner is
	soakStop = "HOMING_SOAK_STOP" // the file whose appearance ends the peer
)

// A key has to be spread over the table, and the time to be found in it again.
const (
	spread   = 0x9e3779b97f4a7c15
	unspread = 0xf1de83e19937733d // its inverse modulo 2^64
)

// soakReport is what the peer tells at the end.
type soakReport struct {
	Facts               int
	P50, P99, P999, Max time.Duration
	HeapPeak            uint64 // bytes
	CaughtUp            time.Duration
	Used                int           // entries in the table
	CPU                 time.Duration // of the whole process

	mu        sync.Mutex
	latencies []time.Duration // guarded by mu
	got       int             // guarded by mu
}

func TestSoakPeerProcess(t *testing.T) {
	addr := os.Getenv(soakPeer)
	if addr == "" {
		t.Skip("is started by the others")
	}
	var report soakReport
	report.latencies = make([]time.Duration, 0, 2_000_000)
	n := startNode(t, "a", func(r *Config, a *affinity.Config) {
		r.times, r.Ring = realTimes(), 0
		a.Seed, a.TableEntries = 0, 1_200_000
		r.merged = func(facts []affinity.Fact) {
			at := time.Now().UnixNano()
			report.mu.Lock()
			for i := range facts {
				if learned := int64(uint64(facts[i].Key) * unspread); learned > 1e18 && at-learned < 1e12 {
					report.latencies = append(report.latencies, time.Duration(at-learned))
				}
			}
			report.got += len(facts)
			report.mu.Unlock()
		}
	})
	began := time.Now()
	n.r.SetPeers([]Peer{{ID: "b", Addr: addr}})
	testkit.Eventually(t, "caught up", func() bool { return n.peerStats("b").Filled > 0 })
	report.CaughtUp = time.Since(began)
	fmt.Println("ready")
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		report.HeapPeak = max(report.HeapPeak, m.HeapAlloc)
		if _, err := os.Stat(os.Getenv(soakStop)); err == nil {
			break
		}
	}
	report.mu.Lock()
	defer report.mu.Unlock()
	report.Facts, report.Used = report.got, n.store.Stats().Entries.Used
	slices.Sort(report.latencies)
	if l := report.latencies; len(l) > 0 {
		at := func(q float64) time.Duration { return l[min(int(q*float64(len(l))), len(l)-1)] }
		report.P50, report.P99, report.P999, report.Max = at(.5), at(.99), at(.999), l[len(l)-1]
	}
	if err := json.NewEncoder(os.Stdout).Encode(&report); err != nil {
		t.Fatal(err)
	}
}

// soak runs work against a peer process and returns what that reports.
func soak(t *testing.T, b *testNode, work func()) *soakReport {
	t.Helper()
	stop := t.TempDir() + "/stop"
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSoakPeerProcess$")
	cmd.Env = append(os.Environ(), soakPeer+"="+b.r.Addr().String(), soakStop+"="+stop)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the peer says %q, %v", line, err)
	}
	work()
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	report := new(soakReport)
	if err := json.NewDecoder(lines).Decode(report); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	report.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return report
}

func soakNode(t *testing.T) *testNode {
	b := startNode(t, "b", func(r *Config, a *affinity.Config) {
		r.times, r.Ring = realTimes(), 0
		a.TableEntries = 1_200_000
	})
	b.r.SetPeers([]Peer{{ID: "a"}}) // it dials us
	return b
}

// learnAt learns so many facts a second for that long, on one goroutine.
func (n *testNode) learnAt(rate int, long time.Duration) (learned int) {
	began := time.Now()
	for {
		at := time.Since(began)
		if at > long {
			return learned
		}
		for due := int(at.Seconds() * float64(rate)); learned < due; learned++ {
			n.pool.IssuedID(affinity.Key(uint64(time.Now().UnixNano())*spread), 1+uint32(learned%9), now())
		}
		time.Sleep(50 * time.Microsecond)
	}
}

func TestSoakLatency(t *testing.T) {
	b := soakNode(t)
	learned := 0
	r := soak(t, b, func() {
		learned = b.learnAt(20_000, 10*time.Second)
		testkit.Eventually(t, "acknowledged", func() bool { return b.peerStats("a").Unacked == 0 })
	})
	p := b.peerStats("a")
	t.Logf("20,000/s for 10 s: %d learned, %d merged, p50 %v p99 %v p99.9 %v max %v, %.1f bytes out and %.1f in per session (frames), peer heap %d kB, peer CPU %v",
		learned, r.Facts, r.P50, r.P99, r.P999, r.Max, float64(p.BytesOut)/float64(learned),
		float64(p.BytesIn)/float64(learned), r.HeapPeak>>10, r.CPU)
	if r.Facts != learned || r.P99 > 2*time.Millisecond {
		t.Errorf("%d of %d, p99 %v", r.Facts, learned, r.P99)
	}
}

func TestSoakThroughput(t *testing.T) {
	b := soakNode(t)
	learned := 0
	var m runtime.MemStats
	r := soak(t, b, func() {
		learned = b.learnAt(100_000, 10*time.Second)
		runtime.ReadMemStats(&m)
		testkit.Eventually(t, "acknowledged", func() bool { return b.peerStats("a").Unacked == 0 })
	})
	p := b.peerStats("a")
	t.Logf("100,000/s for 10 s: %d learned, %d merged, %d overflows, p50 %v p99 %v max %v, %.1f bytes out per session, heap: learner %d kB, peer %d kB at most",
		learned, r.Facts, p.Overflow, r.P50, r.P99, r.Max, float64(p.BytesOut)/float64(learned), m.HeapAlloc>>10,
		r.HeapPeak>>10)
	if r.Facts != learned || learned < 990_000 || p.Overflow != 0 || r.HeapPeak > 64<<20 {
		t.Errorf("%d of %d", r.Facts, learned)
	}
}

func TestSoakCatchUp(t *testing.T) {
	b := soakNode(t)
	for i := range 1_000_000 {
		b.pool.IssuedID(sessionKey(i), 1+uint32(i%9), now())
	}
	r := soak(t, b, func() {})
	p := b.peerStats("a")
	t.Logf("1,000,000 entries: caught up in %v from the dial on, %d entries there, %d merged, %.1f bytes per entry",
		r.CaughtUp, r.Used, r.Facts, float64(p.BytesOut)/1e6)
	if r.CaughtUp > 2*time.Second || r.Facts < 999_000 {
		t.Errorf("%d in %v", r.Facts, r.CaughtUp)
	}
}
