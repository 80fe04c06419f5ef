package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"homing/bench"
	"homing/bench/farm"
	"homing/bench/testkit"
)

// Hundreds of conns at a time, with early data, and with hellos cut over records and segments, as large as browsers' or byte by
// byte: of each conn the same is seen as nginx has logged, and observe counts the offers that the clients count.
func TestIntegrationObserveBusy(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{EarlyData: true})
	harness := filepath.Join(t.TempDir(), "homing-bench")
	testkit.Run(t, "go", "build", "-o", harness, "homing/cmd/homing-bench")
	for i, args := range [][]string{
		{"resume", "--mix", "full12,full13,id,ticket,psk,0rtt"},
		{"fragment"},
		{"resume", "--mix", "id,ticket,psk", "--shape", "browser+segments:7+gap:1ms"},
	} {
		if i > 0 {
			s.forget(t)
		}
		balancer := s.roundRobin(t)
		back, front := s.record(t, "back.pcap", mirrorBack), s.record(t, "front.pcap", mirrorFront)
		result := filepath.Join(t.TempDir(), "result.json")
		args = append(args, siteAddr, "--rate", "300", "--warm-up", "1s", "--duration", "4s", "--name", farm.ServerName, "--verify", "off",
			"--quiet", "--json", result)
		out, err := s.clients.Command(t.Context(), harness, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		balancer.Stop()
		var r bench.Result
		text, err := os.ReadFile(result)
		testkit.Check(t, err)
		testkit.Check(t, json.Unmarshal(text, &r))
		var offered, accepted int64
		for i := range r.Groups {
			offered += r.Groups[i].Total.Accepted + r.Groups[i].Total.Refused
			accepted += r.Groups[i].Total.Accepted
		}
		list, _ := testify(t, back.end(t), 443)
		s.compareLogs(t, list)
		for _, file := range []string{back.file, front.end(t)} {
			f := observe(t, file)
			if f.Total.Accepted != uint64(accepted) || f.Total.Accepted+f.Total.Refused != uint64(offered) {
				t.Errorf("%v: %s: %d of %d offers accepted, the clients count %d of %d", args[0], f.View.Kind, f.Total.Accepted,
					f.Total.Accepted+f.Total.Refused, accepted, offered)
			}
		}
	}
}

// compareLogs compares what is seen of conns with what the servers log of them; of a conn that had no request they log nothing.
func (s *observedSite) compareLogs(t *testing.T, list []*testimony) {
	t.Helper()
	seen := map[place][]handshake{} // in order: a port may be used again
	for _, x := range list {
		at := place{x.server, x.client.Port()}
		seen[at] = append(seen[at], x.handshake())
	}
	wrong, all := 0, 0
	for _, n := range s.servers {
		for _, line := range logLines(t, n) {
			port, err := strconv.ParseUint(line[5], 10, 16)
			testkit.Check(t, err)
			at := place{addrPort(n), uint16(port)}
			var h handshake
			if len(seen[at]) > 0 {
				h, seen[at] = seen[at][0], seen[at][1:]
			}
			all++
			if h.Version != line[1] || h.Resumed != (line[0] == "r") {
				if wrong++; wrong < 5 {
					t.Errorf("nginx %v, seen %+v", line, h)
				}
			}
		}
	}
	if wrong > 0 || all < 1000 {
		t.Errorf("%d of %d handshakes are not what they were", wrong, all)
	}
}
