package integration

import (
	"bufio"
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
	"time"

	"homing/bench/farm"
	"homing/bench/tlsclient"
)

// binary is the homing under test: HOMING_BINARY, or built once by TestMain.
var binary = os.Getenv("HOMING_BINARY")

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if number, err := strconv.Atoi(os.Getenv(idlePeerVar)); err == nil {
		if err := runIdlePeer(number); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if os.Getenv(limitsPeerVar) != "" {
		if err := runLimitsPeer(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if addr := os.Getenv(idleServerVar); addr != "" {
		if err := runIdleServer(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if order := os.Getenv(floodPeerVar); order != "" {
		if err := runFloodPeer(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
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
	if out, err := exec.Command("go", "build", "-o", binary, "homing/cmd/homing").CombinedOutput(); err != nil {
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
	h := &homing{addr: freeAddr(tb), admin: freeAddr(tb)}
	args := []string{"run", "--listen", h.addr, "--admin", h.admin, "--log-level", "warn"}
	for _, b := range backends {
		args = append(args, "--backend", b)
	}
	proc, err := farm.Start(tb.Context(), h.addr, binary, append(args, flags...)...)
	if err != nil {
		tb.Fatal(err)
	}
	h.proc = proc
	h.awaitAdmin(tb)
	tb.Cleanup(func() {
		select {
		case <-proc.Done():
			tb.Errorf("homing ended by itself:\n%s", proc.Output())
		default:
			proc.Stop()
		}
		if tb.Failed() {
			tb.Logf("homing said:\n%s", proc.Output())
		}
	})
	return h
}

// awaitAdmin waits until operators are answered: the kernel takes conns for a listener as soon as it is bound, before all
// the rest is there.
func (h *homing) awaitAdmin(tb testing.TB) {
	tb.Helper()
	answers := func() bool {
		conn, err := net.Dial("tcp", h.admin)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	if !farm.WaitFor(tb.Context(), 10*time.Second, answers) {
		tb.Fatal("nobody answers operators within 10 s")
	}
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := farm.FreeAddr(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}

// ask asks operators' API, as one who may, and decodes the answer unless out is nil.
func (h *homing) ask(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+path, nil)
	if err != nil {
		return err
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// metrics reads /metrics: value by name with labels, as Prometheus writes them.
func (h *homing) metrics(tb testing.TB) map[string]float64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+"/metrics", nil)
	if err != nil {
		tb.Fatal(err)
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		tb.Fatalf("metrics of %s: %s", h.admin, resp.Status)
	}
	values := map[string]float64{}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), "} ")
		if ok {
			name += "}"
		} else if name, value, ok = strings.Cut(s.Text(), " "); !ok {
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
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Certificates = []*farm.Certificate{cert}
	servers, err := farm.StartThree(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := farm.StopAll(servers); err != nil {
			tb.Error(err)
		}
	})
	return servers, cert
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
