package farm_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"homing/bench/farm"
	"homing/bench/tlsclient"
)

// Each stack resumes what it issued, another instance of it does not, and neither fails.
func TestIntegrationStacksResumeTheirOwnSessionsOnly(t *testing.T) {
	needServers(t)
	cert, err := farm.NewECDSA()
	if err != nil {
		t.Fatal(err)
	}
	for stack := range farm.NumStacks {
		t.Run(stack.String(), func(t *testing.T) {
			servers, err := farm.StartServers(t.Context(), stack, cert, "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				for _, s := range servers {
					if err := s.Stop(); err != nil {
						t.Error(err)
					}
				}
			}()
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				c := client(cert, version)
				for i, want := range []struct {
					server  int
					resumed bool
				}{{0, false}, {0, true}, {0, true}, {1, false}, {1, true}} {
					s := servers[want.server]
					r := get(t, c, s.Addr())
					if r.Resumed != want.resumed || r.Version != version {
						t.Errorf("%s, conn %d: %+v", tls.VersionName(version), i, r)
					}
					if stack != farm.GnuTLS && r.Backend != s.Name() {
						t.Errorf("%s calls itself %q", s.Name(), r.Backend)
					}
				}
				t.Logf("%s: ticket of %d bytes", tls.VersionName(version), len(c.Ticket()))
			}
			c := tlsclient.NewID(tlsclient.Config{ServerName: farm.ServerName, Roots: farm.Roots(cert)})
			knows := stack != farm.LighttpdOpenSSL && stack != farm.LighttpdNSS
			for i := range 3 {
				r, err := c.Get(t.Context(), servers[0].Addr())
				if err != nil || r.Resumed != (knows && i > 0) {
					t.Errorf("ID, conn %d: %+v, %v", i, r, err)
				}
			}
		})
	}
}

// crypto/tls has no names for its ticket keys: neither two tickets of one server nor of two begin alike.
func TestGoServer(t *testing.T) {
	cert, err := farm.NewECDSA()
	if err != nil {
		t.Fatal(err)
	}
	a, err := farm.StartGo(t.Context(), "a", cert)
	if err != nil {
		t.Fatal(err)
	}
	b, err := farm.StartGo(t.Context(), "b", cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := client(cert, version)
		var tickets []string
		for i, conn := range []struct {
			server  *farm.GoServer
			resumed bool
		}{{a, false}, {a, true}, {b, false}, {b, true}} {
			if r := get(t, c, conn.server.Addr()); r.Resumed != conn.resumed || r.Backend != conn.server.Name() || r.Version != version {
				t.Errorf("%s, conn %d: %+v", tls.VersionName(version), i, r)
			}
			tickets = append(tickets, string(c.Ticket()[:4]))
		}
		slices.Sort(tickets)
		if len(slices.Compact(tickets)) < 4 {
			t.Errorf("%s: tickets that begin alike: %x", tls.VersionName(version), tickets)
		}
	}
	if a.Hellos() != 4 || b.Hellos() != 4 {
		t.Errorf("%d and %d hellos were counted, want 4 each", a.Hellos(), b.Hellos())
	}
	for _, s := range []*farm.GoServer{a, b} {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}
