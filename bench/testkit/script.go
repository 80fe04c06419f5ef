package testkit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts runs each testdata/*.txt and compares what it prints, its commands included, with the file, which update
// rewrites.
func Scripts(t *testing.T, update bool, run func(t *testing.T, text string) []byte) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			Check(t, err)
			got := run(t, string(text))
			if update {
				Check(t, os.WriteFile(file, got, 0o644))
			} else if !bytes.Equal(got, text) {
				t.Errorf("%s is not what it should be; it prints:\n%s", file, got)
			}
		})
	}
}
