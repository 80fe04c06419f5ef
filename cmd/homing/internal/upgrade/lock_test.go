//go:build linux

package upgrade

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// A directory is one process's, and its heir's; it is free when the last of them has ended.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	nobody := &Estate{}
	elder, err := nobody.Lock(dir)
	testkit.Check(t, err)
	if _, err := nobody.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	var p Parcel
	testkit.Check(t, p.AddLock(elder))
	heir, err := (&Estate{Parcel: p}).Lock(dir)
	testkit.Check(t, err)
	testkit.Check(t, elder.Close())
	if _, err := nobody.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the elder has ended, its heir has not: %v", err)
	}
	testkit.Check(t, heir.Close())
	next, err := nobody.Lock(dir)
	testkit.Check(t, err)

	// Of another directory the elder's lock is of no use.
	var q Parcel
	testkit.Check(t, q.AddLock(next))
	estate := &Estate{Parcel: q}
	other, err := estate.Lock(t.TempDir())
	testkit.Check(t, err)
	testkit.Check(t, other.Close())
	if names := estate.Unused(); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
	// Nor of one that was emptied, where another process may have taken the new lock.
	testkit.Check(t, os.Remove(filepath.Join(dir, "lock")))
	third, err := nobody.Lock(dir)
	testkit.Check(t, err)
	if _, err := estate.Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the directory has another lock: %v", err)
	}
	testkit.Check(t, third.Close())
	testkit.Check(t, next.Close())
	testkit.Check(t, (*Lock)(nil).Close())
	estate.Done()
}

// A lock that is a way to another file is none: it would make or lock that one.
func TestLockFollowsNothing(t *testing.T) {
	for name, put := range map[string]func(path, elsewhere string) error{
		"a link to a file": func(path, elsewhere string) error {
			return errors.Join(os.WriteFile(elsewhere, nil, 0o600), os.Symlink(elsewhere, path))
		},
		"a link to nothing": func(path, elsewhere string) error { return os.Symlink(elsewhere, path) },
		"a second name": func(path, elsewhere string) error {
			return errors.Join(os.WriteFile(elsewhere, nil, 0o600), os.Link(elsewhere, path))
		},
		"a pipe": func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	} {
		dir := t.TempDir()
		path, elsewhere := filepath.Join(dir, "lock"), filepath.Join(t.TempDir(), "elsewhere")
		testkit.Check(t, put(path, elsewhere))
		_, before := os.Stat(elsewhere)
		lock, err := (&Estate{}).Lock(dir)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v", name, err)
		}
		testkit.Check(t, lock.Close())
		if _, after := os.Stat(elsewhere); (before == nil) != (after == nil) {
			t.Errorf("%s: a file was made behind it", name)
		}
	}
}

func TestLockRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	testkit.Check(t, os.WriteFile(file, nil, 0o600))
	if _, err := (&Estate{}).Lock(filepath.Join(file, "dir")); err == nil {
		t.Error("a directory in a file")
	}
	if err := os.Mkdir(file+"d", 0o700); err != nil {
		t.Fatal(err)
	}
	testkit.Check(t, os.Mkdir(filepath.Join(file+"d", "lock"), 0o700))
	if _, err := (&Estate{}).Lock(file + "d"); err == nil {
		t.Error("a lock that is a directory")
	}
}
