package integration

import (
	"crypto/tls"
	"fmt"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

const (
	reconnects = 200
	clients    = 10
	// perKey is how many offers may be refused for each ticket key while it is learned: TLS 1.3 shows a key only when a
	// backend accepts a ticket under it, and with three backends two guesses can go wrong.
	perKey   = 2
	backends = 3
)

func goUser(cert *farm.Certificate, version uint16) func() user {
	return func() user { return newGoClient(clientConfig(cert, version)) }
}

func idUser(cert *farm.Certificate) func() user {
	return func() user { return tlsclient.NewID(clientConfig(cert, tls.VersionTLS12)) }
}

// Three nginx, 200 reconnects, one after another, each from another source address.
func TestIntegrationResume(t *testing.T) {
	noTickets := farm.NginxConfig{NoTickets: true}
	for _, tt := range []struct {
		name    string
		nginx   farm.NginxConfig
		offer   string // as homing's metrics call it
		refused int    // at most
		run     func(t *testing.T, cert *farm.Certificate, addr string) tally
	}{
		{"ID/openssl", noTickets, "id", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, newOpenSSL(t, cert, "-tls1_2", "-no_ticket")), reconnects)
		}},
		{"ID/curl", noTickets, "id", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnectCurl(t, cert, addr, "--tls-max", "1.2")
		}},
		{"ID/own", noTickets, "id", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, idUser(cert)), reconnects)
		}},
		{"ticket/openssl", farm.NginxConfig{}, "ticket", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, newOpenSSL(t, cert, "-tls1_2")), reconnects)
		}},
		{"ticket/Go", farm.NginxConfig{}, "ticket", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, goUser(cert, tls.VersionTLS12)), reconnects)
		}},
		{"TLS13/openssl", farm.NginxConfig{}, "psk", perKey * backends, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, newOpenSSL(t, cert, "-tls1_3")), reconnects)
		}},
		{"TLS13/curl", farm.NginxConfig{}, "psk", perKey * backends, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnectCurl(t, cert, addr, "--tlsv1.3")
		}},
		{"TLS13/Go", farm.NginxConfig{}, "psk", perKey * backends, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			return reconnect(t, addr, users(t, addr, clients, goUser(cert, tls.VersionTLS13)), reconnects)
		}},
		{"TLS13 after TLS12/Go", farm.NginxConfig{}, "psk", 0, func(t *testing.T, cert *farm.Certificate, addr string) tally {
			users(t, addr, clients, goUser(cert, tls.VersionTLS12))
			return reconnect(t, addr, users(t, addr, clients, goUser(cert, tls.VersionTLS13)), reconnects)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers, cert := three(t, tt.nginx, farm.NewECDSA)
			h := startHoming(t, addrs(servers))
			c := tt.run(t, cert, h.addr)
			t.Logf("%v", &c)
			if c.offered != reconnects {
				t.Errorf("%d of %d conns offered to resume", c.offered, reconnects)
			}
			if c.refused() > tt.refused {
				t.Errorf("%d offers were refused, want at most %d", c.refused(), tt.refused)
			}
			if len(c.met) != backends {
				t.Errorf("the clients were at %d backends, want %d", len(c.met), backends)
			}
			h.agrees(t, tt.offer, &c)
			if !testkit.Wait(testkit.Patience, func() bool { return h.metrics(t)["homing_conns_open"] == 0 }) {
				t.Errorf("%v conns are open although the clients have gone", h.metrics(t)["homing_conns_open"])
			}
		})
	}
}

// reconnectCurl makes the reconnects with one process of curl per client.
func reconnectCurl(t *testing.T, cert *farm.Certificate, addr string, flags ...string) tally {
	t.Helper()
	var c tally
	for range clients {
		for _, r := range curl(t, cert, addr, 1+reconnects/clients, flags...)[1:] {
			c.add(r)
		}
	}
	return c
}

// agrees fails the test unless homing has counted the same verdicts on that kind of offer as the clients. Kinds are
// apart because a fresh hello of crypto/tls holds a random session ID, which from outside is an offer of that ID.
func (h *homing) agrees(t *testing.T, offer string, c *tally) {
	t.Helper()
	m := h.metrics(t)
	verdicts := func(verdict string) int {
		return int(m[fmt.Sprintf("homing_verdicts_total{offer=%q,verdict=%q}", offer, verdict)])
	}
	if accepted, refused := verdicts("accepted"), verdicts("refused"); accepted != c.accepted || refused != c.refused() {
		t.Errorf("homing counted %d accepted and %d refused, the clients %d and %d", accepted, refused, c.accepted, c.refused())
	}
}
