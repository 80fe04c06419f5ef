package affinity

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// AnyID in place of a backend's ID: several backends accept it.
const AnyID = 0xffffffff

// What the fields of Config are where they are zero, and how far they go.
const (
	DefaultTableEntries  = 1_000_000 // 27 MB
	DefaultClientEntries = 250_000   // 7 MB
	DefaultTicketKeys    = 4096      // 14 backends that rotate every 5 minutes, for a day

	DefaultSessionTTL = 10 * time.Hour // Schannel's, the longest of the common ones
	DefaultTicketTTL  = 24 * time.Hour
	DefaultClientTTL  = 24 * time.Hour

	// MinTTL and MaxTTL bound all three.
	MinTTL = time.Second
	MaxTTL = 365 * 24 * time.Hour
)

const (
	// maxTicketTTL caps what a server's lifetime hint can ask for (RFC 8446, 4.6.1).
	maxTicketTTL = 7 * 24 * 60 * 60 // seconds

	refusedTTL     = 60     // seconds that (prefix, backend) counts as refused
	refusedEntries = 16_384 // 0.4 MB
	hintEntries    = 65_536 // 1.7 MB
)

// Config bounds a Store. The zero value of each field means its default.
type Config struct {
	// Seed of all keys, the same on every node of a cluster. 0 = random. A table found in Memory brings its own.
	Seed uint64

	// SeedMade is when Seed was made, in Unix seconds. 0 = now.
	SeedMade uint32

	// Memory is a directory on a tmpfs. The tables of entries and of clients lie in files there, mode 0600, which a
	// restarted process finds again. What cannot be trusted is set aside with one line. Empty: memory that ends with
	// the process.
	Memory string

	// Import is the tables of a process that this one takes over from, as its ExportTables gave them; then Seed must be
	// that one's. NewStore closes the descriptors, on an error too. A table that is not used, see Store.Imported,
	// begins empty.
	Import []ExportedTable

	// Log gets a line for each file that is set aside, and for a table that finds no memory. nil = nobody.
	Log *slog.Logger

	// TableEntries is how many session IDs, tickets and identities are kept, at 27 bytes each when all are. Default
	// DefaultTableEntries. To size: new sessions per second, times their time to live in seconds; tickets under a known
	// ticket key need no entry. At most MaxEntries.
	TableEntries int

	// ClientEntries is how many client homes are kept, likewise, at most MaxEntries. Default DefaultClientEntries.
	ClientEntries int

	// Times to live, MinTTL to MaxTTL.
	SessionTTL time.Duration // of a session ID; default DefaultSessionTTL
	TicketTTL  time.Duration // of a ticket without a hint and of a ticket key without proof; default DefaultTicketTTL
	ClientTTL  time.Duration // of a client's home; default DefaultClientTTL

	// MaxTicketKeys bounds the ticket keys of one pool. Default DefaultTicketKeys. To size: backends, times TicketTTL /
	// the time between two rotations.
	MaxTicketKeys int

	// Fact gets each thing learned, on the goroutine that learned it: a loop's or Run's. It must not block. nil =
	// nobody listens.
	Fact func(Fact)

	// ahead is how far the wall clock is ahead, for tests.
	ahead time.Duration

	// Suspect hears of a backend that may hold a ticket key unknown here, so that the probe can look; see probe.go.
	// Called by loops and by Run. It must not block. nil = nobody listens.
	Suspect func(pool, id uint32, doubtful bool)
}

// validate is the only place that rejects a value or fills a default.
func (c *Config) validate() error {
	if c.TableEntries < 0 || c.ClientEntries < 0 || c.MaxTicketKeys < 0 {
		return errors.New("affinity: a negative number of entries")
	}
	for _, d := range []time.Duration{c.SessionTTL, c.TicketTTL, c.ClientTTL} {
		if d != 0 && (d < MinTTL || d > MaxTTL) {
			const least, most = MinTTL / time.Second, MaxTTL / (24 * time.Hour)
			return fmt.Errorf("affinity: time to live %v: want %d s to %d days", d, least, most)
		}
	}
	for c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	c.SeedMade = cmp.Or(c.SeedMade, unixSeconds(time.Now()))
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.TableEntries = cmp.Or(c.TableEntries, DefaultTableEntries)
	c.ClientEntries = cmp.Or(c.ClientEntries, DefaultClientEntries)
	c.MaxTicketKeys = cmp.Or(c.MaxTicketKeys, DefaultTicketKeys)
	c.SessionTTL = cmp.Or(c.SessionTTL, DefaultSessionTTL)
	c.TicketTTL = cmp.Or(c.TicketTTL, DefaultTicketTTL)
	c.ClientTTL = cmp.Or(c.ClientTTL, DefaultClientTTL)
	return nil
}

// Store holds what is known of all pools. Its tables are shared by them: the pool is part of every key.
type Store struct {
	// Static after NewStore.
	cfg Config
	ttl struct{ session, ticket, client uint32 } // cfg's, in seconds

	entries  *Table // exact session IDs, tickets, identities -> backend
	clients  *Table // client -> home and strikes, see clients.go
	refusals *Table // (first 16 bytes, backend) refused
	hints    *Table // first 16 bytes -> backend that proved one ticket

	ring     chan evidence // loops to Run; never closed
	merges   chan merger   // ticket keys of other nodes to Run; never closed
	reseeds  chan reseed   // Reseed to Run; never closed
	overflow atomic.Uint64
	changes  atomic.Uint64
	seed     atomic.Pointer[Seed] // written by Run
	survey   survey               // owned by who makes the store, then by Run
	clock    clock                // static after NewStore
	stepped  uint32               // owned by who calls Step: the last now

	mu    sync.Mutex
	pools map[uint32]*Pool // guarded by mu; by hash
}

// Pool is what is known of one pool. All its methods may be called by any loop.
type Pool struct {
	// Static.
	store *Store
	hash  uint32

	// Atomic: pieces of evidence in the store's ring.
	waiting atomic.Int32

	// Written by Reseed, read by the loops.
	hasher atomic.Pointer[hasher]

	watched   atomic.Int32 // probes that look at the backends, see claim.go
	forgetful forgetful

	// Written by the owner, read by the loops.
	directory atomic.Pointer[directory]

	// Owned by Store.Run.
	keys  map[Key]*ticketKey
	rooms map[uint32]*room
	gone  map[holding]uint32 // which pairs were refuted, and when
	dirty bool               // directory is older than keys and rooms
	// untold: facts whose time comes with the directory that holds them, so that who has the fact's sequence finds it
	// in an Export too.
	untold []Fact
}

// NewStore reserves the memory that the store may need and takes what it needs now; Run takes more as the tables fill.
// With Memory, and where the kernel gives no more than it has (vm.overcommit_memory is 2), all of it is taken here.
func NewStore(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, ring: make(chan evidence, ringSize),
		merges: make(chan merger, mergeSize), reseeds: make(chan reseed), pools: make(map[uint32]*Pool), clock: newClock(cfg.ahead),
	}
	s.ttl.session = seconds(cfg.SessionTTL)
	s.ttl.ticket = seconds(cfg.TicketTTL)
	s.ttl.client = seconds(cfg.ClientTTL)
	seed := Seed{Value: cfg.Seed, Made: cfg.SeedMade}
	if err := s.mapTables(&seed); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.seed.Store(&seed)
	return s, nil
}

// mapTables takes the memory of the tables. What is found in Memory decides seed.
func (s *Store) mapTables(seed *Seed) (err error) {
	shelf := newShelf(&s.cfg)
	defer shelf.clear()
	followed := false
	for _, p := range s.specs() {
		if p.entries < 1 || p.entries > MaxEntries {
			return fmt.Errorf("affinity: table of %d entries: want 1 to %d", p.entries, MaxEntries)
		}
		if *p.table, err = shelf.table(p, seed); err != nil {
			return err
		}
		if err = (*p.table).takeInUse(); err != nil {
			return fmt.Errorf("affinity: take %d bytes for the table of %s: %w", (*p.table).Bytes(), p.name, err)
		}
		if (*p.table).found {
			s.changes.Store(1) // it knows something
			followed = followed || (*p.table).header.follow(&s.clock)
			s.survey.whole(*p.table, s.Now())
		}
	}
	for _, t := range s.tables() {
		t.header.tell(&s.clock)
	}
	return nil
}

// Close gives the memory back. No loop and no Run may be left.
func (s *Store) Close() error {
	var errs []error
	for _, t := range s.tables() {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) tables() []*Table {
	all := []*Table{s.entries, s.clients, s.refusals, s.hints}
	return slices.DeleteFunc(all, func(t *Table) bool { return t == nil })
}

// TableBytes is the memory of all tables together when they are full.
func (s *Store) TableBytes() (n int) {
	for _, t := range s.tables() {
		n += t.MaxBytes()
	}
	return n
}

// Pool is the pool with this hash, made when it is asked for the first time.
func (s *Store) Pool(hash uint32) *Pool { return s.pool(hash, math.MaxInt) }

// pool makes the pool if there are fewer than most, else it is nil.
func (s *Store) pool(hash uint32, most int) *Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[hash]
	if p == nil && len(s.pools) < most {
		p = &Pool{
			store: s,
			hash:  hash,
			keys:  make(map[Key]*ticketKey),
			rooms: make(map[uint32]*room),
			gone:  make(map[holding]uint32),
		}
		p.hasher.Store(newHasher(s.Seed().Value, hash))
		p.publish()
		s.pools[hash] = p
	}
	return p
}

func (s *Store) allPools() []*Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.pools), func(a, b *Pool) int { return int(int64(a.hash) - int64(b.hash)) })
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

func unixSeconds(t time.Time) uint32 { return uint32(t.Unix()) }
