package affinity

// Homes is how much of what is known leads to one backend.
type Homes struct {
	Sessions   int // exact session IDs, tickets and identities
	Clients    int // clients whose home it is
	TicketKeys int // ticket keys that it holds: each routes any number of tickets
	Doubtful   int // of them, those that it has only refused for a while
}

// Any reports whether anything leads there.
func (h Homes) Any() bool { return h.Sessions+h.Clients+h.TicketKeys > 0 }

// Census counts what leads to each backend, in slices: no loop ever waits for it. The zero Census is its beginning.
type Census struct {
	homes map[uint32]*Homes
	table int    // of sessions, then of clients
	next  uint64 // bucket of the table
	seen  [2]folding
}

// CensusSlice is the number of buckets that one Count looks at: 1 MiB of memory, a fraction of a millisecond.
const CensusSlice = 16_384

// Count looks at the next slice of the tables and reports whether there is more. What several backends accept is
// nobody's. What changes meanwhile is counted as it was, as it is, or both; when a table grows the count begins anew.
func (s *Store) Count(c *Census, now uint32) (more bool) {
	tables := [...]*Table{s.entries, s.clients}
	if seen := [...]folding{tables[0].seen(), tables[1].seen()}; c.homes == nil || c.seen != seen {
		*c = Census{homes: make(map[uint32]*Homes), seen: seen}
		s.countKeys(c, now)
	}
	t := tables[c.table]
	buckets := t.sizes[c.seen[c.table].folds()]
	end := min(c.next+CensusSlice, buckets)
	var last *Homes
	var lastID uint32
	for ; c.next < end; c.next++ {
		bucket := t.bucket(c.next)
		for i := 1; i < bucketWords; i += 2 {
			w1 := bucket[i].Load()
			if uint32(w1) <= now || c.table == 1 && uint32(w1)&clientBits == clientOut {
				continue
			}
			if id := uint32(w1 >> 32); last == nil || id != lastID {
				last, lastID = c.of(id), id
			}
			if c.table == 0 {
				last.Sessions++
			} else {
				last.Clients++
			}
		}
	}
	if c.next < buckets {
		return true
	}
	c.table, c.next = c.table+1, 0
	return c.table < len(tables)
}

// Homes is what was counted, by backend. It is complete when Count says that there is no more.
func (c *Census) Homes(id uint32) Homes {
	if h := c.homes[id]; h != nil {
		return *h
	}
	return Homes{}
}

func (c *Census) of(id uint32) *Homes {
	h := c.homes[id]
	if h == nil {
		h = new(Homes)
		c.homes[id] = h
	}
	return h
}

func (s *Store) countKeys(c *Census, now uint32) {
	for _, p := range s.allPools() {
		d := p.directory.Load()
		for _, k := range d.keys {
			if d.constant(k) {
				continue
			}
			for _, m := range k.homes {
				c.of(m.id).TicketKeys++
				if m.doubt.doubtful(now) {
					c.of(m.id).Doubtful++
				}
			}
		}
	}
}
