//go:build linux

package replica

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStateThatIsAPipe: a start does not wait for somebody to write into what is no file.
func TestStateThatIsAPipe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateName)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		_, log := openState(t, dir)
		if log.Lines("not a regular file") != 1 {
			t.Errorf("said %s", log)
		}
	}()
	select {
	case <-opened:
	case <-ctx.Done():
		t.Fatal("it waits")
	}
	if bad, err := filepath.Glob(path + ".bad-*"); err != nil || len(bad) != 1 {
		t.Errorf("set aside: %v, %v", bad, err)
	}
}
