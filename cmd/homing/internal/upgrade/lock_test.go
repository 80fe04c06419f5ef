//go:build linux

package upgrade

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A directory is one process's, and its heir's; it is free when the last of them has ended.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	nobody := &Estate{}
	elder, err := nobody.Lock(dir)
	check(t, err)
	if _, err := nobody.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	var p Parcel
	check(t, p.AddLock(elder))
	heir, err := (&Estate{Parcel: p}).Lock(dir)
	check(t, err)
	check(t, elder.Close())
	if _, err := nobody.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the elder has ended, its heir has not: %v", err)
	}
	check(t, heir.Close())
	next, err := nobody.Lock(dir)
	check(t, err)

	// Of another directory the elder's lock is of no use.
	var q Parcel
	check(t, q.AddLock(next))
	estate := &Estate{Parcel: q}
	other, err := estate.Lock(t.TempDir())
	check(t, err)
	check(t, other.Close())
	if names := estate.Unused(); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
	// Nor of one that was emptied, where another process may have taken the new lock.
	check(t, os.Remove(filepath.Join(dir, "lock")))
	third, err := nobody.Lock(dir)
	check(t, err)
	if _, err := estate.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the directory has another lock: %v", err)
	}
	check(t, third.Close())
	check(t, next.Close())
	check(t, (*Lock)(nil).Close())
	estate.Done()
}

func TestLockRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := (&Estate{}).Lock(filepath.Join(file, "dir")); err == nil {
		t.Error("a directory in a file")
	}
	if err := os.Mkdir(file+"d", 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, os.Mkdir(filepath.Join(file+"d", "lock"), 0o700))
	if _, err := (&Estate{}).Lock(file + "d"); err == nil {
		t.Error("a lock that is a directory")
	}
}
