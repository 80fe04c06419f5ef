package affinity

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/bench/testkit"
)

// tempIn is a directory of the test in dir, or skips the test.
func tempIn(t *testing.T, dir string) string {
	t.Helper()
	name, err := os.MkdirTemp(dir, "homing-test-")
	if err != nil {
		t.Skip("no tmpfs:", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// fill makes a store in dir that knows one session, and ends its process's part.
func fillDir(t *testing.T, dir string) Config {
	t.Helper()
	cfg := Config{Seed: 5, SeedMade: 4, TableEntries: 1000, ClientEntries: 1000, Memory: dir, ahead: aheadBy(0)}
	s, err := NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Pool(1).IssuedID(77, 3, t0)
	s.Pool(1).Completed(78, 3, t0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestMemoryIsFoundAgain(t *testing.T) {
	dir := memoryDir(t)
	cfg := fillDir(t, dir)
	cfg.Seed, cfg.SeedMade = 0, 0
	s := newStore(t, func(c *Config) { *c = cfg })
	if s.Seed() != (Seed{5, 4}) || len(export(s, t0)) != 2 {
		t.Errorf("seed %v, known %v", s.Seed(), export(s, t0))
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestMemoryThatCannotBeTrusted(t *testing.T) {
	word := func(at int64, b ...byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		sentence string
		harm     func(t *testing.T, path string)
		says     string
	}{
		{"an older version", word(0, 0), "a table of version 0, not 3"},
		{"another program's file", word(4, 1, 2, 3, 4), "not a table of homing"},
		{"a changed seed", word(8, 1, 2, 3), "a broken header"},
		{"another size inside", word(24, 7), "a broken header"},
		{"a folding that cannot be", word(56, 3), "a folding that cannot be"},
		{"a shorter file", func(t *testing.T, path string) { testkit.Check(t, os.Truncate(path, 4096)) }, "a file of 4096 bytes"},
		{"an empty file", func(t *testing.T, path string) { testkit.Check(t, os.Truncate(path, 0)) }, "a file of 0 bytes"},
		{"one that others may write", func(t *testing.T, path string) { testkit.Check(t, os.Chmod(path, 0o622)) }, "mode 0622"},
		{"a directory", func(t *testing.T, path string) {
			testkit.Check(t, os.Remove(path))
			testkit.Check(t, os.Mkdir(path, 0o700))
		}, "is a directory"},
		{"a link", func(t *testing.T, path string) {
			testkit.Check(t, os.Rename(path, path+".real"))
			testkit.Check(t, os.Symlink(path+".real", path))
		}, "symbolic links"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			dir := memoryDir(t)
			cfg := fillDir(t, dir)
			tt.harm(t, filepath.Join(dir, "entries.table"))
			var log bytes.Buffer
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			s := newStore(t, func(c *Config) { *c = cfg })
			for _, f := range export(s, t0) {
				if f.Kind == FactEntry {
					t.Errorf("trusted: %+v", f)
				}
			}
			if log.Len() == 0 || !strings.Contains(log.String(), tt.says) || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("said: %s", log.String())
			}
			if bad, err := filepath.Glob(filepath.Join(dir, "entries.table.bad-*")); err != nil || len(bad) != 1 {
				t.Errorf("set aside: %v, %v", bad, err)
			}
		})
	}
}

func TestMemoryWithTwoSeeds(t *testing.T) {
	dir, other := memoryDir(t), memoryDir(t)
	cfg := fillDir(t, dir)
	o := cfg
	o.Seed, o.Memory = 6, other
	s, err := NewStore(o)
	testkit.Check(t, err)
	testkit.Check(t, s.Close())
	testkit.Check(t, os.Rename(filepath.Join(other, "clients.table"), filepath.Join(dir, "clients.table")))
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	again := newStore(t, func(c *Config) { *c = cfg })
	if len(export(again, t0)) != 1 || !strings.Contains(log.String(), "another seed") {
		t.Errorf("known %v, said %s", export(again, t0), log.String())
	}
}

func TestMemoryOnDisk(t *testing.T) {
	dir := t.TempDir()
	if s, err := NewStore(Config{Memory: dir}); err == nil {
		testkit.Check(t, s.Close())
		t.Skip("the temporary directory is a tmpfs")
	} else if !strings.Contains(err.Error(), "tmpfs") {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestSetAsideKeepsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	testkit.Check(t, os.WriteFile(path+".bad-1", nil, 0o600))
	testkit.Check(t, os.WriteFile(path, nil, 0o600))
	testkit.Check(t, SetAside(path, os.ErrInvalid, slog.New(slog.DiscardHandler)))
	if bad, err := filepath.Glob(path + ".bad-*"); err != nil || len(bad) != 1 || bad[0] == path+".bad-1" {
		t.Errorf("%v, %v", bad, err)
	}
	if err := SetAside(path, os.ErrInvalid, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is not there was set aside")
	}
}
