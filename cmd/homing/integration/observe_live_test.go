package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	findings "homing/cmd/homing/internal/observe/judge"
)

// At the balancer's own interfaces the same is counted, live, as nginx logs; the process has no privileges by then, its metrics say
// the same, and it never sends a packet.
func TestIntegrationObserveInterface(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	for i, device := range []string{"eth0", "any"} {
		if i > 0 {
			s.forget(t)
		}
		file := filepath.Join(t.TempDir(), "findings.json")
		live := s.balancer.Start(t, "", binary, "observe", "--interface", device, "--json", file, "--anonymize", "off", "--admin", "127.0.0.1:9091")
		scrape := func() string {
			out, _ := s.balancer.Command(t.Context(), "curl", "-s", "http://127.0.0.1:9091/metrics").Output() // it may not be there yet
			return string(out)
		}
		testkit.Eventually(t, "it listens", func() bool { return strings.Contains(scrape(), "homing_observe_") })
		var status []byte
		if !testkit.Wait(testkit.Patience, func() bool {
			var err error
			status, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", live.PID()))
			testkit.Check(t, err)
			return regexp.MustCompile(`(?m)^CapEff:\s0+$`).Match(status) && regexp.MustCompile(`(?m)^NoNewPrivs:\s1$`).Match(status)
		}) {
			t.Errorf("%s: its privileges: %s", device, status)
		}
		p := newItinerary(t, s, 3)
		p.run(t, 300)
		truth := p.truth(t)
		sum := func(metrics string) (n int) {
			for _, m := range regexp.MustCompile(`(?m)^homing_observe_handshakes_total\{([^}]*)\} ([0-9]+)$`).FindAllStringSubmatch(metrics, -1) {
				if !strings.Contains(m[1], siteAddr) {
					var one int
					_, err := fmt.Sscan(m[2], &one)
					testkit.Check(t, err)
					n += one
				}
			}
			return n
		}
		if !testkit.Wait(testkit.Patience, func() bool { return sum(scrape()) == len(truth) }) {
			t.Errorf("%s: %d handshakes of %d are in the metrics", device, sum(scrape()), len(truth))
		}
		live.Stop()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: %s", err, live.Output())
		}
		var f findings.Findings
		testkit.Check(t, json.Unmarshal(text, &f))
		compareFindings(t, truth, &f)
		checkView(t, &f, findings.ViewBoth)
		if f.Capture.Dropped != 0 {
			t.Errorf("%s: the kernel dropped %d packets", device, f.Capture.Dropped)
		}
	}
}
