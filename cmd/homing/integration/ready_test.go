package integration

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// readyz is what /readyz says: its status and its line.
func (h *homing) readyz(tb testing.TB) (status int, why string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+"/readyz", nil)
	testkit.Check(tb, err)
	resp, err := http.DefaultClient.Do(req)
	testkit.Check(tb, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testkit.Check(tb, err)
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// TestIntegrationReady: a node is ready while it can serve: not before its first checks, not without a backend, and for a
// moment longer, so that a pair whose backends all die does not pass its address to and fro. At the start nobody waits for
// dead backends to be found out.
func TestIntegrationReady(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	dead := []string{testkit.FreeAddr(t), testkit.FreeAddr(t)}
	backends := append(dead, servers[0].Addr())
	h := startHoming(t, backends, "--check-interval", "200ms", "--fall", "2", "--rise", "1", "--probe", "off")
	client := newGoClient(clientConfig(cert, tls.VersionTLS13))
	for range 20 {
		if _, err := client.Get(t.Context(), h.addr); err != nil {
			t.Errorf("as soon as it listens: %v", err)
		}
	}
	within := func(what string, want int, words string) {
		t.Helper()
		var status int
		var why string
		start := time.Now()
		if !testkit.Wait(testkit.Patience, func() bool {
			status, why = h.readyz(t)
			return status == want && strings.Contains(why, words)
		}) {
			t.Fatalf("%s: %d %q, want %d %q", what, status, why, want, words)
		}
		t.Logf("%s: %d %q after %v", what, status, why, time.Since(start).Round(10*time.Millisecond))
	}
	within("one of three is up", http.StatusOK, "ready")
	servers[0].Kill()
	killed := time.Now()
	within("none is", http.StatusServiceUnavailable, "pool default: none of its 3 backends is up; the last was "+servers[0].Addr())
	if took := time.Since(killed); took < 2*time.Second {
		t.Errorf("it said so after %v already", took)
	}
	if h.metrics(t)["homing_ready"] != 0 {
		t.Error("homing_ready is not 0")
	}
	testkit.Check(t, servers[0].Restart(t.Context()))
	within("it is back", http.StatusOK, "ready")

	// Backends that are all dead: it has never been ready.
	none := startHoming(t, dead, "--check-interval", "200ms", "--probe", "off")
	if status, why := none.readyz(t); status != http.StatusServiceUnavailable {
		t.Errorf("at the start: %d %q", status, why)
	}
	always := startHoming(t, dead, "--check-interval", "200ms", "--probe", "off", "--admin-ready", "always")
	if status, why := always.readyz(t); status != http.StatusOK {
		t.Errorf("as the operator chose: %d %q", status, why)
	}
	// A port that listens and is never accepted from: its first check takes as long as it may.
	slow := testkit.Listen(t, "tcp", "127.0.0.1:0")
	unknown := startHoming(t, []string{slow.Addr().String()}, "--check", "tls", "--check-interval", "1m", "--check-timeout", "1m", "--probe", "off")
	if status, why := unknown.readyz(t); status != http.StatusServiceUnavailable || !strings.Contains(why, "have not been checked yet") {
		t.Errorf("before the first check is over: %d %q", status, why)
	}
}
