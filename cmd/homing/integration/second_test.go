package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench/tlsclient"
	"homing/cmd/homing/internal/farm"
)

const (
	rounds  = 7
	window  = time.Second // of load on one arm in one round
	loaders = 32          // concurrent clients, each with a session of its own
)

// arm is one way to serve: a balancer, and backends behind it.
type arm struct {
	name    string
	addr    string
	servers []*farm.Nginx
}

// sample is one window of load on one arm.
type sample struct {
	rate    float64 // conns per second
	resumed float64 // share of offers accepted
	cpu     float64 // microseconds of the backends' CPU per conn
}

// BenchmarkSecondBackend answers what a second and third backend do to short TLS conns of clients that resume: three
// nginx behind homing, and behind HAProxy's round robin, against one nginx behind HAProxy. One nginx behind homing tells
// how much of a difference is the balancer's. The arms take turns in each round, both balancers have one thread. The
// clients run on the same machine and cost more than the backends do, so the ratio of rates understates what a lost
// resumption costs the servers; their own CPU stands beside it.
func BenchmarkSecondBackend(b *testing.B) {
	servers, cert := three(b, farm.NginxConfig{QuietLog: true}, farm.NewRSA)
	arms := []arm{
		{"one nginx, HAProxy", startHAProxy(b, servers[0].Addr()), servers[:1]},
		{"three nginx, homing", startHoming(b, addrs(servers), "--loops", "1").addr, servers},
		{"three nginx, HAProxy round robin", startHAProxy(b, addrs(servers)...), servers},
		{"one nginx, homing", startHoming(b, addrs(servers[:1]), "--loops", "1").addr, servers[:1]},
	}
	for b.Loop() {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			samples := make([][]sample, len(arms))
			for round := range rounds {
				for turn := range arms {
					i := (turn + round) % len(arms) // each arm follows each other one
					samples[i] = append(samples[i], arms[i].load(b, cert, version))
				}
			}
			report(b, version, arms, samples)
		}
	}
}

func startHAProxy(b *testing.B, backends ...string) string {
	b.Helper()
	p, err := farm.StartHAProxy(b.Context(), backends...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Stop(); err != nil {
			b.Error(err)
		}
	})
	return p.Addr()
}

// load lets the clients connect as fast as they get answers, for one window.
func (a *arm) load(b *testing.B, cert *farm.Certificate, version uint16) sample {
	b.Helper()
	list := make([]*tlsclient.Client, loaders)
	for i := range list {
		list[i] = tlsclient.New(clientConfig(cert, version))
		for range 3 { // a session first, and the rest warms up
			if _, err := list[i].Get(b.Context(), a.addr); err != nil {
				b.Fatal(err)
			}
		}
	}
	ctx, stop := context.WithTimeout(b.Context(), window)
	defer stop()
	var wg sync.WaitGroup
	tallies, errs := make([]tally, len(list)), make([]error, len(list))
	before, start := a.cpu(b), time.Now()
	for i, c := range list {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				var r tlsclient.Result
				if r, errs[i] = c.Get(context.WithoutCancel(ctx), a.addr); errs[i] == nil {
					tallies[i].add(r)
				}
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(start), a.cpu(b)-before
	var sum tally
	for i := range tallies {
		if errs[i] != nil {
			b.Fatalf("%s: %v", a.name, errs[i])
		}
		sum.conns += tallies[i].conns
		sum.offered += tallies[i].offered
		sum.accepted += tallies[i].accepted
	}
	return sample{
		rate:    float64(sum.conns) / took.Seconds(),
		resumed: float64(sum.accepted) / float64(max(sum.offered, 1)),
		cpu:     float64(cpu.Microseconds()) / float64(max(sum.conns, 1)),
	}
}

// cpu is the CPU time the backends have used, from schedstat (nanoseconds on a CPU, first field).
func (a *arm) cpu(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, n := range a.servers {
		for _, pid := range n.PIDs() {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
			if err != nil {
				b.Fatal(err)
			}
			var ns int64
			if _, err := fmt.Sscan(string(stat), &ns); err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum
}

// report prints medians over the rounds. The ratio is that of the same round, so that what slows the machine for a
// while slows both sides of it.
func report(b *testing.B, version uint16, arms []arm, samples [][]sample) {
	b.Helper()
	var t strings.Builder
	fmt.Fprintf(&t, "\n%s, %d clients, %d rounds of %v, medians\n", tls.VersionName(version), loaders, rounds, window)
	fmt.Fprintf(&t, "%-34s %8s %8s %9s %12s\n", "", "conns/s", "ratio", "resumed", "backend CPU")
	for i := range arms {
		ratio := median(samples[i], func(n int, s sample) float64 { return s.rate / samples[0][n].rate })
		fmt.Fprintf(&t, "%-34s %8.0f %8.2f %8.1f%% %9.0f us\n", arms[i].name,
			median(samples[i], func(_ int, s sample) float64 { return s.rate }), ratio,
			100*median(samples[i], func(_ int, s sample) float64 { return s.resumed }),
			median(samples[i], func(_ int, s sample) float64 { return s.cpu }))
		if i > 0 {
			name := strings.ReplaceAll(tls.VersionName(version)+" "+strings.ReplaceAll(arms[i].name, ",", ""), " ", "-")
			b.ReportMetric(ratio, name)
		}
	}
	fmt.Print(t.String())
}

func median(list []sample, value func(n int, s sample) float64) float64 {
	var v []float64
	for n, s := range list {
		v = append(v, value(n, s))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
