package farm_test

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/tlsclient"
)

// needServers skips the test unless make has installed the servers and says so.
func needServers(t *testing.T) {
	t.Helper()
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts real servers: make integration runs it")
	}
}

// three starts three nginx.
func three(t *testing.T, cfg farm.NginxConfig) ([]*farm.Nginx, *farm.Certificate) {
	t.Helper()
	needServers(t)
	cert, err := farm.NewRSA()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []*farm.Certificate{cert}
	servers, err := farm.StartThree(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := farm.StopAll(servers); err != nil {
			t.Error(err)
		}
	})
	return servers, cert
}

func client(cert *farm.Certificate, version uint16) *tlsclient.Client {
	return tlsclient.New(tlsclient.Config{Version: version, ServerName: farm.ServerName, Roots: farm.Roots(cert)})
}

func get(t *testing.T, c *tlsclient.Client, addr string) tlsclient.Result {
	t.Helper()
	res, err := c.Get(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestIntegrationNginxResumesItsOwnSessionsOnly(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := client(cert, version)
		if r := get(t, c, servers[0].Addr()); r.Resumed || r.Offered || r.Backend != "a" || r.Version != version {
			t.Errorf("%s, first conn: %+v", tls.VersionName(version), r)
		}
		if r := get(t, c, servers[0].Addr()); !r.Resumed || !r.Offered {
			t.Errorf("%s, back at the issuer: %+v", tls.VersionName(version), r)
		}
		if r := get(t, c, servers[1].Addr()); r.Resumed || !r.Offered || r.Backend != "b" {
			t.Errorf("%s, at another backend: %+v", tls.VersionName(version), r)
		}
	}
	log, err := os.ReadFile(servers[0].LogPath())
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(log)), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[1], "r TLSv1.2 127.") {
		t.Errorf("access log of a: %q", lines)
	}
}

func TestIntegrationNginxResumesByID(t *testing.T) {
	for _, noTickets := range []bool{false, true} {
		servers, cert := three(t, farm.NginxConfig{NoTickets: noTickets})
		c := tlsclient.NewID(tlsclient.Config{ServerName: farm.ServerName, Roots: farm.Roots(cert)})
		for i, want := range []bool{false, true, true} {
			r, err := c.Get(t.Context(), servers[0].Addr())
			if err != nil || r.Resumed != want || r.Backend != "a" {
				t.Errorf("conn %d at the issuer: %+v, %v", i, r, err)
			}
		}
		if r, err := c.Get(t.Context(), servers[1].Addr()); err != nil || r.Resumed || !r.Offered {
			t.Errorf("at another backend: %+v, %v", r, err)
		}
	}
}

func TestIntegrationSharedTicketKey(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{TicketKey: []byte(strings.Repeat("0123456789abcdef", 5))})
	c := client(cert, tls.VersionTLS13)
	for i, n := range servers {
		if r := get(t, c, n.Addr()); r.Resumed != (i > 0) {
			t.Errorf("server %s: %+v", n.Name(), r)
		}
	}
}

func TestIntegrationKillAndRestart(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{})
	a, c := servers[0], client(cert, tls.VersionTLS12)
	get(t, c, a.Addr())
	a.Kill()
	if _, err := c.Get(t.Context(), a.Addr()); err == nil {
		t.Error("a killed server answered")
	}
	if err := a.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := get(t, c, a.Addr()); r.Resumed {
		t.Errorf("the session outlived its server: %+v", r)
	}
}

func TestIntegrationServerThatDoesNotStart(t *testing.T) {
	needServers(t)
	_, err := farm.StartNginx(t.Context(), farm.NginxConfig{Name: "a"}) // no certificate
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v, want nginx's own words about the certificate", err)
	}
}

func TestMissingProgram(t *testing.T) {
	err := &farm.MissingError{Program: "nginx", Package: "nginx"}
	if got, want := err.Error(), "nginx is not installed: run apt-get install nginx"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
