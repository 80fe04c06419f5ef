package affinity

// Cursor is how far an Export has come. The zero Cursor is its beginning.
type Cursor struct {
	stage exportStage
	next  uint64  // bucket of the table
	seen  folding // of the table when the walk through it began
	keys  []Fact  // what is left of the ticket keys
	only  bool    // ticket keys and nothing else
}

type exportStage uint8

const (
	exportStart   exportStage = iota
	exportKeys                // few, and each routes all tickets of a backend: first
	exportClients             // fewer than entries
	exportEntries
	exportDone
)

// Done reports whether all has been exported.
func (c *Cursor) Done() bool { return c.stage == exportDone }

// Export appends to facts, up to its capacity, the next part of what the store knows at now: ticket keys, client homes,
// exact entries. What changes meanwhile is in the export in its old or in its new state, but what is there all the time
// is there. It takes no lock that a loop would wait for. facts must have room for ways entries at least.
func (s *Store) Export(c *Cursor, facts []Fact, now uint32) []Fact {
	for {
		switch c.stage {
		case exportStart:
			c.keys, c.stage = s.keyFacts(), exportKeys
		case exportKeys:
			n := min(len(c.keys), cap(facts)-len(facts))
			facts = append(facts, c.keys[:n]...)
			if c.keys = c.keys[n:]; len(c.keys) > 0 {
				return facts
			}
			c.keys, c.stage = nil, exportClients
			if c.only {
				c.stage = exportDone
			}
		case exportClients:
			if facts = c.walk(s.clients, FactClient, facts, now); c.next < s.clients.inUse() {
				return facts
			}
			c.next, c.stage = 0, exportEntries
		case exportEntries:
			if facts = c.walk(s.entries, FactEntry, facts, now); c.next < s.entries.inUse() {
				return facts
			}
			c.stage = exportDone
		case exportDone:
			return facts
		}
	}
}

// ExportKeys is the ticket keys alone.
func (s *Store) ExportKeys() Cursor { return Cursor{stage: exportKeys, keys: s.keyFacts(), only: true} }

func (s *Store) keyFacts() (facts []Fact) {
	for _, p := range s.allPools() {
		d := p.directory.Load()
		for h, at := range d.gone {
			facts = append(facts, Fact{Kind: FactKeyGone, Pool: p.hash, Key: h.key, ID: h.id, Time: at})
		}
		for _, k := range d.keys {
			for _, m := range k.homes {
				if m.tried.Load() {
					f := k.fact(m)
					f.Pool = p.hash
					facts = append(facts, f)
				}
			}
		}
	}
	return facts
}

// walk appends the live entries of the buckets that come next, whole buckets only, as long as facts has room for one more.
// When entries get other places it begins anew, lest it miss one.
func (c *Cursor) walk(t *Table, kind FactKind, facts []Fact, now uint32) []Fact {
	t.settle(now)
	l := t.seen()
	if l != c.seen {
		c.seen, c.next = l, 0
	}
	for ; c.next < t.sizes[l.folds()] && len(facts)+ways <= cap(facts); c.next++ {
		bucket := t.bucket(c.next)
		for i := 0; i < bucketWords; i += 2 {
			k, w1 := bucket.entry(i)
			// A pair that was read while it was written has a key that belongs elsewhere.
			if a, b := t.candidates(k, l.folds()); uint32(w1) <= now || bucket != a && bucket != b {
				continue
			}
			expiry := uint32(w1)
			if kind == FactClient {
				if expiry&clientBits == clientOut {
					continue // nothing to recommend
				}
				expiry &^= clientBits
			}
			id := uint32(w1 >> 32)
			facts = append(facts, Fact{Kind: kind, Span: k.span(), Key: k &^ spanMask, ID: id, Time: expiry})
		}
	}
	return facts
}

// Changes grows with all that the store learns and merges: what has not changed need not be exported again.
func (s *Store) Changes() uint64 { return s.changes.Load() }
