package affinity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// ExportedTable is the memory of one table, which one process hands to the next: both map it while the older one still
// has conns, so that what either learns of exact sessions, clients and refusals the other knows at once. Ticket keys
// are in no table: an heir merges an Export of them, and the facts that follow it. The descriptors go over a socket
// between the two alone, so that no client can bring one.
type ExportedTable struct {
	Name string
	FD   int // a descriptor of the file that is the memory
}

// ExportTables gives a descriptor for the memory of each table that has one; the caller closes them. Tables on the
// heap, which an heir needs an Export of, have none.
func (s *Store) ExportTables() (exported []ExportedTable, err error) {
	for _, spec := range s.specs() {
		fd, err := (*spec.table).mem.share()
		switch {
		case errors.Is(err, errors.ErrUnsupported):
		case err != nil:
			for _, one := range exported {
				discard(one.FD)
			}
			return nil, fmt.Errorf("affinity: share the table of %s: %w", spec.name, err)
		default:
			exported = append(exported, ExportedTable{Name: spec.name, FD: fd})
		}
	}
	return exported, nil
}

// Imported reports whether the tables of entries and of clients are those of the process before, by Config.Import. If
// not, they need an Export of its.
func (s *Store) Imported() bool { return s.entries.imported && s.clients.imported }

// TableNames are the names of all ExportedTables, in no table's but this package's words.
func TableNames() [4]string { return [...]string{nameEntries, nameClients, nameRefusals, nameHints} }

const (
	nameEntries  = "entries"
	nameClients  = "clients"
	nameRefusals = "refusals"
	nameHints    = "hints"
)

// tableSpec is what a store wants of a table.
type tableSpec struct {
	table   **Table
	name    string
	entries int
	kept    bool // in a file, with Config.Memory
}

// size is the table's buckets, and the words of the file that they are in.
func (p tableSpec) size() (buckets uint64, words int) {
	n := bucketsFor(p.entries)
	return uint64(n), headerWords + n*bucketWords
}

// specs are the store's tables.
func (s *Store) specs() []tableSpec {
	return []tableSpec{
		{&s.entries, nameEntries, s.cfg.TableEntries, true},
		{&s.clients, nameClients, s.cfg.ClientEntries, true},
		{&s.refusals, nameRefusals, refusedEntries, false},
		{&s.hints, nameHints, hintEntries, false},
	}
}

// imported is the table with that name among those of Config.Import, nil if it is not there or not the one wanted:
// another size, another layout, another directory.
func (s *shelf) imported(p tableSpec, seed Seed) *Table {
	fd, ok := s.given[p.name]
	if !ok {
		return nil
	}
	delete(s.given, p.name)
	buckets, words := p.size()
	if s.dir != "" && p.kept && !isFile(fd, s.path(p.name)) {
		discard(fd)
		s.log.Info("table not shared: another directory", slog.String("table", p.name))
		return nil
	}
	mem, err := importMapping(fd, words)
	if err != nil {
		s.log.Info("table not shared", slog.String("table", p.name), slog.Any("because", err))
		return nil
	}
	found, err := header(mem.words[:headerWords]).read(buckets)
	if err == nil && found != seed {
		err = errors.New("a table with another seed")
	}
	if err != nil {
		s.log.Info("table not shared", slog.String("table", p.name), slog.Any("because", errors.Join(err, mem.close())))
		return nil
	}
	t := fileTable(mem, p.entries, buckets)
	t.found, t.imported = true, true
	return t
}

// successor makes the file of an heir that cannot use the one of the process before. It takes that one's name when the
// store is run, and not earlier: who fails before has changed nothing.
func (s *shelf) successor(p tableSpec, seed Seed) (*Table, error) {
	path := s.path(p.name)
	buckets, words := p.size()
	fill := func(m mapping) { header(m.words[:headerWords]).begin(seed, buckets) }
	mem, err := createMapping(path+".heir", words, fill)
	if err != nil {
		return nil, fmt.Errorf("affinity: table of %d entries in %s: %w", p.entries, path, err)
	}
	t := fileTable(mem, p.entries, buckets)
	t.renames = path
	return t, nil
}

func (s *shelf) path(name string) string { return filepath.Join(s.dir, name+".table") }

// nameFiles gives the files of an heir their names.
func (s *Store) nameFiles() {
	for _, t := range s.tables() {
		if t.renames == "" {
			continue
		}
		if err := os.Rename(t.renames+".heir", t.renames); err != nil {
			s.cfg.Log.Warn("a table is lost with this process: its file got no name", slog.Any("error", err))
		}
		t.renames = ""
	}
}

// Published waits until the loops see the ticket keys of all calls of Merge that have returned. Run must be running.
func (s *Store) Published(ctx context.Context) error {
	seen := make(chan struct{})
	select {
	case s.merges <- merger{seen: seen}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-seen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
