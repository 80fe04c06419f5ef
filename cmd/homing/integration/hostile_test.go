package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

const (
	silentConns  = 2000
	slowReaders  = 500
	goodUsers    = 4 // of each kind, and as many goroutines
	helloTimeout = 3 * time.Second
	helloLimit   = 16 << 10 // the default
	// constant is what homing may take beside its buffers under attack: 5,000 conns at once, most in their handshake, at
	// 2 kB each, twice, for the garbage collector lets the heap double; and what one turn of a loop may receive before it
	// sheds, 8 MiB.
	constant = 32 << 20
	// flood is what a backend sends to a client that does not read: more than the kernel's queues take.
	flood = 2 << 20
)

// 10,000 clients with hellos that are random, truncated, oversized or sent byte by byte, 2,000 that say nothing and 500
// that do not read, at once, among clients that resume at real nginx: those lose nothing, the deadlines are kept, the
// memory stays below its bound, and nothing is left over.
func TestIntegrationHostile(t *testing.T) {
	for _, tt := range []struct {
		memory int64
		sheds  bool
	}{{256 << 20, false}, {8 << 20, true}} {
		t.Run(fmt.Sprintf("buffer-memory=%dMiB", tt.memory>>20), func(t *testing.T) { hostile(t, tt.memory, tt.sheds) })
	}
}

func hostile(t *testing.T, buffers int64, sheds bool) {
	const loops = 2
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	flooder := testkit.FreeAddr(t)
	// The flooder is down while the good clients get their sessions.
	h := startHoming(t, append(addrs(servers), flooder), "--loops", "2", "--hello-timeout", helloTimeout.String(),
		"--buffer-memory", fmt.Sprintf("%dMiB", buffers>>20), "--check-interval", "200ms", "--log-level", "error")
	var groups [goodUsers][]user
	for i := range groups {
		for _, kind := range []func() user{goUser(cert, tls.VersionTLS12), goUser(cert, tls.VersionTLS13), idUser(cert)} {
			groups[i] = append(groups[i], users(t, h.addr, goodUsers, kind)...)
		}
		reconnect(t, h.addr, groups[i], 50)
	}
	var hellos [][]byte
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		hello, err := newGoClient(clientConfig(cert, version)).Hello()
		testkit.Check(t, err)
		hellos = append(hellos, hello)
	}
	calm := goodDuring(t, h.addr, groups[:], 2*time.Second)
	startFlooder(t, flooder)
	testkit.Eventually(t, "the flooding backend is up", func() bool { return h.up(t, flooder) })
	h.recovers(t, h.files(t), loops, 5*time.Second)
	known, files := h.metrics(t), h.files(t)
	rss, _ := h.memory(t)

	clock := watchMachine(t)
	a := newAttack(h.addr, hellos)
	during, worst := a.run(t, h, groups[:])
	t.Logf("good clients before: %v", &calm)
	t.Logf("good clients during the attack of %v: %v", a.took.Round(time.Millisecond), &during)
	if failed := during.failures(clock); during.refused() > 0 || failed > 0 {
		t.Errorf("good clients lost %d resumptions and %d conns", during.refused(), failed)
	}
	a.report(t, clock)
	took := h.recovers(t, files, loops, 20*time.Second)
	after := goodDuring(t, h.addr, groups[:], 2*time.Second)
	t.Logf("good clients afterwards: %v", &after)
	if failed := after.failures(clock); after.refused() > 0 || failed > 0 {
		t.Errorf("good clients lost %d resumptions and %d conns afterwards", after.refused(), failed)
	}

	now, peak := h.memory(t)
	m := h.metrics(t)
	// Twice the buffer memory is the hard limit.
	bound := rss + 2*buffers + constant
	t.Logf("at most %.0f conns open, %s in buffers; RSS %s before, %s at most (bound %s), %s after; everything let go %v after the last client", worst.conns,
		mebi(int64(worst.buffers)), mebi(rss), mebi(peak), mebi(bound), mebi(now), took.Round(time.Millisecond))
	shed := m["homing_conns_shed_total"]
	t.Logf("%v of %v conns shed; hellos: %s", shed, m["homing_conns_accepted_total"], outcomes(m))
	if peak > bound {
		t.Errorf("%s of memory, bound %s", mebi(peak), mebi(bound))
	}
	if (shed > 0) != sheds {
		t.Errorf("%v conns were shed", shed)
	}
	h.nothingLost(t, known, servers)
}

// Partial hellos of one size after another fill the buffers: what small ones leave behind must serve large ones.
func TestIntegrationHostileSizes(t *testing.T) {
	const limit = 64 << 20
	servers, _ := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), "--loops", "1", "--hello-timeout", "1m", "--buffer-memory", "64MiB", "--log-level", "error")
	h.metrics(t)
	files := h.files(t)
	rss, _ := h.memory(t)
	a := newAttack(h.addr, nil)
	// Bytes of hello in a record: what a client adds is 5 bytes for each.
	for _, tt := range []struct{ record, buffer int }{{1 << 14, 16 << 10}, {8, 32 << 10}, {2, 64 << 10}, {1, 128 << 10}, {1 << 14, 16 << 10}} {
		hello := bigHello(helloLimit-100, tt.record)
		var sending sync.WaitGroup
		release := make(chan struct{})
		for range limit/tt.buffer + limit/tt.buffer/10 {
			sending.Go(func() {
				conn := a.open(t.Context(), nil)
				if conn == nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Write(hello[:len(hello)-1]) // those beyond the limit are reset meanwhile
				<-release
			})
		}
		least := float64(limit) * 0.95
		full := testkit.Wait(testkit.Patience, func() bool { return h.metrics(t)["homing_buffer_bytes"] >= least })
		m := h.metrics(t)
		now, peak := h.memory(t)
		t.Logf("buffers of %d KiB: %v conns open, %v shed so far, %s in buffers, RSS %s, at most %s", tt.buffer>>10, m["homing_conns_open"],
			m["homing_conns_shed_total"], mebi(int64(m["homing_buffer_bytes"])), mebi(now), mebi(peak))
		if !full {
			t.Errorf("buffers of %d KiB: not full", tt.buffer>>10)
		}
		close(release)
		sending.Wait()
		h.recovers(t, files, 1, 20*time.Second)
	}
	if _, peak := h.memory(t); peak > rss+limit+constant {
		t.Errorf("%s of memory, bound %s", mebi(peak), mebi(rss+limit+constant))
	}
	for why, list := range a.unopened {
		t.Errorf("%d hostile clients could not connect: %s", len(list), why)
	}
}

// outcomes lists what homing took the hellos for.
func outcomes(m map[string]float64) string {
	var list []string
	for name, v := range m {
		var outcome string
		if n, _ := fmt.Sscanf(name, "homing_hellos_total{outcome=%q}", &outcome); n == 1 && v > 0 {
			list = append(list, fmt.Sprintf("%s %.0f", outcome, v))
		}
	}
	slices.Sort(list)
	return fmt.Sprint(list)
}

// timedTally is a tally with times and failures.
type timedTally struct {
	tally
	failed int
	first  error     // of the failures
	when   []stretch // those that failed
	times  []time.Duration
}

func (c *timedTally) String() string {
	slices.Sort(c.times)
	at := func(q float64) time.Duration {
		if len(c.times) == 0 {
			return 0
		}
		return c.times[int(q*float64(len(c.times)-1))].Round(10 * time.Microsecond)
	}
	s := fmt.Sprintf("%v, %d failed, p50 %v, p99 %v, max %v", &c.tally, c.failed, at(0.5), at(0.99), at(1))
	if c.first != nil {
		s += fmt.Sprintf(" (%v)", c.first)
	}
	return s
}

// failures counts the conns that failed, but for those of clients whom the machine kept from a hello in time.
func (c *timedTally) failures(clock *machineClock) int {
	return len(slices.DeleteFunc(slices.Clone(c.when), func(s stretch) bool { return clock.spoiled(s, helloTimeout) }))
}

// goodUntilDone lets each group of users reconnect, one after another, until ctx is done.
func goodUntilDone(ctx context.Context, addr string, groups [][]user) timedTally {
	var all timedTally
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, list := range groups {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				start := time.Now()
				r, err := list[i%len(list)].Get(context.WithoutCancel(ctx), addr)
				mu.Lock()
				if err != nil {
					if all.failed++; all.first == nil {
						all.first = err
					}
					all.when = append(all.when, stretch{start, time.Now()})
				} else {
					all.add(r)
				}
				all.times = append(all.times, time.Since(start))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

func goodDuring(t *testing.T, addr string, groups [][]user, d time.Duration) timedTally {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return goodUntilDone(ctx, addr, groups)
}
