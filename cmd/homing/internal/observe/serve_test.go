package observe

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/judge"
)

// Metrics are served for this machine alone, at the one path.
func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	killed, err := net.Listen("unix", socket)
	testkit.Check(t, err)
	killed.(*net.UnixListener).SetUnlinkOnClose(false) // as a run that gave up its privileges to remove it, or was killed
	testkit.Check(t, killed.Close())
	end, err := serve(&options{admin: "unix:" + socket}, &outputs{anonymize: anonymizeOn}, func() *judge.Findings {
		row := judge.Row{Service: "192.0.2.1:443", Outcome: judge.Outcome{Fresh: 1}}
		return &judge.Findings{Hellos: judge.HelloFindings{Count: 17}, Rows: []judge.Row{row}}
	})
	testkit.Check(t, err)
	defer end()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	get := func(path string) (int, string) {
		answer, err := client.Get("http://homing" + path)
		testkit.Check(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		testkit.Check(t, err)
		return answer.StatusCode, string(body)
	}
	if _, body := get("/metrics"); strings.Contains(body, "192.0.2.1") || !strings.Contains(body, `outcome="fresh"`) {
		t.Errorf("names are told: %s", body)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "homing_observe_hellos_total 17\n") {
		t.Errorf("%d, %s", code, body)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("another path: %d", code)
	}
	for _, address := range []string{":9091", "192.0.2.1:9091", "https://127.0.0.1:9091", "example.org:9091"} {
		if _, err := adminAddress(address); err == nil || !strings.Contains(err.Error(), "for this machine alone") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:9091", "[::1]:9091", "localhost:9091", "unix:/run/x.sock"} {
		if _, err := adminAddress(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
