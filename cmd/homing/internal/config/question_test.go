package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/balancer/health"
)

func TestQuestionCheck(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		why, file, name, want string
		kind                  health.Kind
	}{
		{"no file", "", "", "", health.CheckHTTPS},
		{"tcp: the file is not looked at", filepath.Join(dir, "none"), "a.example", "", health.CheckTCP},
		{"a file that is not there", filepath.Join(dir, "none"), "a.example", "--check-ca-file: open ", health.CheckTLS},
		{"a file without certificates", empty, "a.example", "there is no certificate in it: give PEM", health.CheckTLS},
		{"no name", empty, "", "--check-ca-file needs --check-server-name", health.CheckTLS},
	} {
		k := Checks{Question: DefaultQuestion()}
		k.Kind, k.CAFile, k.ServerName, k.Port = tt.kind, tt.file, tt.name, 8443
		cfg, err := k.Config(nil)
		check := cfg.Check
		if tt.want == "" && (err != nil || check.Port != 8443 || check.Kind != tt.kind || check.Path != "/") ||
			tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %+v, %v, want %q", tt.why, check, err, tt.want)
		}
	}
}
