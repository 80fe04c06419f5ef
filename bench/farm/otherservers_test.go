package farm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/farm"
	"homing/bench/proc"
	"homing/bench/tlsserver"
)

// The kinds resume against servers of other makes, and are refused by their twins.
func TestIntegrationOtherServers(t *testing.T) {
	needServers(t)
	cert, err := tlsserver.New(tlsserver.RSA, farm.BackendsName)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain, key := filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	for path, content := range map[string][]byte{chain: cert.Chain, key: cert.Key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range []struct {
		name string
		args func(port string) []string
	}{
		{"openssl", func(port string) []string {
			return []string{"s_server", "-accept", "127.0.0.1:" + port, "-cert", chain, "-key", key, "-www", "-quiet"}
		}},
		{"gnutls-serv", func(port string) []string {
			return []string{"--http", "--port", port, "--x509certfile", chain, "--x509keyfile", key, "--quiet", "--priority", "NORMAL"}
		}},
	} {
		addrs, err := proc.FreeAddrs(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addrs {
			p, err := proc.Start(t.Context(), proc.Command{
				Path: server.name, Dir: dir, Args: server.args(addr[strings.LastIndex(addr, ":")+1:]), Ready: []string{addr},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
		}
		for _, mix := range []string{"id", "ticket", "psk"} {
			p, err := bench.NewPlan(bench.Resume, addrs[0])
			if err != nil {
				t.Fatal(err)
			}
			if p.Groups, err = bench.ParseMix(mix); err != nil {
				t.Fatal(err)
			}
			p.Names, p.Roots = []string{farm.BackendsName}, string(cert.Chain)
			// s_server serves one conn at a time.
			p.Clients, p.Rate, p.WarmUp, p.Duration = 5, 40, 500*time.Millisecond, 500*time.Millisecond
			if g := &run(t, p).Groups[0]; g.Failed() != 0 || g.Accepted != g.Done || g.Done == 0 {
				t.Errorf("%s, %s at the issuer: %+v", server.name, mix, g.Tally)
			}
			// Both, turn by turn, as behind a balancer that knows nothing of sessions.
			p.Targets = []string{alternate(t, addrs)}
			p.Clients = 1
			g := &run(t, p).Groups[0]
			if g.Failed() != 0 || g.Refused != g.Done || g.Done == 0 {
				t.Errorf("%s, %s at its twin: %+v", server.name, mix, g.Tally)
			}
		}
	}
}
