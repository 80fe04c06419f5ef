package integration

import (
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// NSS ends a TLS 1.2 conn that offers it a ticket of another stack. Two nginx and one NSS server in one pool, and a homing
// that knows nothing: no conn fails, as none would directly at its issuer.
func TestIntegrationForeignTickets(t *testing.T) {
	const (
		people = 60
		rescue = 3  // conns that NSS must have ended, for the test to have shown anything
		most   = 40 // restarts of homing to that end
	)
	cert := newECDSA(t)
	var servers []string
	for _, name := range []string{"a", "b"} {
		n, err := farm.StartNginx(t.Context(), farm.NginxConfig{Name: name, Certificates: []*farm.Certificate{cert}})
		testkit.Check(t, err)
		stops(t, n)
		servers = append(servers, n.Addr())
	}
	nss, err := lighttpdNSS.startServer(t.Context(), "c", cert)
	testkit.Check(t, err)
	stops(t, nss)
	servers = append(servers, nss.Addr())

	kind := resumptions()[1]
	foreign := kind.make(cert)
	if _, err := foreign.Get(t.Context(), servers[0]); err != nil {
		t.Fatal(err)
	}
	_, err = foreign.directly(t.Context(), nss.Addr())
	t.Logf("a ticket of nginx at NSS, directly: %v", err)
	if err == nil {
		t.Fatal("NSS accepts a conn with a foreign ticket: there is nothing to test")
	}

	for _, kind := range resumptions()[1:] {
		t.Run(kind.name, func(t *testing.T) {
			var list []*holder
			for i := range people {
				u := &holder{kind.make(cert), i % len(servers)}
				if _, err := u.Get(t.Context(), servers[u.issuer]); err != nil {
					t.Fatal(err)
				}
				list = append(list, u)
			}
			sum, starts, rescued := &comparison{at: map[int]int{}}, 0, 0.0
			for enough := false; !enough && starts < most; starts++ {
				t.Run("start", func(t *testing.T) {
					h := startHoming(t, servers, "--probe", "off")
					sum.join(compare(t, h.addr, servers, list, people))
					rescued += h.metrics(t)["homing_second_chances_total"]
				})
				enough = starts >= 4 && (rescued >= rescue || kind.offer != "ticket")
			}
			t.Logf("homing started %d times: %v; %v conns were saved after a hang-up", starts, sum, rescued)
			if kind.offer == "ticket" && rescued < rescue {
				t.Errorf("NSS ended %v conns, too few to show anything", rescued)
			}
		})
	}
}
