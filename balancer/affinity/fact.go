package affinity

// FactKind says what a Fact is about.
type FactKind uint8

// The kinds of facts.
const (
	FactEntry   FactKind = iota // an exact session ID, ticket or identity, new or refreshed
	FactKeyHome                 // a backend holds a ticket key: new, or proved again lately
	FactKeyGone                 // a backend was found not to hold a ticket key: Pool.Refuted
	FactClient                  // a client's home, new, moved or refreshed
)

// Fact is one thing learned here, for the other nodes.
type Fact struct {
	Kind   FactKind
	Length uint8  // of a ticket key: bytes of the prefix; of one that is gone: 0
	Span   uint8  // entry, client: how long it was to live when it was proved; see spanOf
	Pool   uint32 // hash of the pool
	Key    Key
	ID     uint32 // backend; AnyID: an exact entry that several accept
	Time   uint32 // entry, client: expiry. Ticket key: last proof, or when it was refuted. Unix seconds
}

// refreshPart: an entry is written again, and told again, only when that moves its expiry by more than this part of its
// time to live.
const refreshPart = 64

// worthwhile reports whether moving an expiry is worth a write and a fact.
func worthwhile(expiry, later, ttl uint32) bool {
	return later > expiry && later-expiry > ttl/refreshPart
}

func (p *Pool) tell(f Fact) {
	p.store.changes.Add(1)
	if p.store.cfg.Fact != nil {
		f.Pool = p.hash
		p.store.cfg.Fact(f)
	}
}
