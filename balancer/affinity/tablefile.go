package affinity

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

const (
	// A table's file begins with one page of header, so that buckets stay aligned to cache lines and the rest to pages.
	headerWords = 4096 / 8

	// headerMagic is "homing" and the version of what follows, 3. One of version 2 is always whole, and so is the folding
	// that it has.
	headerMagic = 0x686f_6d69_6e67_0003
	wholeMagic  = 0x686f_6d69_6e67_0002
)

// header is the first words of a table's file:
//
//	magic | seed | when it was made | buckets | checksum of these four | its time, see clock.go (2) | its folding
//
// It is nil for a table that ends with the process.
type header []atomic.Uint64

const headerFolding = 7

func (h header) sum() uint64 {
	sum := uint64(0)
	for i := range 4 {
		sum = mix(sum ^ h[i].Load())
	}
	return sum
}

// forget makes the file one that nobody trusts.
func (h header) forget() {
	if h != nil {
		h[4].Store(^h.sum())
	}
}

// write makes it one that a process with the same number of buckets finds again.
func (h header) write(seed Seed, buckets uint64) {
	if h == nil {
		return
	}
	h.forget()
	for i, w := range []uint64{headerMagic, seed.Value, uint64(seed.Made), buckets} {
		h[i].Store(w)
	}
	h[4].Store(h.sum())
}

// begin is write for a table that holds nothing: it is folded as often as it can be.
func (h header) begin(seed Seed, buckets uint64) {
	_, most := foldSizes(buckets)
	h[headerFolding].Store(uint64(foldingOf(most, most)))
	h.write(seed, buckets)
}

// read is the seed in a header of a table with so many buckets, and what else it may be that makes it useless.
func (h header) read(buckets uint64) (Seed, error) {
	_, most := foldSizes(buckets)
	switch {
	case h[0].Load()>>16 != headerMagic>>16:
		return Seed{}, errors.New("not a table of homing")
	case h[0].Load() != headerMagic && h[0].Load() != wholeMagic:
		return Seed{}, fmt.Errorf("a table of version %d, not %d", uint16(h[0].Load()), headerMagic&0xffff)
	case h[4].Load() != h.sum():
		return Seed{}, errors.New("a broken header")
	case h[3].Load() != buckets:
		return Seed{}, fmt.Errorf("a table of %d buckets, not %d", h[3].Load(), buckets)
	case !folding(h[headerFolding].Load()).valid(most):
		return Seed{}, errors.New("a folding that cannot be")
	}
	return Seed{Value: h[1].Load(), Made: uint32(h[2].Load())}, nil
}

// shelf is where tables come from: an older process, the directory of Config.Memory, or nowhere.
type shelf struct {
	dir    string
	log    *slog.Logger
	heir   bool           // of another process
	given  map[string]int // descriptors of its tables that have not been looked at, by name
	seeded bool           // a table was found: its seed counts
}

func newShelf(cfg *Config) *shelf {
	s := &shelf{dir: cfg.Memory, log: cfg.Log, heir: len(cfg.Import) > 0, given: make(map[string]int)}
	s.seeded = s.heir
	for _, one := range cfg.Import {
		if fd, twice := s.given[one.Name]; twice {
			discard(fd)
		}
		s.given[one.Name] = one.FD
	}
	return s
}

// clear closes what nobody has asked for.
func (s *shelf) clear() {
	for _, fd := range s.given {
		discard(fd)
	}
}

// table is the table of the older process, or the one in the directory, or a new one.
func (s *shelf) table(p tableSpec, seed *Seed) (*Table, error) {
	if t := s.imported(p, *seed); t != nil {
		return t, nil
	}
	switch {
	case s.dir == "" || !p.kept:
		return s.nameless(p, *seed)
	case s.heir:
		return s.successor(p, *seed)
	default:
		return s.stored(p, seed)
	}
}

// nameless makes a table that ends with the last process that has it.
func (s *shelf) nameless(p tableSpec, seed Seed) (*Table, error) {
	buckets, words := p.size()
	mem, err := exportableMapping("homing-"+p.name, words)
	if errors.Is(err, errors.ErrUnsupported) {
		return NewTable(p.entries)
	}
	if err != nil {
		return nil, fmt.Errorf("affinity: table of %d %s: %w", p.entries, p.name, err)
	}
	header(mem.words[:headerWords]).begin(seed, buckets)
	return fileTable(mem, p.entries, buckets), nil
}

// stored finds the table in the directory again, or makes it. The first one found decides seed; one with another seed
// is set aside like one that cannot be trusted.
func (s *shelf) stored(p tableSpec, seed *Seed) (*Table, error) {
	buckets, words := p.size()
	path := s.path(p.name)
	mem, err := openMapping(path, words)
	if err == nil {
		h := header(mem.words[:headerWords])
		var was Seed
		switch was, err = h.read(buckets); {
		case err != nil:
		case s.seeded && was != *seed:
			err = errors.New("a table with another seed")
		default:
			s.seeded, *seed = true, was
			t := fileTable(mem, p.entries, buckets)
			t.found = true
			return t, nil
		}
		err = errors.Join(err, mem.close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := SetAside(path, err, s.log); err != nil {
			return nil, err
		}
	}
	mem, err = createMapping(path, words, func(m mapping) { header(m.words[:headerWords]).begin(*seed, buckets) })
	if err != nil {
		return nil, fmt.Errorf("affinity: table of %d entries in %s: %w", p.entries, path, err)
	}
	s.seeded = true // those that follow belong to this one
	return fileTable(mem, p.entries, buckets), nil
}

func fileTable(mem mapping, entries int, buckets uint64) *Table {
	t := wholeTable(mem, entries, buckets)
	t.header, t.words = mem.words[:headerWords], mem.words[headerWords:]
	t.folding = &t.header[headerFolding]
	return t
}

// SetAside renames a file that cannot be trusted to path.bad-<Unix seconds> and says so in one line. Of each path one
// such file is kept, the last.
func SetAside(path string, why error, logger *slog.Logger) error {
	old, err := filepath.Glob(path + ".bad-*")
	if err != nil {
		return fmt.Errorf("affinity: %w", err)
	}
	bad := fmt.Sprintf("%s.bad-%d", path, time.Now().Unix())
	if err := os.Rename(path, bad); err != nil {
		return fmt.Errorf("affinity: set aside a file that cannot be used (%w): %w", why, err)
	}
	for _, name := range old {
		if name != bad {
			os.Remove(name) // it only takes space
		}
	}
	logger.Warn("state set aside", slog.String("file", path), slog.String("as", bad), slog.Any("because", why))
	return nil
}
