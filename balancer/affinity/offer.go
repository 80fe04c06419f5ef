package affinity

// OfferKind is what a ClientHello presents to resume.
type OfferKind uint8

// The kinds of offers. A hello with several has the last of those it carries.
const (
	OfferNone     OfferKind = iota
	OfferID                 // TLS <= 1.2 session ID
	OfferTicket             // TLS <= 1.2 ticket, RFC 5077
	OfferPSK                // TLS 1.3 pre_shared_key
	NumOfferKinds           // number of kinds
)

// String is the word in logs and metrics.
func (k OfferKind) String() string {
	return [...]string{"none", "id", "ticket", "psk"}[k]
}

// Source is the rule of DESIGN.md section 3.3 that decided on a backend.
type Source uint8

// The sources, in the order in which the rules are asked but for SourceFresh.
const (
	SourceFresh     Source = iota // nothing offered, or nothing known and nothing to try
	SourceSession                 // exact session ID, ticket or identity
	SourceTicketKey               // the name of the key in the ticket's first bytes
	SourceClient                  // where this client last completed a handshake
	SourceExplore                 // consistent hash of an unknown ticket or identity
	NumSources                    // number of sources
)

// String is the word in logs and metrics.
func (s Source) String() string {
	return [...]string{"fresh", "session", "ticket_key", "client", "explore"}[s]
}

// Reason says why a backend refused an offer, as far as this package can tell.
type Reason uint8

// The reasons.
const (
	ReasonUnknown Reason = iota // nothing was known: a guess went wrong
	ReasonExpired               // sent home, refused there: too old, used up, or forged
	ReasonRotated               // sent home, which has a newer ticket key since
	ReasonMoved                 // sent to a home that holds its ticket key no longer, while another does
	ReasonNotKept               // sent home, which keeps no session IDs, or none for a minute
)

// String is the word in the scripts of tests.
func (r Reason) String() string {
	return [...]string{"unknown", "expired", "rotated", "moved", "not_kept"}[r]
}

// MaxIdents is how many tickets or PSK identities of one hello are looked at. Real clients send one, rarely two.
const MaxIdents = 4

// Offer is what one ClientHello offers, hashed. It is a plain value: the loop keeps it in the conn from the hello to
// the verdict.
type Offer struct {
	Kind OfferKind

	// Fake: the session ID may be the random one of a TLS 1.3-capable client (RFC 8446, appendix D.4). It is looked up;
	// unknown, the hello counts as fresh.
	Fake bool

	// RefreshOnly: the verdict may speak of something hidden (ECH). It refreshes what is known of a key and its backend
	// and creates nothing.
	RefreshOnly bool

	ID    Key // valid if HasID
	HasID bool

	Idents [MaxIdents]Ident // the first N are valid
	N      int

	Client  Key    // HashClient; 0 = not known
	Network uint32 // HashNetwork, for the rule of doubt
}

// Add appends an identity; those beyond MaxIdents are ignored.
func (o *Offer) Add(t Ident) {
	if o.N < MaxIdents {
		o.Idents[o.N] = t
		o.N++
	}
}
