package affinity

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// newFolded makes a table that is folded as often as it can be.
func newFolded(t testing.TB, entries int) *Table {
	t.Helper()
	tab, err := new(shelf).nameless(tableSpec{name: "test", entries: entries}, Seed{})
	testkit.Check(t, err)
	testkit.Check(t, tab.takeInUse())
	t.Cleanup(func() { testkit.Check(t, tab.Close()) })
	if tab.seen().folds() == 0 {
		t.Skip("this system has no memory that can be folded")
	}
	return tab
}

// memory is what a table takes of the machine's, in bytes.
func (t *Table) memory(tb testing.TB) int {
	tb.Helper()
	var st unix.Stat_t
	testkit.Check(tb, unix.Fstat(t.mem.file, &st))
	return int(st.Blocks) * 512
}

func keyOf(i int) Key { return makeKey(mix(uint64(i)), 0) }

func TestFoldSizes(t *testing.T) {
	for _, tt := range []struct {
		buckets uint64
		most    int
		least   uint64
	}{
		{1, 0, 1},
		{leastBuckets, 0, leastBuckets},
		{4 * leastBuckets, 1, leastBuckets},
		{4*leastBuckets - 3, 1, leastBuckets},
		{4*leastBuckets - 4, 0, 4*leastBuckets - 4},
		{uint64(bucketsFor(DefaultTableEntries)), 4, 1628},
		{uint64(bucketsFor(DefaultClientEntries)), 3, 1628},
		{uint64(bucketsFor(MaxEntries)), 9, 3414},
	} {
		sizes, most := foldSizes(tt.buckets)
		if most != tt.most || sizes[0] != tt.buckets || sizes[most] != tt.least || sizes[maxFolds] != tt.least {
			t.Errorf("%d buckets: %d folds, %v, want %d and %d at last", tt.buckets, most, sizes, tt.most, tt.least)
		}
		for i := range most {
			if whole := foldingOf(i, most); !whole.valid(most) || foldingOf(most, i).valid(most) || foldingOf(i, most+1).valid(most) {
				t.Errorf("%d buckets: folding %x", tt.buckets, whole)
			}
		}
	}
}

// A table that fills up to its size takes memory as it does, and loses nothing but the few that find no slot in one that
// is not folded, wherever it is looked at: settled or not, grown by its owner or by who writes.
func TestFoldFills(t *testing.T) {
	const n = 200_000
	// Without its owner a table is never settled, so that entries crowd where they were before.
	for owner, mayLose := range map[bool]int{true: n / 1000, false: n / 200} {
		tab, now := newFolded(t, n), uint32(t0)
		most := tab.MaxBytes()
		for i := range n {
			tab.Insert(keyOf(i), uint32(i+1), t0+10_000, now)
			if owner && i%100 == 0 {
				now++
				for more := true; more; {
					var err error
					more, err = tab.grow(now)
					testkit.Check(t, err)
				}
			}
			if i == 1000 || i == 10_000 || i == 25_000 {
				missing := 0
				for j := range i + 1 {
					if id, _, ok := tab.Lookup(keyOf(j), now); !ok || id != uint32(j+1) {
						missing++
					}
				}
				if missing > 0 || tab.Used(now) < i/2 || tab.evicted.Load() > 0 {
					t.Errorf("owner %v: of %d entries %d are missing; %d used, %d evicted", owner, i+1, missing, tab.Used(now), tab.evicted.Load())
				}
				if got := tab.memory(t); got > most/2 || got < tab.Bytes()/2 || i == 1000 && got > 1<<17 {
					t.Errorf("owner %v: %d entries take %d bytes of %d; %d in use", owner, i+1, got, most, tab.Bytes())
				}
			}
		}
		for range 2 * settleAfter {
			now++
			for more := true; more; {
				more, _ = tab.grow(now) // checked above
			}
		}
		if l := tab.seen(); l != 0 {
			t.Errorf("owner %v: full, and the folding is %x", owner, l)
		}
		missing := 0
		for i := range n {
			if id, _, ok := tab.Lookup(keyOf(i), now); !ok || id != uint32(i+1) {
				missing++
			}
		}
		if lost := tab.evicted.Load(); missing != int(lost) || missing > mayLose || tab.inserts.Load() != n {
			t.Errorf("owner %v: of %d entries %d are missing, %d evicted, %d inserted", owner, n, missing, lost, tab.inserts.Load())
		}
		if held := int(tab.held()); held != n-missing {
			t.Errorf("owner %v: %d entries are counted, %d are there", owner, held, n-missing)
		}
	}
}

// What is written, written again and deleted between the foldings is what is found after.
func TestFoldAsMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tab, dumb, now := newFolded(t, 60_000), map[Key]uint32{}, uint32(t0)
	for i := range 300_000 {
		k := keyOf(r.IntN(1 + i/8))
		switch n := r.IntN(1000); {
		case n == 0:
			now++
			_, err := tab.grow(now)
			testkit.Check(t, err)
		case n == 1:
			tab.unfold(tab.seen())
		case n < 50:
			tab.Delete(k)
			delete(dumb, k)
		case n < 500:
			tab.Insert(k, uint32(i+1), t0+10_000, now)
			dumb[k] = uint32(i + 1)
		default:
			if id, _, ok := tab.Lookup(k, now); ok != (dumb[k] != 0) || id != dumb[k] {
				t.Fatalf("step %d, folding %x: got %d, want %d", i, tab.seen(), id, dumb[k])
			}
		}
	}
	if tab.seen().folds() > 0 || tab.evicted.Load() > 0 {
		t.Errorf("folding %x, %d evicted", tab.seen(), tab.evicted.Load())
	}
	tab.settle(now)
	if held := int(tab.held()); held != len(dumb) {
		t.Errorf("%d are counted, %d are there", held, len(dumb))
	}
}

// Loops write and read while the table grows under them: what is found is what was written for that key, and what was
// written stays.
func TestFoldConcurrent(t *testing.T) {
	const writers, each = 3, 20_000
	tab := newFolded(t, 2*writers*each)
	var now atomic.Uint32
	now.Store(t0)
	var writing, growing sync.WaitGroup
	over := make(chan struct{})
	growing.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if more, err := tab.grow(now.Load()); err != nil {
				t.Error(err)
			} else if !more {
				now.Add(1)
			}
		}
	})
	for w := range writers {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 9))
			for i := range each {
				mine := i*writers + w
				tab.Insert(keyOf(mine), uint32(mine+1), t0+1<<30, t0)
				any := r.IntN(writers * each)
				if id, _, ok := tab.Lookup(keyOf(any), t0); ok && id != uint32(any+1) {
					t.Errorf("the key of %d gave %d", any+1, id)
					return
				}
			}
		})
	}
	writing.Wait()
	close(over)
	growing.Wait()
	tab.settle(t0)
	missing := 0
	for i := range writers * each {
		if _, _, ok := tab.Lookup(keyOf(i), t0); !ok {
			missing++
		}
	}
	// A writer that was stopped for settleAfter, by the clock of this test, may have written to a place of before.
	if missing > writers*maxFolds {
		t.Errorf("%d of %d are missing", missing, writers*each)
	}
}

// Where there is no memory a table stays as it is, and evicts; it says so once, and goes on when there is some.
func TestFoldWithoutMemory(t *testing.T) {
	var log bytes.Buffer
	s := newStore(t, func(c *Config) {
		c.TableEntries, c.Log = 100_000, slog.New(slog.NewTextHandler(&log, nil))
	})
	tab := s.entries
	if tab.seen().folds() == 0 {
		t.Skip("this system has no memory that can be folded")
	}
	var pipe [2]int
	testkit.Check(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	file := tab.mem.file
	tab.mem.file = pipe[1] // which takes no memory
	small := tab.Bytes()
	slots := small / 16
	for i := range slots / 2 {
		tab.Insert(keyOf(i), 1, t0+1000, t0)
	}
	for range 3 {
		s.grow(t0)
	}
	for i := range 2 * slots {
		tab.Insert(keyOf(i), 1, t0+1000, t0)
	}
	if tab.Bytes() != small || tab.evicted.Load() == 0 {
		t.Errorf("%d bytes are in use, %d before; %d evicted", tab.Bytes(), small, tab.evicted.Load())
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "no memory") {
		t.Errorf("said: %s", got)
	}
	tab.mem.file = file
	for s.grow(t0) {
	}
	if tab.Bytes() <= small {
		t.Error("there is memory, and the table does not grow")
	}
}

// An export that began before a table grew has everything that was there, and a census counts each once.
func TestFoldExport(t *testing.T) {
	const n = 5000
	s := newStore(t, func(c *Config) { c.TableEntries = 100_000 })
	for i := range n {
		s.entries.Insert(keyOf(i), 1, t0+1000, t0)
	}
	var c Cursor
	got := map[Key]bool{}
	for i := 0; !c.Done(); i++ {
		for _, f := range s.Export(&c, make([]Fact, 0, 50), t0) {
			got[f.Key] = true
		}
		switch i {
		case 20, 40:
			s.entries.unfold(s.entries.seen())
		case 50:
			s.entries.settle(t0)
		}
	}
	if len(got) != n {
		t.Errorf("%d of %d entries are in the export", len(got), n)
	}
	var census Census
	if !s.Count(&census, t0) {
		t.Fatal("nothing is left to be counted")
	}
	s.entries.unfold(s.entries.seen())
	for s.Count(&census, t0) {
	}
	if census.Homes(1).Sessions != n {
		t.Errorf("%d of %d are counted", census.Homes(1).Sessions, n)
	}
}

// Elder and heir have the folding in common: what either unfolds, the other sees.
func TestFoldHandOver(t *testing.T) {
	const n = 3000
	elder := newStore(t, func(c *Config) { c.TableEntries = 100_000 })
	put := func(s *Store, from int) {
		for i := range n {
			s.entries.Insert(keyOf(from+i), uint32(from+i+1), t0+1000, t0)
		}
	}
	put(elder, 0)
	heir := heirOf(t, elder)
	defer func() { testkit.Check(t, heir.Close()) }()
	if !heir.Imported() || heir.entries.seen() != elder.entries.seen() {
		t.Fatalf("imported %v, folding %x, the elder's %x", heir.Imported(), heir.entries.seen(), elder.entries.seen())
	}
	put(heir, n)
	put(elder, 2*n)
	heir.entries.unfold(heir.entries.seen())
	put(elder, 3*n)
	both := sync.WaitGroup{} // either settles
	both.Go(func() { heir.entries.settle(t0) })
	both.Go(func() { elder.entries.settle(t0) })
	both.Wait()
	for _, s := range []*Store{elder, heir} {
		for i := range 4 * n {
			if id, _, ok := s.entries.Lookup(keyOf(i), t0); !ok || id != uint32(i+1) {
				t.Fatalf("entry %d: %d, %v", i, id, ok)
			}
		}
	}
}

// A table of the version before, which is whole, is taken over.
func TestFoldTakesOverWholeTables(t *testing.T) {
	dir := memoryDir(t)
	cfg := Config{Seed: 5, SeedMade: 4, TableEntries: 100_000, ClientEntries: 1000, Memory: dir, ahead: aheadBy(0)}
	s, err := NewStore(cfg)
	testkit.Check(t, err)
	s.entries.folding.Store(0)
	s.entries.header[0].Store(wholeMagic)
	s.entries.header[4].Store(s.entries.header.sum())
	for i := range 1000 {
		s.entries.Insert(keyOf(i), 1, t0+1000, t0)
	}
	testkit.Check(t, s.Close())
	again := newStore(t, func(c *Config) { *c = cfg })
	if n := len(export(again, t0)); n != 1000 {
		t.Errorf("%d of 1000 entries are there", n)
	}
	if bad, err := filepath.Glob(filepath.Join(dir, "*.bad-*")); err != nil || len(bad) > 0 {
		t.Errorf("set aside: %v, %v", bad, err)
	}
}

// Reseed empties all that is in use, and no page behind is touched for it.
func TestFoldReseed(t *testing.T) {
	s := newStore(t, func(c *Config) { c.TableEntries = DefaultTableEntries })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	for i := range 1000 {
		s.entries.Insert(keyOf(i), 1, t0+1000, t0)
	}
	testkit.Check(t, s.Reseed(ctx, Seed{7, 7}))
	cancel()
	<-done
	if s.entries.Used(t0) != 0 || s.entries.mem.file != 0 && s.entries.memory(t) > 1<<17 {
		t.Errorf("%d entries, %d bytes", s.entries.Used(t0), s.entries.memory(t))
	}
}

func TestOvercommits(t *testing.T) {
	for text, want := range map[string]bool{"0\n": true, "1\n": true, "2\n": false} {
		path := filepath.Join(t.TempDir(), "overcommit_memory")
		testkit.Check(t, os.WriteFile(path, []byte(text), 0o600))
		if got := overcommits(path); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if overcommits(filepath.Join(t.TempDir(), "none")) {
		t.Error("nothing is known, and memory is said to be found")
	}
}
