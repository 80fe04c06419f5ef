package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
)

// TestIntegrationZone: listener, backend, source and check on link-local addresses of an interface (RFC 4007), by both
// engines; a socket that was bound to the interface once is not used for another backend.
func TestIntegrationZone(t *testing.T) {
	needServers(t)
	if os.Getuid() != 0 {
		t.Skip("network namespaces are root's to make")
	}
	openssl, err := farm.FindOpenSSL()
	if err != nil {
		t.Skip(err)
	}
	const room = "homing-zone"
	leave := func() { _ = exec.Command("ip", "netns", "del", room).Run() } // what is not there need not go
	leave()
	t.Cleanup(leave)
	command(t, "ip", "netns", "add", room)
	command(t, "ip", "-n", room, "link", "set", "lo", "up")
	command(t, "ip", "-n", room, "link", "add", "z0", "type", "veth", "peer", "name", "z1")
	command(t, "ip", "-n", room, "link", "set", "z0", "up")
	command(t, "ip", "-n", room, "link", "set", "z1", "up")
	for _, ip := range []string{"fe80::7", "fe80::8", "fe80::9", "2001:db8::7"} {
		command(t, "ip", "-n", room, "addr", "add", ip+"/64", "dev", "z0", "nodad")
	}
	cert, err := farm.NewECDSA()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"cert.pem": cert.Chain, "key.pem": cert.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(script string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", room, "bash", "-c", script)
		cmd.Dir = dir
		return cmd
	}
	background := func(script string) {
		t.Helper()
		cmd := inside("exec " + script)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
			if t.Failed() {
				t.Logf("%s said:\n%s", script, out.String())
			}
		})
	}
	// s_server binds no address with a zone: all addresses, and homing chooses.
	background(openssl + " s_server -quiet -www -6 -accept '[::]:8443' -cert cert.pem -key key.pem")
	for i, engine := range []string{"epoll", "io_uring"} {
		t.Run(engine, func(t *testing.T) {
			port, admin := 4430+i, 9090+i
			background(fmt.Sprintf("%s run --engine %s --loops 1 --listen '[fe80::8%%z0]:%d' --backend '[fe80::7%%z0]:8443' --backend '[2001:db8::7]:8443' "+
				"--source fe80::9%%z0 --admin 127.0.0.1:%d --check-interval 100ms --log-level warn", binary, engine, port, admin))
			ask := fmt.Sprintf("curl -sk --max-time 5 -o /dev/null -w '%%{http_code}' 'https://[fe80::8%%25z0]:%d/'", port)
			if !farm.WaitFor(t.Context(), 20*time.Second, func() bool {
				out, _ := inside(fmt.Sprintf("curl -s --max-time 5 http://127.0.0.1:%d/metrics", admin)).Output()
				return strings.Contains(string(out), `homing_backend_up{backend="[fe80::7%z0]:8443",pool="default"} 1`)
			}) {
				t.Fatal("the link-local backend is not up")
			}
			for range 10 { // to both backends in turn
				if out, err := inside(ask).CombinedOutput(); err != nil || string(out) != "200" {
					t.Errorf("%s, %v", out, err)
				}
			}
			out, err := inside(fmt.Sprintf("curl -s --max-time 5 http://127.0.0.1:%d/metrics", admin)).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range []string{"[fe80::7%z0]:8443", "[2001:db8::7]:8443"} {
				if want := fmt.Sprintf(`homing_backend_conns_total{backend=%q,pool="default"} 5`, b); !strings.Contains(string(out), want) {
					t.Errorf("not in /metrics: %s", want)
				}
			}
		})
	}
}
