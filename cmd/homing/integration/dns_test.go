package integration

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// TestIntegrationDNS runs the example: a name has the addresses of the nodes that are ready, by a real name server, and
// keeps what it has when none is.
func TestIntegrationDNS(t *testing.T) {
	needServers(t)
	testkit.Need(t, "named", "nsupdate", "dig", "curl") // of bind9, bind9-dnsutils, curl
	room := testkit.NewRoom(t, "homing-dns", map[string]string{"resolv.conf": "nameserver 127.0.0.1\n"})
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
	put(t, script, strings.ReplaceAll(text(t, "../../../cluster/examples/dns.sh"), "/etc/homing/nsupdate.key",
		filepath.Join(dir, "nsupdate.key")))

	nodes := map[string]*farm.Process{}
	room.Start(t, "", "named", "-g", "-c", filepath.Join(dir, "named.conf"), "-n", "1")
	for _, own := range []string{"127.0.0.11", "127.0.0.12"} {
		nodes[own] = room.Start(t, "", binary, "run", "--loops", "1", "--table-entries", "20000", "--probe", "off", "--tls", "off",
			"--listen", own+":443", "--backend", own+":9090", "--admin", own+":9090") // its admin server accepts too
	}
	inside := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := room.Command(ctx, args[0], args[1:]...).CombinedOutput()
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
		if !testkit.Wait(testkit.Patience, name(want)) || (err == nil) != ok {
			t.Errorf("%s: want the addresses %s; dns.sh: %v: %s", what, want, err, said)
		}
	}
	follows("both are ready", "127.0.0.11 127.0.0.12", true)
	nodes["127.0.0.12"].Kill()
	follows("one is", "127.0.0.11", true)
	nodes["127.0.0.11"].Kill()
	follows("none is", "127.0.0.11", false)
	if !strings.Contains(said, "no node is ready") {
		t.Errorf("dns.sh said %q", said)
	}
}
