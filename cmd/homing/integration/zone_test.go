package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// TestIntegrationZone: listener, backend, source and check on link-local addresses of an interface (RFC 4007), by both
// engines; a socket that was bound to the interface once is not used for another backend.
func TestIntegrationZone(t *testing.T) {
	needServers(t)
	openssl, err := farm.Find("openssl", "openssl")
	if err != nil {
		t.Skip(err)
	}
	room := testkit.NewRoom(t, "homing-zone", nil)
	room.IP(t, "link", "add", "z0", "type", "veth", "peer", "name", "z1")
	room.IP(t, "link", "set", "z0", "up")
	room.IP(t, "link", "set", "z1", "up")
	for _, ip := range []string{"fe80::7", "fe80::8", "fe80::9", "2001:db8::7"} {
		room.IP(t, "addr", "add", ip+"/64", "dev", "z0", "nodad")
	}
	cert := newECDSA(t)
	dir := t.TempDir()
	chain, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	testkit.Check(t, os.WriteFile(chain, cert.Chain, 0o600))
	testkit.Check(t, os.WriteFile(key, cert.Key, 0o600))
	curl := func(args ...string) (string, error) {
		out, err := room.Command(t.Context(), "curl", append([]string{"-sk", "--max-time", "5"}, args...)...).CombinedOutput()
		return string(out), err
	}
	// s_server binds no address with a zone: all addresses, and homing chooses.
	room.Start(t, "", openssl, "s_server", "-quiet", "-www", "-6", "-accept", "[::]:8443", "-cert", chain, "-key", key)
	for i, engine := range []string{"epoll", "io_uring"} {
		t.Run(engine, func(t *testing.T) {
			port, admin := 4430+i, fmt.Sprintf("127.0.0.1:%d", 9090+i)
			room.Start(t, "", binary, "run", "--engine", engine, "--loops", "1", "--listen", fmt.Sprintf("[fe80::8%%z0]:%d", port),
				"--backend", "[fe80::7%z0]:8443", "--backend", "[2001:db8::7]:8443", "--source", "fe80::9%z0",
				"--admin", admin, "--check-interval", "100ms", "--log-level", "warn")
			testkit.Eventually(t, "both backends are up", func() bool {
				out, _ := curl("http://" + admin + "/metrics")
				return strings.Contains(out, `homing_backend_up{backend="[fe80::7%z0]:8443",pool="default"} 1`) &&
					strings.Contains(out, `homing_backend_up{backend="[2001:db8::7]:8443",pool="default"} 1`)
			})
			for range 10 { // to both backends in turn
				out, err := curl("-o", "/dev/null", "-w", "%{http_code}", fmt.Sprintf("https://[fe80::8%%25z0]:%d/", port))
				if err != nil || out != "200" {
					t.Errorf("%s, %v", out, err)
				}
			}
			out, err := curl("http://" + admin + "/metrics")
			testkit.Check(t, err)
			for _, b := range []string{"[fe80::7%z0]:8443", "[2001:db8::7]:8443"} {
				if want := fmt.Sprintf(`homing_backend_conns_total{backend=%q,pool="default"} 5`, b); !strings.Contains(out, want) {
					t.Errorf("not in /metrics: %s", want)
				}
			}
		})
	}
}
