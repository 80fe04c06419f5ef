package affinity

// Stats is what a Store holds and has done since the start.
type Stats struct {
	Entries, Clients, Refusals, Hints TableStats

	Overflow uint64 // pieces of evidence that found the owner's ring full
	Pools    []PoolStats
}

// TableStats is the state of one table.
type TableStats struct {
	Used     int // live entries; an estimate in large tables
	Capacity int
	Bytes    int // of memory in use; a full table has more
	Inserts  uint64
	Evicted  uint64 // live entries that gave way to new ones
}

// PoolStats is the state of one pool's directory.
type PoolStats struct {
	Hash     uint32
	Keys     [NumLengths]int // ticket keys of PrefixLen(i) bytes
	Shared   int             // of them, with more than one home
	Doubtful int             // of them, with a home that is doubtful

	Entries, Clients ShareStats // its part of the tables
}

// ShareStats is the state of one pool's part of a table.
type ShareStats struct {
	Held    int    // entries; those that have expired count until they are found
	Evicted uint64 // live entries that gave way, and new ones that were not written: it holds the most
}

// Stats reads the clock and a sample of the tables, at most 4 MiB of memory each: not for every conn.
func (s *Store) Stats() Stats { return s.stats(s.Now()) }

func (s *Store) stats(now uint32) Stats {
	st := Stats{
		Entries: s.entries.stats(now), Clients: s.clients.stats(now),
		Refusals: s.refusals.stats(now), Hints: s.hints.stats(now),
		Overflow: s.overflow.Load(),
	}
	for _, p := range s.allPools() {
		d := p.directory.Load()
		ps := PoolStats{Hash: p.hash, Keys: d.count, Entries: s.entries.share(p.hash), Clients: s.clients.share(p.hash)}
		for _, k := range d.keys {
			if len(k.ids) > 1 {
				ps.Shared++
			}
			if k.doubted(now) != 0 {
				ps.Doubtful++
			}
		}
		st.Pools = append(st.Pools, ps)
	}
	return st
}

func (t *Table) stats(now uint32) TableStats {
	return TableStats{
		Used: t.Used(now), Capacity: t.entries, Bytes: t.Bytes(), Inserts: t.inserts.Load(), Evicted: t.evicted.Load(),
	}
}

func (t *Table) share(pool uint32) ShareStats {
	s := &t.shares[Share(pool)]
	return ShareStats{Held: int(max(s.held(), 0)), Evicted: s.evicted.Load()}
}
