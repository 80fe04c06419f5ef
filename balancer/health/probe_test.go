package health

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

func TestSuspectAllocatesNothing(t *testing.T) {
	lab := newLab(t, nil, one, two)
	for _, tg := range lab.targets() {
		lab.prober.edit(func(all map[uint32]*target) { all[uint32(tg.backend.ID)] = tg })
	}
	id := uint32(lab.pool.Snapshot().All()[0].ID)
	if n := testing.AllocsPerRun(100, func() {
		lab.prober.Suspect(id, false)
		lab.prober.Suspect(0, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestProbeConfig(t *testing.T) {
	lab := newLab(t, nil, one)
	store := lab.store
	for _, tt := range []struct {
		sentence string
		cfg      ProbeConfig
		ok       bool
	}{
		{"the store is all it needs", ProbeConfig{Store: store}, true},
		{"and it needs that", ProbeConfig{}, false},
		{"no names from traffic is a choice", ProbeConfig{Store: store, FromTraffic: -1}, true},
		{"a flood is none", ProbeConfig{Store: store, Interval: time.Millisecond}, false},
		{"nor is a negative timeout", ProbeConfig{Store: store, Timeout: -1}, false},
		{"or key age", ProbeConfig{Store: store, KeyAge: -1}, false},
		{"or number of probes", ProbeConfig{Store: store, Concurrent: -1}, false},
	} {
		if _, err := NewProber(lab.pool, tt.cfg); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.sentence, err)
		}
	}
}

// A prober that ends in the midst of handshakes leaves nothing behind, and waits for nobody.
func TestRunLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		var addrs []string
		connected := make(chan struct{}, 8)
		for range 4 {
			hang := func(s *server, c net.Conn) {
				connected <- struct{}{}
				s.ignore(c)
			}
			addrs = append(addrs, serve(t, nil, hang).addr)
		}
		addrs = append(addrs, serve(t, named(keyA), nil).addr)
		lab := newLab(t, func(cfg *ProbeConfig) { cfg.Timeout, cfg.Concurrent = time.Hour, 5 }, addrs...)
		files := openFiles(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { lab.prober.Run(ctx); close(ended) }()
		for range 4 {
			<-connected
		}
		testkit.Eventually(t, "the key", func() bool { return lab.store.Stats().Pools[0].Keys[2] == 1 })
		cancel()
		<-ended
		testkit.Eventually(t, "closed descriptors", func() bool { return openFiles(t) <= files })
		if len(lab.prober.Findings()) != 0 {
			t.Error("findings are left")
		}
	})
	testkit.Eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

// Backends that accept and say nothing do not keep others from being probed, however many there are and however long
// they are given.
func TestTarpits(t *testing.T) {
	const tarpits = 10
	connected := make(chan struct{}, tarpits)
	var addrs []string
	for range tarpits {
		addrs = append(addrs, serve(t, nil, func(s *server, c net.Conn) {
			connected <- struct{}{}
			s.ignore(c)
		}).addr)
	}
	lab := newLab(t, func(cfg *ProbeConfig) { cfg.Timeout = time.Hour }, addrs...)
	background(t, lab.prober.Run, func() {})
	testkit.Eventually(t, "all that do not answer: none waits for the others", func() bool { return len(connected) == tarpits })
	specs := []pool.Spec{{Addr: serve(t, named(keyA), nil).addr}}
	for _, addr := range addrs {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	if err := lab.pool.Set(specs); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the key of the one that answers", func() bool { return lab.store.Stats().Pools[0].Keys[2] == 1 })
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(files)
}
