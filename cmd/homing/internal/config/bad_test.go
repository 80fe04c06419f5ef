//go:build linux

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata/bad")

// TestBad: of each file in testdata/bad, what the user is told. Each message says where and, behind a colon, what to do.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files, want 100 at least (%v)", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(name, text, nil)
		wrong, ok := errors.AsType[*Errors](err)
		if !ok {
			t.Errorf("%s: %v, want errors in the file; got %+v", name, err, c)
			continue
		}
		for _, p := range wrong.Problems {
			_, remedy, ok := strings.Cut(p.Text, ": ")
			if !ok || len(remedy) < 5 || strings.ContainsAny(p.Text, "\n") || strings.Contains(p.Text, "--") &&
				!bytes.Contains(text, []byte("--")) && !strings.Contains(p.Text, "xn--") {
				t.Errorf("%s: %q does not say what to do in one line and in the words of the file", name, p.Text)
			}
			if p.Line == 0 && !strings.HasPrefix(name, "empty") && !strings.HasSuffix(name, "-missing.yaml") {
				t.Errorf("%s: %q names no line", name, p.Text)
			}
		}
		var got bytes.Buffer
		if err := wrong.Write(&got); err != nil {
			t.Fatal(err)
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
