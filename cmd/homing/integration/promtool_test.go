package integration

import (
	"os/exec"
	"strings"
	"testing"

	"homing/bench/farm"
)

// TestIntegrationPromtool asks Prometheus' own tool what it thinks of the metrics of a node of a cluster under way, and of
// the packaged alerts.
func TestIntegrationPromtool(t *testing.T) {
	needServers(t)
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	var flags []string
	for _, n := range servers {
		flags = append(flags, "--backend", n.Addr())
	}
	w := newTown(t, flags...)
	w.build(t, 2)
	for _, u := range users(t, w.nodes[0].addr, 3, idUser(cert)) {
		if _, err := u.Get(t.Context(), w.nodes[0].addr); err != nil {
			t.Error(err)
		}
	}
	p := &browserPage{TB: t, admin: w.nodes[0].admin}
	text := p.fetch("/metrics")
	for _, want := range []string{"homing_conns_accepted_total ", "homing_replication_lag_seconds{", "homing_probe_tickets{", "homing_backend_offers_total{", "homing_pool_answer_seconds_bucket{", "homing_backend_checks_total{"} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no %s in /metrics", want)
		}
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics", "--extended")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	} else {
		t.Logf("promtool check metrics: nothing to say but\n%s", firstLines(string(out), 8))
	}
	check = exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=all", "--lint-fatal", "../packaging/alerts.yml")
	out, err := check.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "SUCCESS") {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

func firstLines(text string, n int) string {
	lines := strings.SplitAfterN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "")
}
