package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVuln holds what make vuln makes of findings: a known vulnerability fails it unless it is listed with a reason, and
// so does a line of the list whose vulnerability no longer is. The scanner is a script here: the real one's findings are
// those of this tree, which has none.
func TestVuln(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	const (
		called   = `{"finding": {"osv": "GO-2026-0001", "trace": []}}`
		testOnly = `{"osv": {"id": "GO-2026-0002", "aliases": ["GO-2026-0009"]}}`
		known    = `{"osv": {"id": "GO-2026-6809"}}`
	)
	for _, tt := range []struct {
		name                     string
		source, modules, control string
		accepted                 string
		want                     string // in what it says; empty where it succeeds
	}{
		{"nothing", "", "", known, "# comment\n", ""},
		{"called", called, "", known, "", "make: GO-2026-0001: Of the tongue: https"},
		{"in a module of tests", "", testOnly, known, "", "make: GO-2026-0002: Of the tongue: https"},
		{"all listed", called, testOnly, known, "GO-2026-0001 not reached\nGO-2026-0002 tests only\n", ""},
		{"one of two listed", called, testOnly, known, "GO-2026-0001 not reached\n", "make: GO-2026-0002:"},
		{"no longer there", called, "", known, "GO-2026-0001 not reached\nGO-2026-0003 gone\n", "make: GO-2026-0003 no longer is"},
		{"no reason", called, "", known, "GO-2026-0001\n", `want "GO-YEAR-NUMBER reason": GO-2026-0001`},
		{"a database that knows nothing", "", "", "", "", "knows nothing of Go 1.26.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name, content string) string {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for _, id := range []string{"GO-2026-0001", "GO-2026-0002"} {
				file("db/ID/"+id+".json", `{"id":"`+id+`","summary":"Of the tongue","details":"long"}`)
			}
			scanner := file("govulncheck", "#!/bin/sh\ncase \"$*\" in\n"+
				"*' -mode query '*stdlib@*) echo '"+tt.control+"';;\n"+
				"*' -mode query '*golang.org/x/sys@*) echo '"+tt.modules+"';;\n"+
				"*' -format json '*) echo '"+tt.source+"';;\nesac\n")
			script := exec.CommandContext(t.Context(), "bash", ".ci/vuln", scanner, filepath.Join(dir, "db"), file("accepted", tt.accepted))
			script.Dir = "../.."
			out, err := script.CombinedOutput()
			if (err == nil) != (tt.want == "") || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v, want %q:\n%s", err, tt.want, out)
			}
		})
	}
}
