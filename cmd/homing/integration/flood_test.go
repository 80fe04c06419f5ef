package integration

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/tlsclient"
)

const (
	floodGoodRate  = 100 // conns a second of good clients, open loop
	floodGoodUsers = 40  // of each kind
	floodRate      = 2000
)

// floodLimits are what keeps a flood away: no network of clients may have more conns than a busy office.
func floodLimits() []string {
	return []string{"--client-prefix4", "16", "--client-rate", "50", "--client-burst", "50", "--client-conns", "100"}
}

// goodSource is an address of a good client: none of floodPrefix.
func goodSource() *net.TCPAddr {
	return tlsclient.Loopback((100+rand.IntN(20))<<16 + 1 + rand.IntN(1<<16-2))
}

// paced lets good clients come at floodGoodRate for d, whatever becomes of them, and has each one's time from when it was
// to begin.
func paced(t *testing.T, addr string, free chan user, d time.Duration) timedTally {
	t.Helper()
	var all timedTally
	var mu sync.Mutex
	var open sync.WaitGroup
	began := time.Now()
	for i := range int(d.Seconds() * floodGoodRate) {
		due := began.Add(time.Duration(i) * time.Second / floodGoodRate)
		time.Sleep(time.Until(due))
		open.Go(func() {
			u := <-free
			r, err := u.Get(t.Context(), addr)
			took := time.Since(due)
			free <- u
			mu.Lock()
			defer mu.Unlock()
			all.times = append(all.times, took)
			if err == nil {
				all.add(r)
			} else if all.failed++; all.first == nil {
				all.first = err
			}
		})
	}
	open.Wait()
	slices.Sort(all.times)
	return all
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

// floodScene is a homing before real nginx with good clients that have their sessions.
type floodScene struct {
	*homing
	hello []byte
	free  chan user
}

func newFloodScene(t *testing.T, flags ...string) *floodScene {
	t.Helper()
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), append(flags, "--log-level", "error")...)
	s := &floodScene{homing: h, free: make(chan user, 3*floodGoodUsers)}
	at := func(version uint16) tlsclient.Config {
		cfg := clientConfig(cert, version)
		cfg.Source = goodSource
		return cfg
	}
	var err error
	if s.hello, err = newGoClient(at(tls.VersionTLS13)).Hello(); err != nil {
		t.Fatal(err)
	}
	for range floodGoodUsers {
		for _, u := range []user{newGoClient(at(tls.VersionTLS12)), newGoClient(at(tls.VersionTLS13)), tlsclient.NewID(at(tls.VersionTLS12))} {
			for range 2 { // the second teaches what the first could not
				if _, err := u.Get(t.Context(), h.addr); err != nil {
					t.Fatal(err)
				}
			}
			s.free <- u
		}
	}
	return s
}

// round is a quiet time and one with a flood.
func (s *floodScene) round(t *testing.T, d time.Duration, n, rate int) (quiet, flooded timedTally, f flooding) {
	t.Helper()
	quiet = paced(t, s.addr, s.free, d)
	flood := startFlood(t, s.addr, s.hello, n, rate)
	flooded = paced(t, s.addr, s.free, d)
	f = flood()
	t.Logf("quiet:   %v", &quiet)
	t.Logf("flooded: %v", &flooded)
	t.Logf("flood:   %v", f)
	return quiet, flooded, f
}

// share is the part of the offers that were accepted.
func (c *timedTally) share() float64 {
	return float64(c.accepted) / float64(max(1, c.offered+c.failed))
}

// A flood of fresh conns from one network, among good clients from others that resume at three real nginx: they lose
// nothing, and the flood is refused at the door but for what the limits leave to it. Times are told, not judged: see the
// soak.
func TestIntegrationFlood(t *testing.T) {
	length, n := 3*time.Second, 6000
	if soak() {
		t.Skip("TestIntegrationFloodSoak does more of it")
	}
	s := newFloodScene(t, floodLimits()...)
	quiet, flooded, f := s.round(t, length, n, floodRate)
	s.judge(t, &quiet, &flooded, f)
}

// judge says that the good clients have lost nothing, and that the flood was refused.
func (s *floodScene) judge(t *testing.T, quiet, flooded *timedTally, f flooding) {
	t.Helper()
	if quiet.share() < 0.99 || flooded.share() < 0.99*quiet.share() || quiet.failed+flooded.failed > 0 {
		t.Errorf("good clients: %.1f%% of offers accepted and %d failed while it was quiet, %.1f%% and %d in the flood",
			100*quiet.share(), quiet.failed, 100*flooded.share(), flooded.failed)
	}
	m := s.metrics(t)
	label := `homing_listener_refused_total{listener="` + s.addr + `",reason=%q}`
	refused := m[fmt.Sprintf(label, "source_rate")] + m[fmt.Sprintf(label, "source_conns")]
	allowed := int64(50*f.took.Seconds()) + 51 // rate and burst
	if f.answered > allowed || f.answered == 0 || f.failed > 0 || refused < float64(f.reset) {
		t.Errorf("flood: %v; at most %d may be answered; homing has refused %v", f, allowed, refused)
	}
}

// The flood at length, in rounds with quiet times between: 50,000 conns. It tells what it costs the good clients, and what
// it does where nothing is limited.
func TestIntegrationFloodSoak(t *testing.T) {
	const rounds, length = 5, 5 * time.Second
	if !soak() {
		t.Skip("takes minutes: make soak runs it")
	}
	for _, tt := range []struct {
		name  string
		flags []string
		rate  int
	}{{"limited", floodLimits(), floodRate}, {"unlimited", nil, floodRate}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newFloodScene(t, tt.flags...)
			var p50, p99 [2][]time.Duration
			slower := 0
			for range rounds {
				quiet, flooded, f := s.round(t, length, 50_000/rounds, tt.rate)
				if tt.flags != nil {
					s.judge(t, &quiet, &flooded, f)
				}
				for i, c := range []*timedTally{&quiet, &flooded} {
					p50[i], p99[i] = append(p50[i], quantile(c.times, 0.5)), append(p99[i], quantile(c.times, 0.99))
				}
			}
			for i := range p99[0] {
				if p99[1][i] > p99[0][i]*11/10 {
					slower++
				}
			}
			for i := range p50 {
				slices.Sort(p50[i])
				slices.Sort(p99[i])
			}
			ratio := float64(p99[1][rounds/2]) / float64(p99[0][rounds/2])
			t.Logf("medians of %d rounds: p50 %v quiet, %v flooded; p99 %v quiet, %v flooded, a ratio of %.2f", rounds,
				p50[0][rounds/2].Round(time.Microsecond), p50[1][rounds/2].Round(time.Microsecond),
				p99[0][rounds/2].Round(time.Microsecond), p99[1][rounds/2].Round(time.Microsecond), ratio)
			if tt.flags != nil && ratio > 1.1 && slower > rounds/2 {
				t.Errorf("the p99 of good clients is %.0f %% above that of quiet times, in %d of %d rounds by more than a tenth",
					100*(ratio-1), slower, rounds)
			}
		})
	}
}
