package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadID(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := LoadID(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := LoadID(dir); err != nil || again != first {
		t.Errorf("%q, then %q: %v", first, again, err)
	}
	if other, err := LoadID(t.TempDir()); err != nil || other == first {
		t.Errorf("another directory: %q, %v", other, err)
	}
	if err := os.WriteFile(filepath.Join(dir, idFile), []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadID(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a file of somebody else: %v", err)
	}
}
