package api

import "time"

// TicketKeys is the ticket keys of all pools.
type TicketKeys struct {
	TicketKeys []TicketKey `json:"ticket_keys" doc:"By pool, the last used first."`
}

// TicketKey is the key under which a backend, or several, issue tickets.
type TicketKey struct {
	Pool     string          `json:"pool" doc:"The pool of its backends."`
	Key      string          `json:"key" doc:"A seeded hash of the key's name: the same at every node of a cluster, and no secret."`
	Length   int             `json:"length" doc:"Bytes of the name in a ticket."`
	Age      float64         `json:"age_seconds" doc:"How long it has been known: forward secrecy ends with it."`
	Used     float64         `json:"used_seconds" doc:"How long ago a ticket under it was last issued or accepted."`
	Shared   bool            `json:"shared" doc:"Whether several backends hold it."`
	Doubtful bool            `json:"doubtful" doc:"Whether one of its backends is doubtful."`
	Backends []TicketKeyHome `json:"backends" doc:"Who holds it, in the order in which that became known."`
}

// TicketKeyHome is a backend's part in a ticket key.
type TicketKeyHome struct {
	Address string    `json:"address" doc:"The backend."`
	Since   time.Time `json:"since" doc:"When it became known that it holds the key."`
	Last    time.Time `json:"last" doc:"When it last issued or accepted a ticket under it."`
	Count   uint64    `json:"count" doc:"Tickets under it that this node saw issued or accepted there."`

	Refused  uint64 `json:"refused" doc:"Tickets under it that this node saw refused there since then, counted up to about 8."`
	Doubtful bool   `json:"doubtful"`
}

// Tables is a list of them.
type Tables struct {
	Tables []Table `json:"tables" doc:"All tables."`
}

// LookupRequest asks where an identifier, or a whole hello, would go. Nothing of it is stored or logged.
type LookupRequest struct {
	Identifier string `json:"identifier,omitempty" doc:"A session ID, a ticket or a PSK identity, in hex or base64; or else a hello."`
	Kind       string `json:"kind,omitempty" doc:"id, ticket or psk; empty: whatever it may be by its length."`
	Hello      string `json:"hello,omitempty" doc:"All that a client sends of its hello, from the first TLS record on, in hex or base64."`
	Client     string `json:"client,omitempty"`
	Pool       string `json:"pool,omitempty" doc:"Only in this pool; empty: in all."`
}

// Lookup is the answer to a LookupRequest.
type Lookup struct {
	Bytes   int     `json:"bytes" doc:"Length of the identifier, or of the hello."`
	Matches []Match `json:"matches" doc:"For each pool and kind, where a hello that offers it goes."`
}

// Match is where a hello goes in one pool: as the loops decide, but for what is different from conn to conn.
type Match struct {
	Pool    string    `json:"pool" doc:"The pool."`
	Kind    string    `json:"kind" doc:"id or ticket, as which a PSK identity is looked up; of a hello psk or none, too."`
	Rule    string    `json:"rule"`
	Homes   []string  `json:"homes" doc:"The backends that are known to accept it, that is the client's, or that explore asks first."`
	Backend string    `json:"backend,omitempty" doc:"The one that it would go to now; left out when the policy or chance decides."`
	Why     string    `json:"why,omitempty" doc:"Why no home can be used: backend_down, full, overloaded or drained; left out when one can."`
	Expires time.Time `json:"expires,omitzero" doc:"When it is forgotten; left out but for rule session."`
	Key     string    `json:"key,omitempty" doc:"The ticket key, as in the list of them; left out but for rule ticket_key."`
	Length  int       `json:"length,omitempty" doc:"Bytes of the ticket key's name; left out but for rule ticket_key."`
}

// Cluster is what a node knows of its cluster.
type Cluster struct {
	Members []Member `json:"members" doc:"Nodes and agents, the node that answers first; empty without a cluster."`
	Peers   []Peer   `json:"peers" doc:"The nodes that it shares with."`
}

// SealedCommand is a command for all nodes, sealed with the key that only nodes have: a drain, a weight or a change of the
// gossip keys.
type SealedCommand struct {
	Sealed []byte `json:"sealed" doc:"The command as homing cluster seals it, in base64."`
}

// CommandAnswers is what the nodes made of a command.
type CommandAnswers struct {
	Nodes []NodeAnswer `json:"nodes" doc:"The node that was asked first."`
}

// Member is one member of a cluster. Keys are named, not told.
type Member struct {
	ID      string   `json:"id" doc:"What tells it from all others; it stays, with a state directory."`
	Name    string   `json:"name,omitempty" doc:"What it is called, or its machine is; left out by older releases."`
	Asked   bool     `json:"asked,omitempty" doc:"Whether it is the node that answers."`
	Role    string   `json:"role" doc:"node or agent."`
	State   string   `json:"state" doc:"What it says of itself, or vanished."`
	Addr    string   `json:"addr" doc:"Where it gossips."`
	Version string   `json:"version" doc:"Version of homing."`
	Keys    []string `json:"keys,omitempty" doc:"The gossip keys that it trusts, by name, the one in use first; left out without any."`
	Pool    string   `json:"pool,omitempty" doc:"Of an agent: the pool of its backend."`
	Backend string   `json:"backend,omitempty" doc:"Of an agent: the backend that it announces."`
	Weight  int      `json:"weight,omitempty" doc:"Of an agent: the backend's weight."`
}

// Peer is another node, and how well it is kept up to date.
type Peer struct {
	ID       string  `json:"id" doc:"What tells it from all others."`
	Name     string  `json:"name,omitempty" doc:"What it is called; left out when that is not known."`
	State    string  `json:"state" doc:"lost: there is no stream; resyncing: the whole table is on its way; or streaming."`
	Lag      float64 `json:"lag_seconds" doc:"Age of the oldest fact learned here that it has not acknowledged."`
	Unacked  uint64  `json:"unacked" doc:"Facts that it has not acknowledged."`
	BytesIn  uint64  `json:"bytes_in" doc:"Received from it."`
	BytesOut uint64  `json:"bytes_out" doc:"Sent to it."`
	Resyncs  uint64  `json:"resyncs" doc:"Times that it was sent the whole table."`
}

// LogLevel is the least level that is logged.
type LogLevel struct {
	Level string `json:"level" doc:"debug, info, warn or error."`
}

// Done is the answer to a command that has nothing else to say.
type Done struct {
	Done string `json:"done" doc:"What was done, in one line."`
}

// Empty is a request without anything in it: {}.
type Empty struct{}

// Events is what happened lately.
type Events struct {
	Events []Event `json:"events" doc:"The oldest first; the last few hundred are kept."`
	Next   uint64  `json:"next" doc:"Give it as ?after= to get only what comes later."`
}

// Event is one line of the log, which need not be logged: backends that go down and come back, drains, reloads, new ticket
// keys, other nodes that come and go, warnings.
type Event struct {
	Seq     uint64            `json:"seq" doc:"Its number; the first is 1."`
	Time    time.Time         `json:"time" doc:"When."`
	Level   string            `json:"level" doc:"info, warn or error."`
	Message string            `json:"message" doc:"What."`
	Fields  map[string]string `json:"fields" doc:"The words of the log line by their names."`
}

// History is how conns, traffic and resumptions went lately.
type History struct {
	Step     float64         `json:"step_seconds" doc:"Time between two samples."`
	End      time.Time       `json:"end" doc:"Time of the last sample."`
	Next     uint64          `json:"next" doc:"Number of the last sample. Give it as ?after= to get only what comes later."`
	Backends []BackendSeries `json:"backends" doc:"By pool and address."`
}

// BackendSeries is a backend's lately, the oldest sample first.
type BackendSeries struct {
	Pool    string    `json:"pool" doc:"Its pool."`
	Address string    `json:"address" doc:"Its address."`
	Open    []float64 `json:"conns_open" doc:"Conns open."`
	Conns   []float64 `json:"conns_per_second" doc:"New conns per second."`
	Bytes   []float64 `json:"bytes_per_second" doc:"Bytes per second, both directions."`

	Accepted []float64 `json:"accepted_per_second" doc:"Offers per second that it resumed."`
	Refused  []float64 `json:"refused_per_second" doc:"Offers per second that it answered with a full handshake."`
}

// Error is the answer to what cannot be done.
type Error struct {
	Error string `json:"error" doc:"One line: the thing, what is wrong with it, what to do."`
}
