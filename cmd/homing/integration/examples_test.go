package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"homing/bench/testkit"
)

// TestIntegrationExamples has each example and each part of a document that configures another program read by that
// program. Others have tests of their own: keepalived.conf TestIntegrationKeepalived, dns.sh TestIntegrationDNS, alerts.yml
// TestIntegrationPromtool.
func TestIntegrationExamples(t *testing.T) {
	needServers(t)
	need := func(t *testing.T, program, pkg string) {
		t.Helper()
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: apt-get install %s", program, pkg)
		}
	}
	t.Run("bird.conf", func(t *testing.T) {
		need(t, "bird", "bird2")
		testkit.Run(t, "bird", "-p", "-c", "../../../cluster/examples/bird.conf")
		// The loop in its comment speaks of a protocol that there is.
		said := text(t, "../../../cluster/examples/bird.conf")
		names := regexp.MustCompile(`birdc (?:enable|disable) (\w+)`).FindAllStringSubmatch(said, -1)
		for _, m := range names {
			if !regexp.MustCompile(`(?m)^protocol \w+ ` + m[1] + ` \{`).MatchString(said) {
				t.Errorf("%s: there is no such protocol", m[0])
			}
		}
		if len(names) != 2 {
			t.Errorf("%q, want one that enables and one that disables", names)
		}
	})
	t.Run("nginx.md", func(t *testing.T) {
		need(t, "nginx", "nginx")
		said := text(t, "../packaging/nginx.md")
		blocks := regexp.MustCompile("(?ms)^```nginx\n(.*?)^```").FindAllStringSubmatch(said, -1)
		var conf strings.Builder
		for _, m := range blocks {
			conf.WriteString(m[1])
		}
		for _, m := range regexp.MustCompile("`((?:log_format|listen) [^`]*;)`").FindAllStringSubmatch(said, -1) {
			phrase := m[1]
			if strings.HasPrefix(phrase, "listen") {
				phrase = "server { " + phrase + " ssl_certificate /etc/nginx/www.pem; ssl_certificate_key /etc/nginx/www.key; }"
			}
			fmt.Fprintln(&conf, phrase)
			blocks = append(blocks, m)
		}
		if len(blocks) != 3 {
			t.Errorf("%d parts of a configuration were found, want 3", len(blocks))
		}
		dir := t.TempDir()
		cert := newECDSA(t)
		put(t, filepath.Join(dir, "www.pem"), string(cert.Chain))
		put(t, filepath.Join(dir, "www.key"), string(cert.Key))
		file := filepath.Join(dir, "nginx.conf")
		put(t, file, "pid "+dir+"/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+strings.ReplaceAll(conf.String(), "/etc/nginx/", dir+"/")+"}\n")
		testkit.Run(t, "nginx", "-t", "-q", "-c", file)
	})
	t.Run("units", func(t *testing.T) {
		need(t, "systemd-analyze", "systemd")
		// Where the program is not at its place yet, systemd says that alone; man may be missing too.
		dir := t.TempDir()
		var units []string
		for _, name := range []string{"homing.service", "homing-agent.service"} {
			unit := strings.ReplaceAll(text(t, "../packaging/"+name), "/usr/bin/homing", os.Getenv("HOMING_BINARY"))
			units = append(units, filepath.Join(dir, name))
			put(t, filepath.Join(dir, name), regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(unit, ""))
		}
		dropIn := filepath.Join(dir, "homing.service.d")
		testkit.Check(t, os.Mkdir(dropIn, 0o755))
		put(t, filepath.Join(dropIn, "transparent.conf"), text(t, "../packaging/transparent.conf"))
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify"}, units...)...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "homing") || strings.Contains(line, "transparent") {
				t.Errorf("systemd-analyze: %s", line)
			}
		}
		if err != nil && !t.Failed() {
			t.Logf("systemd-analyze has something to say of other units: %v\n%s", err, out)
		}
	})
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	testkit.Check(t, err)
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	testkit.Check(t, os.WriteFile(path, []byte(text), 0o600))
}
