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

// TestIntegrationNames: a backend by name, from a real name server. It moves when its only address dies, it follows a
// short time to live, and it stays while the name server is away.
func TestIntegrationNames(t *testing.T) {
	needServers(t)
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil || os.Getuid() != 0 {
		t.Skip("dnsmasq and a namespace of its own are needed")
	}
	// In a namespace that has resolv.conf of its own: ip netns exec binds what lies below /etc/netns over /etc.
	const room, conf = "homing-names", "/etc/netns/homing-names"
	leave := func() {
		_ = exec.Command("ip", "netns", "del", room).Run() // what is not there need not go
		_ = os.RemoveAll(conf)
	}
	leave()
	t.Cleanup(leave)
	command(t, "ip", "netns", "add", room)
	command(t, "ip", "-n", room, "link", "set", "lo", "up")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "resolv.conf"), []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := func(name string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", room, name}, args...)...)
	}
	background := func(name string, args ...string) (stop func()) {
		t.Helper()
		cmd := inside(name, args...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() {
			_ = cmd.Process.Kill() // it may have been stopped
			_ = cmd.Wait()
		}
		t.Cleanup(func() {
			stop()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, out.String())
			}
		})
		return stop
	}
	names := func(ttl int, addr string) (stop func()) {
		t.Helper()
		stop = background(dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces",
			"--user=root", "--pid-file=", fmt.Sprintf("--local-ttl=%d", ttl), "--address=/web.example/"+addr, "--log-facility=-")
		if !farm.WaitFor(t.Context(), 10*time.Second, func() bool {
			out, _ := inside("ss", "-Hlnu", "src", "127.0.0.1:53").Output() // "" while nobody listens
			return len(out) > 0
		}) {
			t.Fatal("the name server does not answer")
		}
		return stop
	}
	// socat answers by the address that was asked.
	server := func(addr string) (stop func()) {
		t.Helper()
		return background("socat", "TCP-LISTEN:8080,reuseaddr,fork,bind="+addr, "SYSTEM:echo "+addr)
	}
	answer := func() string {
		out, _ := inside("socat", "-T", "2", "-u", "TCP:127.0.0.1:443,connect-timeout=2", "-").Output() // "" when there is none
		return strings.TrimSpace(string(out))
	}
	within := func(limit time.Duration, want string) {
		t.Helper()
		start := time.Now()
		if !farm.WaitFor(t.Context(), limit, func() bool { return answer() == want }) {
			t.Fatalf("not answered by %s within %v", want, limit)
		}
		t.Logf("answered by %s after %v", want, time.Since(start).Round(10*time.Millisecond))
	}

	first := server("127.0.0.2")
	server("127.0.0.3")
	stop := names(3600, "127.0.0.2")
	background(binary, "run", "--listen", "127.0.0.1:443", "--backend", "web.example:8080", "--tls", "off", "--check-interval", "100ms", "--fall", "2", "--rise", "1", "--loops", "1", "--probe", "off")
	within(20*time.Second, "127.0.0.2")

	stop()
	stop = names(2, "127.0.0.3")
	first()
	within(20*time.Second, "127.0.0.3") // not the 29 s of a look every 30

	// Nothing goes down any more: what follows is by the time to live.
	server("127.0.0.4")
	stop()
	stop = names(3600, "127.0.0.4")
	within(20*time.Second, "127.0.0.4")

	// The name server is away: what is known stays.
	stop()
	time.Sleep(3 * time.Second)
	within(5*time.Second, "127.0.0.4")
}
