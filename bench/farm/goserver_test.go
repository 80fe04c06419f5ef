package farm_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/farm"
	"homing/bench/tlsserver"
)

// startServer starts a server in Go and returns its address and what clients have to trust.
func startServer(t *testing.T, cert *tlsserver.Certificate, name string, tickets bool) string {
	t.Helper()
	pair, err := tls.X509KeyPair(cert.Chain, cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	s := farm.NewGoServer(name, pair, tickets)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func newCertificate(t *testing.T) *tlsserver.Certificate {
	t.Helper()
	cert, err := tlsserver.New(tlsserver.ECDSA, farm.BackendsName)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func shortPlan(t *testing.T, cert *tlsserver.Certificate, mix string, targets ...string) bench.Plan {
	t.Helper()
	p, err := bench.NewPlan(bench.Resume, targets...)
	if err != nil {
		t.Fatal(err)
	}
	if p.Groups, err = bench.ParseMix(mix); err != nil {
		t.Fatal(err)
	}
	p.Names, p.Roots = []string{farm.BackendsName}, string(cert.Chain)
	p.Clients, p.Rate, p.WarmUp, p.Duration = 30, 200, 200*time.Millisecond, 400*time.Millisecond
	return p
}

// A server in Go stands in for nginx: it resumes in every way, and what others issued it refuses.
func TestServerResumesItsOwnSessionsOnly(t *testing.T) {
	cert := newCertificate(t)
	addrs := []string{startServer(t, cert, "a", true), startServer(t, cert, "b", true)}
	res := run(t, shortPlan(t, cert, "id,ticket,psk,full12,full13", addrs...))
	for i := range res.Groups {
		g := &res.Groups[i]
		full := g.Kind == bench.Full12 || g.Kind == bench.Full13
		if g.Failed() != 0 || g.Done == 0 || full && g.Offered != 0 || !full && g.Accepted != g.Done || g.Backends["a"].Conns == 0 || g.Backends["b"].Conns == 0 {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
	}
	for _, mix := range []string{"id", "ticket", "psk"} {
		p := shortPlan(t, cert, mix, alternate(t, addrs))
		p.Clients, p.Rate = 1, 50
		if g := &run(t, p).Groups[0]; g.Failed() != 0 || g.Refused != g.Done || g.Done == 0 {
			t.Errorf("%s, turn by turn: %+v", mix, g.Tally)
		}
	}
}

func TestServerWithoutTickets(t *testing.T) {
	cert := newCertificate(t)
	res := run(t, shortPlan(t, cert, "id,ticket,psk", startServer(t, cert, "a", false)))
	for i, accepted := range []bool{true, false, false} {
		if g := &res.Groups[i]; g.Failed() != 0 || g.Done == 0 || (g.Accepted == g.Done) != accepted || !accepted && g.Offered != 0 {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
	}
}

func TestServerAnswers(t *testing.T) {
	cert := newCertificate(t)
	addr := startServer(t, cert, "a", true)
	p := shortPlan(t, cert, "id,psk", addr)
	for i := range p.Groups {
		p.Groups[i].Response, p.Groups[i].Requests = 200_000, 2
	}
	res := run(t, p)
	for i := range res.Groups {
		if g := &res.Groups[i]; g.Failed() != 0 || g.Requests != 2*g.Done || g.Read < 400_000*g.Done || g.Read > 410_000*g.Done {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
	}
	// And to somebody else's client.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		path, send string
		status     int
		body       string
	}{{"/", "", 200, "a\n"}, {"/data", "bytes=0-9", 206, strings.Repeat("\x00", 10)}, {"/data", "", 416, ""}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.send != "" {
			req.Header.Set("Range", c.send)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || string(body) != c.body || resp.Header.Get("X-Backend") != "a" {
			t.Errorf("%s: %s, %q, %v, %v", c.path, resp.Status, body, resp.Header, err)
		}
	}
}

// openssl's own client resumes by session ID, which it says on stdout.
func TestIntegrationOpenSSLResumesByID(t *testing.T) {
	needServers(t)
	cert := newCertificate(t)
	addr := startServer(t, cert, "a", true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", addr, "-tls1_2", "-no_ticket", "-reconnect")
	cmd.Stdin = strings.NewReader("Q\n")
	out, err := cmd.CombinedOutput()
	if n := bytes.Count(out, []byte("\nReused, ")); err != nil || n != 5 {
		t.Errorf("%d of 5 reconnects resumed, %v:\n%.3000s", n, err, out)
	}
}

// Each backend in Go is a process of its own, and gone after Stop.
func TestIntegrationGoFarm(t *testing.T) {
	needServers(t)
	self := filepath.Join(t.TempDir(), "homing-bench")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", self, "homing/cmd/homing-bench").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := farm.StartBackends(t.Context(), farm.Options{N: 2, Self: self, Key: tlsserver.ECDSA})
	if err != nil {
		t.Fatal(err)
	}
	p := plan(t, f, f.Addrs(), "id,ticket,psk")
	p.Watch = f.Watched()
	res := run(t, p)
	for i := range res.Groups {
		if g := &res.Groups[i]; g.Failed() != 0 || g.Accepted != g.Done {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
	}
	if len(res.Watched) != 2 || res.Watched[0].CPU <= 0 {
		t.Errorf("%+v", res.Watched)
	}
	pids := append(f.PIDs(0), f.PIDs(1)...)
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
}
