package judge

import (
	"time"

	"homing/balancer/affinity"
)

// Format is the version of Findings as JSON. Fields come to it without a new number; none changes its meaning or goes.
const Format = 1

// Findings is all that a Judge has found. Times are those of the capture, counts are since its begin, and shares are of 1.
type Findings struct {
	Format   int       `json:"format"`
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended"`
	Observed float64   `json:"observed_seconds"` // without gaps of over an hour
	// SetBack is how often the clock of the capture went back by more than a minute: files in the wrong order.
	SetBack uint64 `json:"clock_set_back"`

	View    View     `json:"view"`
	Total   Outcome  `json:"total"`
	Kinds   []Row    `json:"kinds"`    // by kind of offer, and version
	ByName  []Row    `json:"names"`    // by server name
	Rows    []Row    `json:"rows"`     // by service, name, version and kind
	Servers []Server `json:"services"` // addresses, in the order in which they were seen

	Costs    Costs            `json:"costs"`
	Keys     []Key            `json:"ticket_keys"`             // the most lately used first
	Keyless  uint64           `json:"offers_without_key_name"` // of tickets and PSKs: those whose key has no name that is known
	Hellos   HelloFindings    `json:"hellos"`
	Clients  ClientFindings   `json:"clients"`
	Unjudged UnjudgedFindings `json:"unjudged"`
	Capture  Capture          `json:"capture"`

	Tallies [affinity.NumOfferKinds]Tally `json:"-"` // of Total, by kind: for differences between two looks
	Ground  Ground                        `json:"-"`
}

// Ground is what turns tallies into an outcome.
type Ground struct {
	exact   bool
	hidden  bool
	servers int
	proven  provenBy
}

// Outcome is what became of handshakes, and what would have with homing.
type Outcome struct {
	Handshakes uint64 `json:"handshakes"` // with a ServerHello that can be read
	Fresh      uint64 `json:"fresh"`      // full handshakes without an offer
	Failed     uint64 `json:"failed"`     // without an offer, and without a handshake
	Offers     uint64 `json:"offers"`     // accepted or refused
	Accepted   uint64 `json:"accepted"`
	Refused    uint64 `json:"refused"`
	Undecided  uint64 `json:"undecided"` // offers whose answer does not say: an alert, the end
	// DoubtfulIDs is the session IDs among Refused that nobody is known to have issued. Many clients invent one for each
	// fresh handshake of TLS 1.2: they are no part of Lost, and not of the prediction's offers.
	DoubtfulIDs uint64            `json:"doubtful_ids"`
	Lost        uint64            `json:"lost"`       // Refused without DoubtfulIDs
	LostShare   float64           `json:"lost_share"` // of Accepted and Lost
	Why         map[string]uint64 `json:"why"`        // of Refused
	Homing      Prediction        `json:"with_homing"`
	// Outlived is the offers of TLS <= 1.2 that would be too old with homing: a client that is not refused keeps its session
	// until it is. MayOutlive is those that are older than what was seen of the servers tells. Homing reckons with both.
	Outlived   uint64 `json:"would_be_too_old"`
	MayOutlive uint64 `json:"may_be_too_old"`
	// Saved is the share of Lost that homing would have brought home, with its bounds.
	Saved Prediction `json:"saved_share"`
	Seen  bool       `json:"counted"` // servers are seen one by one; otherwise it is an estimate within its bounds
}

// Row is an outcome of a part.
type Row struct {
	Service string `json:"service,omitempty"`
	Name    string `json:"server_name"`
	Version string `json:"version,omitempty"`
	Kind    string `json:"kind,omitempty"` // none, id, ticket, psk
	Outcome
	Flight Flights `json:"flight_bytes"`
}

// Flights is the mean length of the servers' first flights, in bytes; 0: none was seen.
type Flights struct {
	Full    float64 `json:"full"`
	Resumed float64 `json:"resumed"`
}

// View is where the capture was made.
type View struct {
	Kind string `json:"kind"` // see the constants
	Why  string `json:"why"`
}

// The views.
const (
	ViewNothing = "nothing" // no handshake was seen
	ViewBetween = "between" // between balancer and servers
	ViewBoth    = "both"    // on the balancer: between, and the clients' side too
	ViewBefore  = "before"  // before the balancer, or before a single server
	ViewApart   = "apart"   // several addresses that have nothing to do with each other, as it seems
)

// Server is one address where servers answer.
type Server struct {
	Address string `json:"address"`
	Role    string `json:"role"`  // alone, backend, front
	Given   bool   `json:"given"` // by a flag
	// Counted says that it is part of Total. Where servers behind a balancer are seen, the balancer's own address is not,
	// nor are addresses that have nothing to do with them.
	Counted bool `json:"part_of_total"`
	Outcome
	// AtLeast is how many servers stand behind it for certain, and KeysAtOnce how many ticket keys were in use at the same
	// time. A server that goes over to a new key has two for a while.
	AtLeast    int `json:"servers_at_least"`
	KeysAtOnce int `json:"ticket_keys_at_once"`
	// Proven is the refused offers that another server behind it would have taken, at least.
	Proven uint64 `json:"refused_and_good"`
}

// Costs is what the lost resumptions have cost.
type Costs struct {
	RoundTrips    float64 `json:"round_trips"`        // more than with a resumption
	RoundTripTime float64 `json:"round_trip_seconds"` // of one, between client and server as far as conns here reach; 0: not seen
	Bytes         float64 `json:"bytes"`              // of certificates and signatures, by the lengths of the servers' flights
	Handshakes    uint64  `json:"full_handshakes"`    // of which each costs a signature
	// Certificates are those of these handshakes, the most frequent first. They add up to them.
	Certificates []Certificate `json:"certificates"`
	// CPU is what the signatures take of a server. The command fills it in.
	CPU []CPU `json:"server_cpu"`
}

// Certificate is a kind of certificate, by its public key. A service or name that has several counts by their shares.
type Certificate struct {
	Kind       string `json:"kind"`            // rsa2048, rsa3072, rsa4096, p256, p384, ed25519; empty if How is CertificateAssumed
	How        string `json:"how"`             // CertificateRead, CertificateNear, CertificateAssumed
	Handshakes uint64 `json:"full_handshakes"` // never 0
}

// CPU is the price of the signatures under one kind of certificate.
type CPU struct {
	Certificate string `json:"certificate"` // for people
	// How is CertificateRead, CertificateAssumed or CertificateGiven. Those that are assumed are alternatives: their
	// handshakes are the same.
	How        string  `json:"how"`
	Handshakes uint64  `json:"full_handshakes"`
	Each       float64 `json:"seconds_each"`
	All        float64 `json:"seconds"`
}

// Key is one ticket key.
type Key struct {
	ID      string    `json:"id"` // a hash of its name, good within one report
	Length  int       `json:"name_bytes"`
	Holders []string  `json:"holders"`
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Uses    uint64    `json:"uses"`
	// Old says that it was in use for longer than a day: who takes it reads all that was said under it.
	Old bool `json:"older_than_a_day"`
}

// HelloFindings is Hellos for people.
type HelloFindings struct {
	Count       uint64      `json:"count"`
	MeanBytes   float64     `json:"mean_bytes"`
	Longest     int         `json:"longest_bytes"`
	Sizes       []SizeCount `json:"sizes"`
	TLS13       float64     `json:"tls13_share"`
	PostQuantum float64     `json:"post_quantum_share"`
	ECH         float64     `json:"ech_share"` // real or GREASE: who looks on cannot tell
	EarlyData   float64     `json:"early_data_share"`
	NoName      float64     `json:"without_name_share"`
	Retries     float64     `json:"hello_retry_share"`
}

// SizeCount is the hellos up to a length, and above the one before it; 0: above all.
type SizeCount struct {
	UpTo  int    `json:"up_to_bytes"`
	Count uint64 `json:"count"`
}

// ClientFindings is Clients for people.
type ClientFindings struct {
	Seen      uint64 `json:"seen"`
	Returned  uint64 `json:"returned"`
	Never     uint64 `json:"returned_and_never_offered"`
	Without   uint64 `json:"handshakes_of_these"` // a little more: of clients that had not offered until then
	Addresses int    `json:"addresses"`           // up to 256
	Hidden    bool   `json:"hidden"`              // behind the balancer's addresses
}

// UnjudgedFindings is the conns of which nothing is said.
type UnjudgedFindings struct {
	Opened     uint64            `json:"opened"`
	Opaque     uint64            `json:"not_tls"`
	Invalid    uint64            `json:"invalid"`
	Silent     uint64            `json:"without_hello"`
	Unanswered uint64            `json:"unanswered"`
	Missing    uint64            `json:"missing"` // in all, whose packets are not all there
	Why        map[string]uint64 `json:"missing_why"`
	Offers     uint64            `json:"offers"` // among these, offers that were read
	// Bound is by how much shares may be wrong for what is missing: the share of conns with a handshake that is.
	Bound float64 `json:"share"`
}

// Capture is what the source says of itself; the command fills it in.
type Capture struct {
	Source  string `json:"source"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Dropped uint64 `json:"dropped_by_kernel"`
	Cut     uint64 `json:"cut_by_snap_length"`
	Link    uint64 `json:"of_unknown_link_type"`
	Ended   string `json:"ended,omitempty"` // why it ended before its end
}
