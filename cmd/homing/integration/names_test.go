package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// TestIntegrationNames: a backend by name, from a real name server. It moves when its only address dies, it follows a
// short time to live, and it stays while the name server is away.
func TestIntegrationNames(t *testing.T) {
	needServers(t)
	testkit.Need(t, "dnsmasq")
	room := testkit.NewRoom(t, "homing-names", map[string]string{"resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"})
	background := func(name string, args ...string) (stop func()) { return room.Start(t, "", name, args...).Kill }
	names := func(ttl int, addr string) (stop func()) {
		t.Helper()
		stop = background("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
			"--listen-address=127.0.0.1", "--bind-interfaces",
			"--user=root", "--pid-file=", fmt.Sprintf("--local-ttl=%d", ttl), "--address=/web.example/"+addr, "--log-facility=-")
		testkit.Within(t, 10*time.Second, "the name server answers", func() bool {
			out, _ := room.Command(t.Context(), "ss", "-Hlnu", "src", "127.0.0.1:53").Output() // "" while nobody listens
			return len(out) > 0
		})
		return stop
	}
	// socat answers by the address that was asked.
	server := func(addr string) (stop func()) {
		t.Helper()
		return background("socat", "TCP-LISTEN:8080,reuseaddr,fork,bind="+addr, "SYSTEM:echo "+addr)
	}
	answer := func() string {
		// "" when there is none
		out, _ := room.Command(t.Context(), "socat", "-T", "2", "-u", "TCP:127.0.0.1:443,connect-timeout=2", "-").Output()
		return strings.TrimSpace(string(out))
	}
	clock := watchMachine(t)
	within := func(limit time.Duration, want string) {
		t.Helper()
		begin := time.Now()
		if !clock.wait(limit, func() bool { return answer() == want }) {
			t.Fatalf("not within %v: answered by %s", limit, want)
		}
		t.Logf("answered by %s after %v", want, time.Since(begin).Round(10*time.Millisecond))
	}

	first := server("127.0.0.2")
	server("127.0.0.3")
	stop := names(3600, "127.0.0.2")
	background(binary, "run", "--listen", "127.0.0.1:443", "--backend", "web.example:8080", "--tls", "off",
		"--check-interval", "100ms", "--fall", "2", "--rise", "1", "--loops", "1", "--probe", "off")
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
