package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// numbers is what differs from run to run, with the room that it takes.
var numbers = regexp.MustCompile(`[0-9][0-9.,]*|  +`)

// What the README prints of diagnose and observe is what they print of three nginx behind round robin, but for the numbers.
func TestIntegrationReadmePays(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	text, err := os.ReadFile("../../../README.md")
	testkit.Check(t, err)
	_, section, _ := strings.Cut(string(text), "\n## Does it pay for you?\n")
	section, _, _ = strings.Cut(section, "\n## ")
	harness := filepath.Join(t.TempDir(), "homing-bench")
	testkit.Run(t, "go", "build", "-o", harness, "homing/cmd/homing-bench")

	s.roundRobin(t)
	recorder := s.record(t, "trace.pcap", mirrorBack)
	newItinerary(t, s, 20).run(t, 6000)
	dir := t.TempDir()
	testkit.Check(t, os.Rename(recorder.end(t), filepath.Join(dir, "trace.pcap")))
	testkit.Check(t, os.WriteFile(filepath.Join(dir, "cert.pem"), s.cert.Chain, 0o600))
	said := map[string]bool{}
	lines, printed := 0, ""
	for line := range strings.Lines(section) {
		words, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if !ok {
			continue
		}
		program, args, _ := strings.Cut(words, " ")
		switch program {
		case "tcpdump":
		case "homing-bench", "homing":
			path := map[string]string{"homing": binary, "homing-bench": harness}[program]
			cmd := s.clients.Command(t.Context(), path, strings.Fields(args)...)
			cmd.Dir = dir
			out, _ := cmd.Output() // diagnose tells by its exit code that sessions are lost
			printed += string(out)
			for line := range strings.Lines(string(out)) {
				said[numbers.ReplaceAllString(strings.TrimSpace(line), "#")] = true
			}
		default:
			if lines++; !said[numbers.ReplaceAllString(strings.TrimSpace(words), "#")] {
				t.Errorf("nothing prints %q", words)
			}
		}
	}
	if lines < 9 {
		t.Errorf("only %d lines of output are in the README", lines)
	}
	if t.Failed() {
		t.Log(printed)
	}
}
