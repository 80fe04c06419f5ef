package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// binary is the homing under test: HOMING_BINARY, or built once by TestMain.
var binary = os.Getenv("HOMING_BINARY")

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	// Some tests start this program again, as a peer of theirs.
	for variable, run := range map[string]func(order string) error{
		idlePeerVar:   runIdlePeer,
		limitsPeerVar: func(string) error { return runLimitsPeer() },
		idleServerVar: runIdleServer,
		floodPeerVar:  runFloodPeer,
	} {
		if order := os.Getenv(variable); order != "" {
			if err := run(order); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		}
	}
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		binary = ""
		return m.Run() // every test skips itself
	}
	if binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "homing-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "homing")
	programs := []string{"homing/cmd/homing", "homing/cmd/homing/homing-observe"}
	if out, err := exec.Command("go", append([]string{"build", "-o", dir + "/"}, programs...)...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build homing: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func needServers(tb testing.TB) {
	tb.Helper()
	if binary == "" {
		tb.Skip("starts real servers: make integration runs it")
	}
}

// homing is one running `homing run`.
type homing struct {
	addr  string
	admin string
	token string // for operators, "" where none is asked for
	proc  *farm.Process
}

// startHoming starts the binary before the given backends ("ADDR[,weight=N]").
func startHoming(tb testing.TB, backends []string, flags ...string) *homing {
	tb.Helper()
	h := &homing{addr: testkit.FreeAddr(tb), admin: testkit.FreeAddr(tb)}
	args := []string{"run", "--listen", h.addr, "--admin", h.admin, "--log-level", "warn"}
	for _, b := range backends {
		args = append(args, "--backend", b)
	}
	h.start(tb, append(args, flags...)...)
	return h
}

// start starts homing, which has to last as long as the test.
func (h *homing) start(tb testing.TB, args ...string) {
	tb.Helper()
	h.proc = testkit.Start(tb, h.addr, binary, args...)
	tb.Cleanup(func() {
		if !h.proc.Running() {
			tb.Error("homing ended by itself")
		}
	})
	h.awaitAdmin(tb)
}

// awaitAdmin waits until operators are answered: the kernel takes conns for a listener as soon as it is bound, before all
// the rest is there.
func (h *homing) awaitAdmin(tb testing.TB) {
	tb.Helper()
	testkit.Eventually(tb, "operators are answered", func() bool {
		conn, err := net.Dial("tcp", h.admin)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// get asks operators' API for a path, as one who may.
func (h *homing) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+path, nil)
	if err != nil {
		return nil, err
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

// ask is get, and decodes the answer.
func (h *homing) ask(ctx context.Context, path string, out any) error {
	body, err := h.get(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, out)
}

// metrics reads /metrics: value by name with labels, as Prometheus writes them.
func (h *homing) metrics(tb testing.TB) map[string]float64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), testkit.Patience)
	defer cancel()
	body, err := h.get(ctx, "/metrics")
	testkit.Check(tb, err)
	values := map[string]float64{}
	for line := range strings.SplitSeq(string(body), "\n") {
		name, value, ok := strings.Cut(line, "} ")
		if ok {
			name += "}"
		} else if name, value, ok = strings.Cut(line, " "); !ok {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil && !strings.HasPrefix(name, "#") {
			values[name] = v
		}
	}
	return values
}

// up reports whether homing takes the backend for up.
func (h *homing) up(tb testing.TB, addr string) bool {
	tb.Helper()
	return h.metrics(tb)[fmt.Sprintf("homing_backend_up{backend=%q,pool=%q}", addr, "default")] == 1
}

// three starts three nginx that share nothing, and returns them with the certificate they serve.
func three(tb testing.TB, cfg farm.NginxConfig, newCert func() (*farm.Certificate, error)) ([]*farm.Nginx, *farm.Certificate) {
	tb.Helper()
	needServers(tb)
	cert, err := newCert()
	testkit.Check(tb, err)
	cfg.Certificates = []*farm.Certificate{cert}
	servers, err := farm.StartThree(tb.Context(), cfg)
	testkit.Check(tb, err)
	tb.Cleanup(func() {
		if err := farm.StopAll(servers); err != nil {
			tb.Error(err)
		}
	})
	return servers, cert
}

// stops has a server end with the test.
func stops(tb testing.TB, server interface{ Stop() error }) {
	tb.Cleanup(func() {
		if err := server.Stop(); err != nil {
			tb.Error(err)
		}
	})
}

func addrs(servers []*farm.Nginx) []string {
	var list []string
	for _, n := range servers {
		list = append(list, n.Addr())
	}
	return list
}

// clientConfig is for the clients in this process.
func clientConfig(cert *farm.Certificate, version uint16) tlsclient.Config {
	return tlsclient.Config{Version: version, ServerName: farm.ServerName, Roots: farm.Roots(cert)}
}
