//go:build linux

package affinity

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// heirOf makes a store that takes over from another one. It is the test's to close.
func heirOf(t *testing.T, elder *Store, edit ...func(*Config)) *Store {
	t.Helper()
	shared, err := elder.ExportTables()
	testkit.Check(t, err)
	seed := elder.Seed()
	cfg := elder.cfg
	cfg.Seed, cfg.SeedMade, cfg.Import = seed.Value, seed.Made, shared
	for _, e := range edit {
		e(&cfg)
	}
	heir, err := NewStore(cfg)
	testkit.Check(t, err)
	return heir
}

// descriptors counts the open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	testkit.Check(t, err)
	return len(files)
}

// Both processes see at once what either learns, of every kind that lies in a table.
func TestImportSharesTables(t *testing.T) {
	for _, dir := range []string{"", memoryDir(t)} {
		elder := newStore(t, func(c *Config) { c.Memory = dir })
		elder.Pool(1).IssuedID(77, 3, t0)
		before := descriptors(t)
		heir := heirOf(t, elder)
		if !heir.Imported() || len(export(heir, t0)) != 1 || heir.Changes() == 0 {
			t.Fatalf("memory %q: whole %v, known %v, changes %d", dir, heir.Imported(), export(heir, t0), heir.Changes())
		}
		elder.Pool(1).Completed(78, 4, t0)
		heir.Pool(1).IssuedID(79, 5, t0)
		if a, b := export(elder, t0), export(heir, t0); len(a) != 3 || !slices.Equal(a, b) {
			t.Errorf("memory %q: the elder knows %v, the heir %v", dir, a, b)
		}
		// A refusal that the elder met keeps the heir from asking that backend; a hint sends it to another.
		elder.refusals.Insert(7, 1, t0+9, t0)
		elder.hints.Insert(8, 2, t0+9, t0)
		if _, _, ok := heir.refusals.Lookup(7, t0); !ok {
			t.Error("a refusal is not shared")
		}
		if _, _, ok := heir.hints.Lookup(8, t0); !ok {
			t.Error("a hint is not shared")
		}
		testkit.Check(t, heir.Close())
		if now := descriptors(t); now != before {
			t.Errorf("memory %q: %d descriptors, before the heir %d", dir, now, before)
		}
		if len(export(elder, t0)) != 3 {
			t.Error("the heir took the table along")
		}
	}
}

// The heir keeps what the elder knew, whatever the elder does at its end; so does the heir's heir.
func TestImportOutlivesTheElder(t *testing.T) {
	elder, err := NewStore(Config{Seed: 1, TableEntries: 1000, ClientEntries: 1000, ahead: aheadBy(0)})
	testkit.Check(t, err)
	elder.Pool(1).IssuedID(77, 3, t0)
	heir := heirOf(t, elder)
	testkit.Check(t, elder.Close())
	next := heirOf(t, heir)
	next.Pool(1).IssuedID(78, 3, t0)
	if len(export(heir, t0)) != 2 || len(export(next, t0)) != 2 {
		t.Errorf("the heir knows %v, its heir %v", export(heir, t0), export(next, t0))
	}
	testkit.Check(t, heir.Close())
	testkit.Check(t, next.Close())
}

// A table of another size, seed or layout is not mapped; the store begins empty, says so, and closes what it was given.
func TestImportRefuses(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		edit     func(elder *Store, c *Config)
		says     string
	}{
		{"another size", func(_ *Store, c *Config) { c.TableEntries += 7 }, "bytes, not"},
		{"another seed", func(_ *Store, c *Config) { c.Seed++ }, "another seed"},
		{"a seed of another time", func(_ *Store, c *Config) { c.SeedMade++ }, "another seed"},
		{"another layout", func(e *Store, _ *Config) { e.entries.header[0].Add(1) }, "a table of version 4, not 3"},
		{"a header that is being written", func(e *Store, _ *Config) { e.entries.header.forget() }, "a broken header"},
		{"no such table", func(_ *Store, c *Config) { c.Import[0].Name = "others" }, ""},
		{"another directory", func(_ *Store, c *Config) { c.Memory = memoryDir(t) }, "another directory"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			var log bytes.Buffer
			elder := newStore(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			elder.Pool(1).IssuedID(77, 3, t0)
			before := descriptors(t)
			heir := heirOf(t, elder, func(c *Config) { tt.edit(elder, c) })
			if heir.Imported() || len(export(heir, t0)) != 0 {
				t.Errorf("whole %v, known %v", heir.Imported(), export(heir, t0))
			}
			if !strings.Contains(log.String(), tt.says) {
				t.Errorf("said: %s", &log)
			}
			testkit.Check(t, heir.Close())
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors, before %d", now, before)
			}
		})
	}
	t.Run("a store that cannot be made", func(t *testing.T) {
		elder := newStore(t)
		before := descriptors(t)
		shared, err := elder.ExportTables()
		testkit.Check(t, err)
		if _, err := NewStore(Config{Seed: 1, TableEntries: MaxEntries + 1, Import: append(shared, ExportedTable{"entries", shared[0].FD})}); err == nil {
			t.Error("a table of too many entries was made")
		}
		if now := descriptors(t); now != before {
			t.Errorf("%d descriptors, before %d", now, before)
		}
	})
}

// With another size in the same directory the heir's file takes the name when it runs, and an heir that never does
// leaves all as it was.
func TestImportAnotherSizeInTheSameDirectory(t *testing.T) {
	dir := memoryDir(t)
	elder := newStore(t, func(c *Config) { c.Memory = dir })
	elder.Pool(1).IssuedID(77, 3, t0)
	names := func() (all []string) {
		files, err := os.ReadDir(dir)
		testkit.Check(t, err)
		for _, f := range files {
			all = append(all, f.Name())
		}
		return all
	}
	bigger := func(c *Config) { c.TableEntries = 2 * elder.cfg.TableEntries }
	before := names()
	failed := heirOf(t, elder, bigger)
	if len(export(failed, t0)) != 0 || failed.Imported() {
		t.Error("the table of another size was used")
	}
	testkit.Check(t, failed.Close())
	if after := names(); !slices.Equal(after, before) {
		t.Errorf("an heir that was never run leaves %v behind, was %v", after, before)
	}

	heir := heirOf(t, elder, bigger)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); heir.Run(ctx) }()
	testkit.Check(t, heir.Published(ctx))
	cancel()
	<-done
	heir.Pool(1).IssuedID(78, 3, t0)
	if after := names(); !slices.Equal(after, before) {
		t.Errorf("files %v, want %v", after, before)
	}
	again := newStore(t, func(c *Config) { *c = heir.cfg; c.Import = nil })
	if got := export(again, t0); len(got) != 1 || got[0].Key != 78 {
		t.Errorf("the file with the name holds %v", got)
	}
	if len(export(elder, t0)) != 1 {
		t.Error("the elder lost its table")
	}
	testkit.Check(t, heir.Close())
	if bad, err := filepath.Glob(filepath.Join(dir, "*.bad-*")); err != nil || len(bad) > 0 {
		t.Errorf("set aside: %v, %v", bad, err)
	}
}

// What Merge has taken is there for the loops once Published returns, however many keys there were.
func TestPublished(t *testing.T) {
	s := newStore(t)
	now := unixSeconds(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var facts []Fact
	for i := range 3 * mergeSize {
		facts = append(facts, Fact{Kind: FactKeyHome, Length: 16, Pool: 1, Key: Key(i + 1), ID: 5, Time: now})
	}
	go func() { defer close(done); s.Run(ctx) }()
	s.Merge(ctx, facts, now)
	testkit.Check(t, s.Published(ctx))
	if got := len(s.keyFacts()); got != len(facts) {
		t.Errorf("%d of %d keys are there", got, len(facts))
	}
	cancel()
	<-done
	if err := s.Published(ctx); err == nil {
		t.Error("Published returned without Run")
	}
}
