package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
)

// dnsRoom is a network namespace with a resolver of its own, which resolves by what listens in it.
const dnsRoom = "homing-dns"

func makeDNSRoom(t *testing.T) {
	t.Helper()
	etc := filepath.Join("/etc/netns", dnsRoom)
	clear := func() {
		_ = exec.Command("ip", "netns", "del", dnsRoom).Run() // what is not there need not go
		_ = os.RemoveAll(etc)
	}
	clear()
	t.Cleanup(clear)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(etc, "resolv.conf"), "nameserver 127.0.0.1\n")
	command(t, "ip", "netns", "add", dnsRoom)
	command(t, "ip", "-n", dnsRoom, "link", "set", "lo", "up")
}

// TestIntegrationDNS runs the example: a name has the addresses of the nodes that are ready, by a real name server, and
// keeps what it has when none is.
func TestIntegrationDNS(t *testing.T) {
	needServers(t)
	if os.Getuid() != 0 {
		t.Skip("network namespaces are root's to make")
	}
	for _, program := range []string{"ip", "named", "nsupdate", "dig", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: apt-get install bind9 bind9-dnsutils curl iproute2", program)
		}
	}
	makeDNSRoom(t)
	dir := t.TempDir()
	const key = "key \"homing\" { algorithm hmac-sha256; secret \"aG9taW5nJ3MgdGVzdCBrZXksIG9mIDMyIGJ5dGVzLg==\"; };\n"
	put(t, filepath.Join(dir, "nsupdate.key"), key)
	put(t, filepath.Join(dir, "zone"), "@ 60 IN SOA ns hostmaster 1 60 60 60 60\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n")
	put(t, filepath.Join(dir, "named.conf"), key+`
options { directory "`+dir+`"; pid-file "`+dir+`/pid"; session-keyfile "`+dir+`/session.key"; listen-on { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no; };
controls { };
zone "example.org" { type primary; file "`+dir+`/zone"; update-policy { grant homing name www.example.org. A; }; };
`)
	script := filepath.Join(dir, "dns.sh")
	put(t, script, strings.ReplaceAll(text(t, "../../../cluster/examples/dns.sh"), "/etc/homing/nsupdate.key", filepath.Join(dir, "nsupdate.key")))

	start := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command("ip", append([]string{"netns", "exec", dnsRoom, name}, args...)...)
		out, err := os.Create(filepath.Join(dir, filepath.Base(name)+args[len(args)-1]))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
			out.Close()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, text(t, out.Name()))
			}
		})
		return cmd
	}
	nodes := map[string]*exec.Cmd{}
	start("named", "-g", "-c", filepath.Join(dir, "named.conf"), "-n", "1")
	for _, own := range []string{"127.0.0.11", "127.0.0.12"} {
		nodes[own] = start(binary, "run", "--loops", "1", "--table-entries", "20000", "--probe", "off", "--tls", "off",
			"--listen", own+":443", "--backend", own+":9090", "--admin", own+":9090") // its admin server accepts too
	}
	inside := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", dnsRoom}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	var said string
	var err error
	name := func(want string) func() bool {
		return func() bool {
			said, err = inside("sh", script, "www.example.org", "30", "127.0.0.11", "127.0.0.12")
			addrs, _ := inside("dig", "+short", "@127.0.0.1", "www.example.org", "A")
			lines := strings.Fields(addrs)
			if len(lines) == 2 && lines[0] > lines[1] {
				lines[0], lines[1] = lines[1], lines[0]
			}
			return strings.Join(lines, " ") == want
		}
	}
	follows := func(what, want string, ok bool) {
		t.Helper()
		if !farm.WaitFor(t.Context(), 30*time.Second, name(want)) || (err == nil) != ok {
			t.Errorf("%s: want the addresses %s; dns.sh: %v: %s", what, want, err, said)
		}
	}
	follows("both are ready", "127.0.0.11 127.0.0.12", true)
	if err := nodes["127.0.0.12"].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	follows("one is", "127.0.0.11", true)
	if err := nodes["127.0.0.11"].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = nodes["127.0.0.11"].Wait() // it was killed
	follows("none is", "127.0.0.11", false)
	if !strings.Contains(said, "no node is ready") {
		t.Errorf("dns.sh said %q", said)
	}
}
