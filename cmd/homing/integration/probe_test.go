package integration

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// probeMetric names a series of the probe about one backend.
func probeMetric(name, addr, labels string) string {
	if labels != "" {
		labels = "," + labels
	}
	return fmt.Sprintf(`homing_probe_%s{backend=%q,pool="default"%s}`, name, addr, labels)
}

const tls13 = `version="TLS 1.3"`

// probed waits until every backend was probed and its ticket key is known, and returns the metrics.
func (h *homing) probed(t *testing.T, servers []*farm.Nginx) map[string]float64 {
	t.Helper()
	var m map[string]float64
	ok := testkit.Wait(testkit.Patience, func() bool {
		m = h.metrics(t)
		for _, n := range servers {
			nameless, known := m[probeMetric("nameless", n.Addr(), tls13)]
			if !known || nameless == 1 {
				return false
			}
		}
		return true
	})
	if !ok {
		t.Fatalf("the probe does not know the ticket keys: %v", m)
	}
	return m
}

func newUser13(cert *farm.Certificate) *goClient {
	return newGoClient(clientConfig(cert, tls.VersionTLS13))
}

// With the probe the very first resumption after the start is accepted, in TLS 1.3 alone, where no ticket can be seen:
// each client makes one fresh conn, and then one that resumes, from another address.
func TestIntegrationProbeBeforeFirstResumption(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{Protocols: "TLSv1.3"}, farm.NewECDSA)
	begun := time.Now()
	h := startHoming(t, addrs(servers))
	m := h.probed(t, servers)
	t.Logf("all keys were known %v after the start began", time.Since(begun).Round(time.Millisecond))
	for _, n := range servers {
		for series, want := range map[string]float64{
			probeMetric("tickets", n.Addr(), tls13):                 3, // two of a full handshake, one of a resumption
			probeMetric("resumption_works", n.Addr(), tls13):        1,
			probeMetric("ticket_lifetime_seconds", n.Addr(), tls13): 300,
			probeMetric("ticket_key_backends", n.Addr(), tls13):     1,
		} {
			if m[series] != want {
				t.Errorf("%s is %v, want %v", series, m[series], want)
			}
		}
	}
	var c tally
	for range reconnects {
		u := newUser13(cert)
		for range 2 {
			r, err := u.Get(t.Context(), h.addr)
			testkit.Check(t, err)
			c.add(r)
		}
	}
	t.Logf("first resumptions: %v", &c)
	if c.offered != reconnects || c.refused() > 0 {
		t.Errorf("%d of %d first resumptions were refused", c.refused(), c.offered)
	}
	if routed := h.metrics(t)[`homing_routes_total{source="ticket_key"}`]; routed != reconnects {
		t.Errorf("%v conns were routed by ticket key, want %d", routed, reconnects)
	}
}

// One backend is reloaded, and a single refused ticket makes homing look: whoever comes after the probe with a ticket of
// the new key is resumed. Only the holders of old tickets lose one resumption each.
func TestIntegrationProbeNoticesReload(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{Protocols: "TLSv1.3"}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), "--probe-interval", "1h") // it must notice by itself
	h.probed(t, servers)
	const clients = 60
	list := users(t, h.addr, clients, goUser(cert, tls.VersionTLS13))
	before := map[user]string{}
	holders := 0
	for _, u := range list {
		r, err := u.Get(t.Context(), h.addr)
		if err != nil || !r.Resumed {
			t.Fatalf("%+v, %v", r, err)
		}
		before[u] = r.Backend
		if r.Backend == "a" {
			holders++
		}
	}
	reload(t, servers[0])
	begun := time.Now()
	changed := false
	var c tally
	for _, u := range list {
		r, err := u.Get(t.Context(), h.addr)
		testkit.Check(t, err)
		c.add(r)
		if lost := !r.Resumed; lost != (before[u] == "a") {
			t.Errorf("a client of %s: resumed %t", before[u], r.Resumed)
		}
		if !r.Resumed && !changed {
			changed = testkit.Wait(testkit.Patience, func() bool {
				return h.metrics(t)[probeMetric("ticket_key_changes_total", servers[0].Addr(), "")] == 1
			})
			t.Logf("the new key was known %v after the reload", time.Since(begun).Round(time.Millisecond))
		}
	}
	t.Logf("%d clients held an old ticket; first offers after the reload: %v", holders, &c)
	if !changed {
		t.Error("the probe did not notice")
	}
	if c.refused() != holders {
		t.Errorf("%d offers were refused, want the %d old tickets alone", c.refused(), holders)
	}
	// The tickets of the new key are accepted, the first already.
	c = tally{}
	for range 2 {
		for _, u := range list {
			r, err := u.Get(t.Context(), h.addr)
			testkit.Check(t, err)
			c.add(r)
		}
	}
	t.Logf("then: %v", &c)
	if c.refused() > 0 || c.offered != 2*clients {
		t.Errorf("%d of %d offers were refused", c.refused(), c.offered)
	}
}

// Backends that share a ticket key share the resumptions by weight, with TLS 1.3 alone.
func TestIntegrationProbeSharedKey(t *testing.T) {
	const conns = 6000
	key := make([]byte, 80)
	for i := range key {
		key[i] = byte(rand.Uint32())
	}
	servers, cert := three(t, farm.NginxConfig{Protocols: "TLSv1.3", TicketKey: key, QuietLog: true}, farm.NewECDSA)
	weights := []int{1, 2, 3}
	var specs []string
	for i, n := range servers {
		specs = append(specs, fmt.Sprintf("%s,weight=%d", n.Addr(), weights[i]))
	}
	h := startHoming(t, specs)
	h.probed(t, servers)
	testkit.Eventually(t, "the probe sees that the key is shared", func() bool {
		return h.metrics(t)[probeMetric("ticket_key_backends", servers[0].Addr(), tls13)] == 3
	})
	list := make(chan *goClient, 8)
	for range cap(list) {
		u := newUser13(cert)
		if _, err := u.Get(t.Context(), h.addr); err != nil {
			t.Fatal(err)
		}
		list <- u
	}
	met := inParallel(t, conns, func(int) (string, error) {
		u := <-list
		defer func() { list <- u }()
		r, err := u.Get(t.Context(), h.addr)
		if err == nil && !r.Resumed {
			err = fmt.Errorf("refused by %s", r.Backend)
		}
		return r.Backend, err
	})
	t.Logf("%d resumptions with the weights %v: %v", conns, weights, met)
	for i, n := range servers {
		want := float64(conns*weights[i]) / 6
		if got := float64(met[n.Name()]); got < 0.9*want || got > 1.1*want {
			t.Errorf("backend %s got %v resumptions, want %v within 10 %%", n.Name(), got, want)
		}
	}
}

// Backends without tickets of their own key have nothing to learn, and the probe says so.
func TestIntegrationProbeNameless(t *testing.T) {
	servers, _ := three(t, farm.NginxConfig{NoTickets: true}, farm.NewECDSA)
	h := startHoming(t, addrs(servers))
	ok := testkit.Wait(testkit.Patience, func() bool {
		m := h.metrics(t)
		for _, n := range servers {
			if m[probeMetric("nameless", n.Addr(), tls13)] != 1 || m[probeMetric("resumption_works", n.Addr(), tls13)] != 1 {
				return false
			}
			// By session ID it does, which the probe cannot see.
			if works, ok := m[probeMetric("resumption_works", n.Addr(), `version="TLS 1.2"`)]; !ok || works != 0 {
				return false
			}
		}
		return true
	})
	if !ok {
		t.Errorf("the probe found something else: %v", h.metrics(t))
	}
}
