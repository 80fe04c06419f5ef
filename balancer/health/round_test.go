package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// A backend that listens on nothing is none of the probe's business: the checks say so.
func TestFindingsUnreachable(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	l.Close()
	lab := newLab(t, nil, l.Addr().String())
	result, f := lab.round(lab.targets()[0])
	if result != outcomeFailed || f.Err != "connection refused" || !f.Success.IsZero() || f.Last.IsZero() {
		t.Errorf("outcome %d, findings %+v", result, f)
	}
	if lines := lab.log.Take(); len(lines) > 0 {
		t.Errorf("log: %q", lines)
	}
}

// Two backends with one ticket key: affinity knows both as its home, and the findings say so.
func TestFindingsSharedKey(t *testing.T) {
	a, b, c := serve(t, named(keyA), nil), serve(t, named(keyA), nil), serve(t, named(keyB), nil)
	lab := newLab(t, nil, a.addr, b.addr, c.addr)
	targets := lab.targets()
	for _, tg := range targets {
		lab.round(tg)
	}
	homes := func(tg *target) int {
		for _, n := range tg.findings(uint32(time.Now().Unix())).Names {
			return len(n.Versions[0].Key.Homes)
		}
		return 0
	}
	want := map[string]int{a.addr: 2, b.addr: 2, c.addr: 1}
	for _, tg := range targets {
		testkit.Eventually(t, fmt.Sprintf("%s to share its key", tg.backend.Addr), func() bool { return homes(tg) == want[tg.backend.Addr.String()] })
	}
}

// A key that changes between two probes is news, told once, and both names stand.
func TestFindingsRotation(t *testing.T) {
	s := serve(t, named(keyA), nil)
	lab := newLab(t, nil, s.addr)
	tg := lab.targets()[0]
	learned := func(keys int) func() bool {
		return func() bool { return lab.store.Stats().Pools[0].Keys[2] == keys }
	}
	if result, f := lab.round(tg); result != outcomeNews || f.KeyChanges != 0 {
		t.Errorf("the first probe: outcome %d, %d key changes", result, f.KeyChanges)
	}
	testkit.Eventually(t, "the first key", learned(1))
	if result, f := lab.round(tg); result != outcomeSame || f.KeyChanges != 0 {
		t.Errorf("the second: outcome %d, %d key changes", result, f.KeyChanges)
	}
	s.rename(keyB)
	if result, f := lab.round(tg); result != outcomeNews || f.KeyChanges != 1 {
		t.Errorf("after the rotation: outcome %d, %d key changes", result, f.KeyChanges)
	}
	testkit.Eventually(t, "the second key", learned(2))
	if result, f := lab.round(tg); result != outcomeSame || f.KeyChanges != 1 {
		t.Errorf("the last: outcome %d, %d key changes", result, f.KeyChanges)
	}
	want := []string{`level=INFO msg="probe: the backend has a new ticket key" pool=web backend=ADDR`}
	if diff := cmp.Diff(want, lab.logged()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// A key older than the threshold is warned of once, and the line is taken back when another takes its place.
func TestFindingsOldKey(t *testing.T) {
	s := serve(t, named(keyA), nil)
	lab := newLab(t, func(cfg *ProbeConfig) { cfg.KeyAge = time.Nanosecond }, s.addr)
	tg := lab.targets()[0]
	lab.round(tg)
	testkit.Eventually(t, "the key", func() bool { return lab.store.Stats().Pools[0].Keys[2] == 1 })
	lab.log.Take()
	tg.warned = nil
	lab.round(tg)
	lab.round(tg)
	lines := lab.logged()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], `level=WARN msg="probe: ticket key in use for `) ||
		!strings.HasSuffix(lines[0], `: forward secrecy ends with it" pool=web backend=ADDR`) {
		t.Errorf("log: %q", lines)
	}
	lab.prober.cfg.KeyAge = time.Hour
	lab.round(tg)
	if diff := cmp.Diff([]string{`level=INFO msg="probe: no longer: ticket key in use for long" pool=web backend=ADDR`}, lab.logged()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		37*24*time.Hour + 5*time.Hour: "37 days", 47 * time.Hour: "47h0m0s", 1500 * time.Millisecond: "2s",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// Names are configured and from the traffic; each is asked for, and a backend may have several keys.
func TestNames(t *testing.T) {
	cert := certificate(t)
	configs := map[string]*tls.Config{}
	for name, key := range map[string]string{"a.example": keyA, "b.example": keyB} {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
		named(key)(new(server), cfg)
		configs[name] = cfg
	}
	s := serve(t, func(_ *server, cfg *tls.Config) {
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if configs[h.ServerName] == nil {
				return nil, fmt.Errorf("no name %q", h.ServerName)
			}
			return configs[h.ServerName], nil
		}
	}, nil)
	lab := newLab(t, func(cfg *ProbeConfig) { cfg.Names, cfg.FromTraffic = []string{"a.example"}, 1 }, s.addr)
	names := lab.pool.Names()
	for name, n := range map[string]int{"b.example": 3, "a.example": 4, "c.example": 2} {
		for range n {
			names.Completed(names.Offer([]byte(name)))
		}
	}
	tg := lab.targets()[0]
	if diff := cmp.Diff([]string{"", "a.example"}, tg.names()); diff != "" {
		t.Errorf("the most used name is configured (-want +got):\n%s", diff)
	}
	lab.prober.cfg.FromTraffic = 2
	result, _ := lab.round(tg)
	want := "() alert from the backend: internal error " +
		"(a.example) 1.3: 2 tickets resumed 168h0m0s 16 bytes; 1.2: 2 tickets resumed 16 bytes; " +
		"(b.example) 1.3: 2 tickets resumed 168h0m0s 16 bytes; 1.2: 2 tickets resumed 16 bytes"
	testkit.Eventually(t, "two keys", func() bool { return words(tg.findings(uint32(time.Now().Unix()))) == want })
	if result != outcomeNews {
		t.Errorf("outcome %d", result)
	}
	if lines := lab.log.Take(); len(lines) > 0 {
		t.Errorf("a backend may refuse a hello without a name: %q", lines)
	}
	worst := tg.findings(uint32(time.Now().Unix()))
	if w := worst.Worst(); len(w) != 2 || w[0].Version != tls.VersionTLS13 || w[0].Key.Len != 16 || !w[1].Resumed {
		t.Errorf("worst: %+v", w)
	}
}

// What cannot be measured for want of something on this machine changes nothing.
func TestRoundShortage(t *testing.T) {
	lab := newLab(t, nil, "127.0.0.1:1")
	lab.prober.handshake = func(context.Context, netaddr.Addr, offer) (answer, error) {
		return answer{}, &handshakeError{err: dialed(syscall.EMFILE)}
	}
	if result, f := lab.round(lab.targets()[0]); result != outcomeNone || !f.Last.IsZero() || len(f.Handshakes) > 0 {
		t.Errorf("outcome %d, findings %+v", result, f)
	}
}
