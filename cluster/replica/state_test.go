package replica

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// runStore runs a store until the test ends, or until the function is called.
func runStore(t *testing.T, cfg affinity.Config) (*affinity.Store, func()) {
	t.Helper()
	cfg.TableEntries, cfg.ClientEntries = 20_000, 2000
	s, err := affinity.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { s.Run(ctx) })
	stop := sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// teach lets the store learn a session, a client's home and a ticket key.
func teach(t *testing.T, s *affinity.Store) {
	t.Helper()
	p := s.Pool(1)
	p.IssuedID(77, 3, now())
	p.Completed(78, 3, now())
	ticket := func(i byte) affinity.Ident {
		return p.HashIdent(append([]byte("name of 16 bytes"), bytes.Repeat([]byte{i}, 100)...))
	}
	p.IssuedTicket(ticket(1), 0, 4, now())
	p.IssuedTicket(ticket(2), 0, 4, now())
	testkit.Eventually(t, "a ticket key", func() bool { _, ok := p.TicketKey(ticket(3), 4, now()); return ok })
}

// known counts the facts that the store would export.
func known(s *affinity.Store) (n int) {
	var c affinity.Cursor
	for !c.Done() {
		n += len(s.Export(&c, make([]affinity.Fact, 0, 100), now()))
	}
	return n
}

func openState(t *testing.T, dir string) (*StateDir, *testkit.Log) {
	t.Helper()
	log := new(testkit.Log)
	s, err := OpenStateDir(StateDirConfig{
		Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil)),
		every: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, _ := openState(t, dir)
	if first.Seed() != (affinity.Seed{}) {
		t.Errorf("a seed out of nothing: %v", first.Seed())
	}
	a, _ := runStore(t, affinity.Config{Seed: 11, SeedMade: 12})
	if n := first.Load(t.Context(), a); n != 0 {
		t.Errorf("%d facts out of nothing", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { first.Run(ctx, a); close(done) }()
	teach(t, a)
	testkit.Eventually(t, "written, and quiet since", func() bool {
		before := first.Stats()
		return before.Writes > 0 && known(a) == 5 && before.Bytes > 5*factSize
	})
	// From here on as after kill -9: nothing is written any more.
	cancel()
	<-done
	if info, err := os.Stat(first.path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	second, log := openState(t, dir)
	if second.Seed() != (affinity.Seed{Value: 11, Made: 12}) {
		t.Fatalf("seed %v: %s", second.Seed(), log)
	}
	b, _ := runStore(t, affinity.Config{Seed: second.Seed().Value, SeedMade: second.Seed().Made})
	if n := second.Load(t.Context(), b); n != 5 {
		t.Errorf("%d facts loaded: %s", n, log)
	}
	testkit.Eventually(t, "all is known again", func() bool { return known(b) == 5 })
	if took := second.write(b); took == 0 {
		t.Error("what was loaded is not written again")
	}
	if took := second.write(b); took != 0 {
		t.Error("written without a change")
	}
}

func TestStateKeysOnly(t *testing.T) {
	dir := t.TempDir()
	a, _ := runStore(t, affinity.Config{Seed: 11})
	teach(t, a)
	s, _ := openState(t, dir)
	s.keysOnly = true
	s.write(a)
	n := 0
	if err := readState(s.path, func(f []affinity.Fact) { n += len(f) }); err != nil || n != 1 {
		t.Errorf("%d facts, %v", n, err)
	}
}

func TestStateWithAnotherSeed(t *testing.T) {
	dir := t.TempDir()
	a, _ := runStore(t, affinity.Config{Seed: 11, SeedMade: 12})
	teach(t, a)
	first, _ := openState(t, dir)
	first.write(a)

	// The cluster's seed was taken before the state was loaded.
	second, log := openState(t, dir)
	b, _ := runStore(t, affinity.Config{Seed: 13})
	if n := second.Load(t.Context(), b); n != 0 || log.Lines("another seed") != 1 || known(b) != 0 {
		t.Errorf("%d facts, said %s", n, log)
	}
	// And while it was written behind.
	second.write(b)
	if err := b.Reseed(t.Context(), affinity.Seed{Value: 5, Made: 6}); err != nil {
		t.Fatal(err)
	}
	second.write(b)
	if seed, err := verifyState(second.path); err != nil || seed.Value != 5 ||
		log.Lines("the cluster has another seed") != 1 {
		t.Errorf("%v, %v, said %s", seed, err, log)
	}
}

func TestStateThatCannotBeTrusted(t *testing.T) {
	a, _ := runStore(t, affinity.Config{Seed: 11})
	teach(t, a)
	good := filepath.Join(t.TempDir(), stateName)
	var c affinity.Cursor
	if _, err := writeState(good, a.Seed(),
		func(f []affinity.Fact) []affinity.Fact { return a.Export(&c, f, now()) }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) []byte {
		b := bytes.Clone(text)
		b[at] ^= 1
		return b
	}
	for _, tt := range []struct {
		sentence string
		content  []byte
		says     string
	}{
		{"an older version", flip(7), "version 3, not 2"},
		{"another program's file", []byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "not a state of homing"},
		{"an empty file", nil, "header"},
		{"a bit of the seed", flip(10), "broken header"},
		{"a bit of a fact", flip(stateHeader + 30), "chunk 1 is broken"},
		{"a bit of a length", flip(stateHeader + 3), "chunk 1 is broken"},
		{"a length out of bounds", flip(stateHeader), "chunk 1 of"},
		{"cut within the first chunk", text[:stateHeader+20], "chunk 1: unexpected EOF"},
		{"cut before the end", text[:len(text)-chunkHeader], "chunk 2: EOF"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, stateName), tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, log := openState(t, dir)
			if s.Seed() != (affinity.Seed{}) || log.Lines(tt.says) != 1 || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("seed %v, said %s", s.Seed(), log)
			}
			if bad, err := filepath.Glob(s.path + ".bad-*"); err != nil || len(bad) != 1 {
				t.Errorf("set aside: %v, %v", bad, err)
			}
			b, _ := runStore(t, affinity.Config{Seed: 11})
			if s.Load(t.Context(), b) != 0 || s.write(b) == 0 {
				t.Error("the node cannot go on without it")
			}
		})
	}
}

func TestStateThatCannotBeWritten(t *testing.T) {
	a, _ := runStore(t, affinity.Config{Seed: 11})
	s, log := openState(t, t.TempDir())
	if err := os.Mkdir(s.path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path+".tmp/in the way", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.write(a)
	s.write(a)
	if st := s.Stats(); st.Failures != 2 || log.Lines("state not written") != 1 {
		t.Errorf("%+v, said %s", st, log)
	}
	if err := os.RemoveAll(s.path + ".tmp"); err != nil {
		t.Fatal(err)
	}
	s.write(a)
	if st := s.Stats(); st.Writes != 1 || log.Lines("written again") != 1 {
		t.Errorf("%+v, said %s", st, log)
	}
	if _, err := OpenStateDir(StateDirConfig{Dir: s.path}); err == nil {
		t.Error("a file passes for a directory")
	}
}

func FuzzStateFile(f *testing.F) {
	var out bytes.Buffer
	facts := []affinity.Fact{{Kind: affinity.FactEntry, Key: 1, ID: 2, Time: 3}}
	if _, err := writeChunks(&out, affinity.Seed{Value: 1, Made: 2}, func(b []affinity.Fact) []affinity.Fact {
		b, facts = append(b, facts...), nil
		return b
	}); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add(out.Bytes()[:stateHeader])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		if _, err := walkChunks(bufio.NewReader(bytes.NewReader(b)),
			func(f []affinity.Fact) { n += len(f) }); err == nil && n*factSize > len(b) {
			t.Errorf("%d facts in %d bytes", n, len(b))
		}
	})
}

// TestStateOfAClockAhead: what a node wrote whose clock was ahead is taken over, and lives no longer than what is
// learned now.
func TestStateOfAClockAhead(t *testing.T) {
	const hour = 60 * 60
	first, _ := runStore(t, affinity.Config{Seed: 7})
	teach(t, first)
	path := filepath.Join(t.TempDir(), stateName)
	var c affinity.Cursor
	if _, err := writeState(path, first.Seed(), func(room []affinity.Fact) []affinity.Fact {
		facts := first.Export(&c, room, now())
		shiftAll(facts, 26*hour)
		return facts
	}); err != nil {
		t.Fatal(err)
	}
	state, _ := openState(t, filepath.Dir(path))
	store, _ := runStore(t, affinity.Config{Seed: 7, SeedMade: first.Seed().Made})
	if n := state.Load(t.Context(), store); n != known(first) {
		t.Errorf("%d facts were taken, of %d", n, known(first))
	}
	if err := store.Published(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := map[affinity.FactKind]uint32{}
	for c := (affinity.Cursor{}); !c.Done(); {
		for _, f := range store.Export(&c, make([]affinity.Fact, 0, 100), now()) {
			left[f.Kind] = max(left[f.Kind], f.Time)
		}
	}
	for kind, most := range map[affinity.FactKind]uint32{
		affinity.FactEntry: 27 * hour, affinity.FactClient: 24 * hour,
		affinity.FactKeyHome: 0,
	} {
		// Spans are rounded up by an eighth at most: a ticket lives 24 h, and may be given 27 here.
		if end := left[kind]; end == 0 || end > now()+most {
			t.Errorf("%v: until %d s from now, not %d", kind, int64(end)-int64(now()), most)
		}
	}
}
