package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

const (
	// stateName is the file in the state directory.
	stateName = "affinity.state"

	// stateEvery is how often what has changed is written.
	stateEvery = time.Second

	// stateShare keeps a large table on a slow disk from being written without a pause: after a write comes a rest of
	// so many times what it took.
	stateShare = 4
)

// StateDir keeps what a store knows in a directory on disk, for the next start of the node: kill -9, restart and reboot
// lose at most what was learned since the last write. The file is a copy of all facts, checksummed, written under
// another name and renamed; see state_file.go. What cannot be trusted is set aside with one line and never ends the
// node.
type StateDir struct {
	// Static.
	path     string
	log      *slog.Logger
	keysOnly bool
	every    time.Duration

	// Owned by the goroutine that opens, loads and runs it.
	seed    affinity.Seed // of the file at path; zero: there is none
	changes uint64        // Store.Changes at the last write
	failing bool          // the last write failed, and that was said

	stats atomic.Pointer[StateDirStats] // replaced by who owns the rest
}

// StateDirConfig says where.
type StateDirConfig struct {
	Dir string // made with mode 0700 if it is not there

	// KeysOnly leaves the tables of entries and clients out: they lie in memory that survives (affinity.Config.Memory),
	// and the ticket keys do not.
	KeysOnly bool

	Log *slog.Logger // nil = silent

	every time.Duration // for tests; 0 = stateEvery
}

// OpenStateDir finds what an earlier process has left. An error means that the directory cannot be used.
func OpenStateDir(cfg StateDirConfig) (*StateDir, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster: state: %w", err)
	}
	s := &StateDir{path: filepath.Join(cfg.Dir, stateName), log: cfg.Log, keysOnly: cfg.KeysOnly, every: cfg.every}
	s.log = cmp.Or(s.log, slog.New(slog.DiscardHandler))
	s.every = cmp.Or(s.every, stateEvery)
	s.stats.Store(new(StateDirStats))
	seed, err := verifyState(s.path)
	switch {
	case err == nil:
		s.seed = seed
	case errors.Is(err, fs.ErrNotExist):
	default:
		if err := affinity.SetAside(s.path, err, s.log); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Seed is the seed of what was left, for affinity.Config; zero if nothing was.
func (s *StateDir) Seed() affinity.Seed { return s.seed }

// Load merges what was left into the store, which must have the same seed for it: else it is set aside. Only who may
// write the directory, mode 0700, can put anything into it. The store's Run must be running. It returns how many facts
// are still good.
func (s *StateDir) Load(ctx context.Context, store *affinity.Store) int {
	if s.seed == (affinity.Seed{}) {
		return 0
	}
	if store.Seed() != s.seed {
		s.setAside(errors.New("made with another seed"))
		return 0
	}
	began := time.Now()
	facts, news, err := 0, 0, error(nil)
	err = readState(s.path, func(batch []affinity.Fact) {
		facts += len(batch)
		shiftAll(batch, -store.Behind())
		news += store.Merge(ctx, batch, store.Now())
	})
	if err != nil {
		s.setAside(err)
	}
	s.log.Info("state loaded", slog.String("file", s.path), slog.Int("facts", facts), slog.Int("good", news),
		slog.Float64("took_seconds", time.Since(began).Seconds()))
	return news
}

// setAside is SetAside without a way to fail: a file that cannot be renamed is replaced by the next write.
func (s *StateDir) setAside(why error) {
	if err := affinity.SetAside(s.path, why, s.log); err != nil {
		s.log.Warn("state", slog.Any("error", err))
	}
	s.seed = affinity.Seed{}
}

// Run writes behind what the store learns, until ctx is done, and once more then. No loop waits for it.
func (s *StateDir) Run(ctx context.Context, store *affinity.Store) {
	for wait := s.every; bound.Pause(ctx, wait); {
		wait = max(s.every, stateShare*s.write(store))
	}
	s.write(store)
}

// write writes the file if there is anything new.
func (s *StateDir) write(store *affinity.Store) (took time.Duration) {
	seed, changes := store.Seed(), store.Changes()
	if seed == s.seed && changes == s.changes {
		return 0
	}
	if s.seed != seed && s.seed != (affinity.Seed{}) {
		s.setAside(errors.New("the cluster has another seed"))
	}
	began := time.Now()
	n, err := writeState(s.path, seed, s.export(store, store.Now()))
	took = time.Since(began)
	if err == nil && store.Seed() != seed {
		return took // written while the seed changed: again, next time, with the new one
	}
	stats := s.Stats()
	defer s.stats.Store(&stats)
	if err != nil {
		stats.Failures++
		if !s.failing {
			s.log.Error("state not written, trying again", slog.Any("error", err))
		}
		s.failing = true
		return took
	}
	if s.failing {
		s.log.Info("state written again", slog.String("file", s.path))
	}
	s.failing, s.seed, s.changes = false, seed, changes
	stats.Writes++
	stats.Bytes, stats.Took = n, took
	return took
}

// export yields all facts, batch by batch, with the times of the wall clock: that is all that a process of another day
// shares with this one.
func (s *StateDir) export(store *affinity.Store, now uint32) func([]affinity.Fact) []affinity.Fact {
	var c affinity.Cursor
	if s.keysOnly {
		c = store.ExportKeys()
	}
	return func(room []affinity.Fact) []affinity.Fact {
		facts := store.Export(&c, room, now)
		shiftAll(facts, store.Behind())
		return facts
	}
}

// StateDirStats is what has been written.
type StateDirStats struct {
	Writes, Failures uint64
	Bytes            int64         // of the last
	Took             time.Duration // the last
}

// Stats may be called by any goroutine.
func (s *StateDir) Stats() StateDirStats { return *s.stats.Load() }
