package integration

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// ticketKey is the content of a new file of nginx's ssl_session_ticket_key.
func ticketKey() []byte {
	key := make([]byte, 80)
	_, _ = rand.Read(key) // never fails
	return key
}

// keyed starts three nginx a, b and c that encrypt tickets under the given keys.
func keyed(t *testing.T, keys ...[]byte) ([]*farm.Nginx, *farm.Certificate) {
	t.Helper()
	needServers(t)
	cert := newECDSA(t)
	var servers []*farm.Nginx
	for i, key := range keys {
		n, err := farm.StartNginx(t.Context(), farm.NginxConfig{
			Name: string(rune('a' + i)), Certificates: []*farm.Certificate{cert}, TicketKey: key, QuietLog: true,
		})
		testkit.Check(t, err)
		stops(t, n)
		servers = append(servers, n)
	}
	return servers, cert
}

// rekey gives nginx another ticket key.
func rekey(t *testing.T, n *farm.Nginx, key []byte) {
	t.Helper()
	testkit.Check(t, os.WriteFile(n.File("ticket.key"), key, 0o600)) // as it was written at the start
	reload(t, n)
}

// A backend that loses a ticket key while another holds it stops being a home of that key: after at most ten refusals, or
// one look of the probe, as many offers are accepted as before.
func TestIntegrationKeyMoved(t *testing.T) {
	type move struct {
		name   string
		shared bool // all three begin with one key
		after  func(t *testing.T, servers []*farm.Nginx, keys [][]byte)
	}
	moves := []move{
		{"two exchange their keys", false, func(t *testing.T, servers []*farm.Nginx, keys [][]byte) {
			rekey(t, servers[0], keys[1])
			rekey(t, servers[1], keys[0])
		}},
		{"one of three that share a key loses it", true, func(t *testing.T, servers []*farm.Nginx, _ [][]byte) {
			rekey(t, servers[2], ticketKey())
		}},
	}
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		for _, m := range moves {
			for _, probe := range []string{"on", "off"} {
				t.Run(fmt.Sprintf("%s/%s/probe=%s", tls.VersionName(version), m.name, probe), func(t *testing.T) {
					keys := [][]byte{ticketKey(), ticketKey(), ticketKey()}
					if m.shared {
						keys[1], keys[2] = keys[0], keys[0]
					}
					servers, cert := keyed(t, keys...)
					h := startHoming(t, addrs(servers), "--probe="+probe)
					list := users(t, h.addr, 60, goUser(cert, version))
					reconnect(t, h.addr, list, 100) // learns the keys
					before := reconnect(t, h.addr, list, 150)
					m.after(t, servers, keys)

					refusals, worked := untilBack(t, h, list)
					after := reconnect(t, h.addr, list, 200)
					t.Logf("before: %v; refusals until it was back: %d in %v; after: %v; lost %v", &before, refusals, worked, &after, h.lost(t))
					if limit := 40; probe == "on" && refusals > limit { // at twenty a second: measured are 2 to 8
						t.Errorf("%d refusals until the probe had found it, more than %d", refusals, limit)
					}
					if before.refused() > 0 {
						t.Errorf("refused before anything happened: %v", &before)
					}
					limit := after.offered / 50
					if probe == "off" { // clients alone find out, one by one: 0 to 17 of 200 were seen
						limit = after.offered / 8
					}
					if after.refused() > limit {
						t.Errorf("%d of %d refused afterwards, more than %d", after.refused(), after.offered, limit)
					}
				})
			}
		}
	}
}

// What one node's probe finds heals the other too, before any client of its own is refused there.
func TestIntegrationKeyMovedInCluster(t *testing.T) {
	shared := ticketKey()
	servers, cert := keyed(t, shared, shared, shared)
	w := newTown(t)
	w.build(t, 2)
	for _, n := range servers {
		w.agent(t, n.Addr(), "--check", "tls")
	}
	for _, n := range servers {
		testkit.Eventually(t, "the backend is everywhere", w.everywhere(t, n.Addr()))
	}
	for _, n := range w.nodes {
		testkit.Eventually(t, "three homes", func() bool { return n.homes(t) == 3 })
	}
	here, there := users(t, w.nodes[0].addr, 30, goUser(cert, tls.VersionTLS13)), users(t, w.nodes[1].addr, 30, goUser(cert, tls.VersionTLS13))
	rekey(t, servers[2], ticketKey())
	refusals, worked := untilBack(t, &w.nodes[0].homing, here)
	testkit.Eventually(t, "two homes at the other node", func() bool { return w.nodes[1].homes(t) == 2 })
	var c tally
	for _, u := range there { // each once: who was refused would have another ticket
		r, err := u.Get(t.Context(), w.nodes[1].addr)
		testkit.Check(t, err)
		c.add(r)
	}
	t.Logf("at the one node %d refusals in %v; at the other %v", refusals, worked, &c)
	if c.refused() > 0 {
		t.Errorf("at the other node: %v", &c)
	}
}

// homes is how many backends hold the ticket key that most of them do.
func (n *node) homes(t *testing.T) (most int) {
	t.Helper()
	resp, err := http.Get("http://" + n.admin + "/v1/ticket-keys")
	testkit.Check(t, err)
	defer resp.Body.Close()
	var all struct {
		TicketKeys []struct {
			Backends []struct{} `json:"backends"`
		} `json:"ticket_keys"`
	}
	testkit.Check(t, json.NewDecoder(resp.Body).Decode(&all))
	for _, key := range all.TicketKeys {
		most = max(most, len(key.Backends))
	}
	return most
}

// A home stays one however many forged tickets with its key's name it refuses, from however many networks, for longer
// than doubt takes: of good clients so rare that their acceptances do not hide the flood, every one is resumed.
func TestIntegrationKeyStays(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			shared := ticketKey()
			servers, cert := keyed(t, shared, shared, ticketKey())
			h := startHoming(t, addrs(servers))
			list := users(t, h.addr, 12, goUser(cert, version))
			reconnect(t, h.addr, list, 60)
			known := h.metrics(t)

			ctx, stop := context.WithCancel(t.Context())
			var flood sync.WaitGroup
			flood.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					junk := junkTicket(t, list[i%len(list)].(*goClient).Copy())
					if _, err := firstAnswer(context.WithoutCancel(ctx), h.addr, tlsclient.Loopback(1<<16+i*131), junk); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
			var during tally
			for range 4 {
				time.Sleep(3 * time.Second)
				for _, u := range list {
					r, err := u.(*goClient).Copy().Get(t.Context(), h.addr)
					if err != nil {
						t.Error(err)
						break
					}
					during.add(r)
				}
			}
			stop()
			flood.Wait()
			after := reconnect(t, h.addr, list, 100)
			t.Logf("during: %v; after: %v; lost %v", &during, &after, h.lost(t))
			if during.refused() > 0 || after.refused() > 0 {
				t.Errorf("good clients were refused %d times meanwhile, %d afterwards", during.refused(), after.refused())
			}
			h.nothingLost(t, known, servers)
		})
	}
}

// untilBack lets users reconnect at twenty a second until 60 in a row were accepted, or a thousand have come, and counts the
// refusals until then. Without a probe it takes 17 to 140 of them.
func untilBack(t *testing.T, h *homing, list []user) (refusals int, took time.Duration) {
	t.Helper()
	begun := time.Now()
	// Conns teach, and not the time between them.
	for row, left := 0, 1000; row < 60 && left > 0; left-- {
		row++
		if c := reconnect(t, h.addr, list, 1); c.refused() > 0 {
			refusals, row = refusals+1, 0
			took = time.Since(begun)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return refusals, took.Round(time.Millisecond)
}

// lost is homing_lost_total by reason, without those that are zero.
func (h *homing) lost(t *testing.T) map[string]float64 {
	t.Helper()
	return h.by(t, "homing_lost_total", "reason")
}

// by is a metric by its only label, without those that are zero.
func (h *homing) by(t *testing.T, metric, label string) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	for name, n := range h.metrics(t) {
		var value string
		if _, err := fmt.Sscanf(name, metric+"{"+label+"=%q}", &value); err == nil && n > 0 {
			counts[value] = n
		}
	}
	return counts
}
