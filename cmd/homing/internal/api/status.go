package api

import "time"

// Status is all of a node at one moment.
type Status struct {
	Version   string     `json:"version" doc:"Version of homing."`
	Node      string     `json:"node" doc:"What the node is called."`
	NodeID    string     `json:"node_id,omitempty" doc:"Its ID in its cluster; left out without one."`
	Now       time.Time  `json:"now" doc:"When this was true."`
	Started   time.Time  `json:"started" doc:"When the process started."`
	Ready     bool       `json:"ready" doc:"Whether conns are welcome, as /readyz says."`
	NotReady  string     `json:"not_ready,omitempty" doc:"Why they are not; left out when they are."`
	Shortages []Shortage `json:"shortages" doc:"What clients are refused for, or kept waiting for; empty when all is well."`
	LogLevel  string     `json:"log_level" doc:"Nothing below it is logged: debug, info, warn or error."`
	Totals    Totals     `json:"totals" doc:"What the whole node has done."`
	Listeners []Listener `json:"listeners" doc:"Where it accepts."`
	Pools     []Pool     `json:"pools" doc:"Where it sends."`
	Tables    []Table    `json:"tables" doc:"What it remembers, and how much room is left; a few seconds old at most."`
	Peers     []Peer     `json:"peers" doc:"The other nodes that it shares with; empty without a cluster."`
}

// Shortage is something that a pool, a listener or the node has not enough of. It stands while it lasts and a minute longer.
type Shortage struct {
	Pool     string    `json:"pool,omitempty" doc:"The pool; left out when it is a listener's or the node's."`
	Listener string    `json:"listener,omitempty" doc:"The listener; left out when it is a pool's or the node's."`
	Cause    string    `json:"cause"`
	Count    uint64    `json:"count"`
	Since    time.Time `json:"since" doc:"When it began."`
	Last     time.Time `json:"last" doc:"When it was last seen."`
	What     string    `json:"what" doc:"What has happened since then, in words."`
	Remedy   string    `json:"remedy" doc:"What to do about it."`
}

// Totals is what a node has done since it started.
type Totals struct {
	ConnsAccepted   uint64 `json:"conns_accepted" doc:"Conns accepted from clients."`
	ConnsOpen       uint64 `json:"conns_open" doc:"Conns open now."`
	Handshakes      uint64 `json:"handshakes" doc:"Conns in their handshake now."`
	PreHello        uint64 `json:"pre_hello" doc:"Conns without a whole hello now."`
	Waiting         uint64 `json:"waiting" doc:"Conns that wait for a backend with room now."`
	MemoryBytes     uint64 `json:"memory_bytes" doc:"Memory that conns, their handshakes and their buffers take now."`
	BytesIn         uint64 `json:"bytes_in" doc:"Bytes received from clients."`
	BytesOut        uint64 `json:"bytes_out" doc:"Bytes received from backends."`
	Connects        uint64 `json:"connects" doc:"Connects to backends that were tried."`
	ConnectFailures uint64 `json:"connect_failures" doc:"Of them, refused, unreachable, forbidden or timed out."`
	ConnectTimeouts uint64 `json:"connect_timeouts"`
	Replays         uint64 `json:"replays" doc:"Connects to another backend because one had failed."`
	SecondChances   uint64 `json:"second_chances" doc:"Connects to another backend because of the first one's answer."`
	Unroutable      uint64 `json:"unroutable" doc:"Conns that no backend took."`
	Shed            uint64 `json:"shed" doc:"Conns given up before their hello was whole, for want of buffer memory."`
	Fresh           uint64 `json:"fresh" doc:"Hellos that offer nothing to resume."`

	Refused map[string]uint64 `json:"refused"`

	Offers []Offer           `json:"offers" doc:"Hellos that offer to resume, by what they offer."`
	Routes map[string]uint64 `json:"routes" doc:"Conns by the rule that named their backend: session, ticket_key, client, explore or fresh."`
	Lost   map[string]uint64 `json:"lost"`
}

// Offer is how one kind of offers fares.
type Offer struct {
	Kind     string `json:"kind" doc:"id (TLS 1.2 session ID), ticket (TLS 1.2) or psk (TLS 1.3)."`
	Offered  uint64 `json:"offered" doc:"Hellos that offered it."`
	Accepted uint64 `json:"accepted" doc:"Of them, resumed by the backend."`
	Refused  uint64 `json:"refused" doc:"Of them, answered with a full handshake."`
	Unknown  uint64 `json:"unknown" doc:"Of them, without an answer that tells."`
}

// Listener is one address that a node accepts on.
type Listener struct {
	Name    string  `json:"name" doc:"Its name in the configuration; its address where it has none."`
	Address string  `json:"address" doc:"Address and port."`
	TLS     string  `json:"tls" doc:"auto, require or off."`
	Routes  []Route `json:"routes" doc:"Which hellos go to which pool, the most specific first."`
	Default string  `json:"default,omitempty" doc:"The pool of what no route takes; left out where that is closed."`
}

// Route takes some hellos to a pool.
type Route struct {
	Names []string `json:"names" doc:"Server names, exact or with a leading *; empty: any, and none."`
	ALPN  []string `json:"alpn" doc:"Protocols; empty: any."`
	Pool  string   `json:"pool" doc:"Where they go."`
}

// Pool is the backends of one service.
type Pool struct {
	Name     string    `json:"name" doc:"Its name in the configuration."`
	Policy   string    `json:"policy" doc:"How a fresh handshake finds a backend: round-robin, least-conn or client-hash."`
	Live     int       `json:"live" doc:"Backends that take fresh handshakes now."`
	Queue    Queue     `json:"queue" doc:"Conns that wait while every backend has as many as it may."`
	Backends []Backend `json:"backends" doc:"All of them, by address."`
}

// Queue is the conns of a pool that have waited for a backend with room.
type Queue struct {
	Waiting  uint64  `json:"waiting" doc:"Those that wait now."`
	Queued   uint64  `json:"queued" doc:"Those that have waited."`
	Seconds  float64 `json:"waited_seconds" doc:"How long they have waited, together."`
	Timeouts uint64  `json:"timeouts" doc:"Those that were reset because they had waited as long as they may."`
	Full     uint64  `json:"full" doc:"Conns that were reset because as many waited as may."`
}

// Table is one of the fixed-size tables.
type Table struct {
	Name     string `json:"name" doc:"sessions, clients, refusals or hints."`
	Used     int    `json:"used" doc:"Live entries; an estimate in large tables."`
	Capacity int    `json:"capacity" doc:"Entries that it is made for."`
	Bytes    int    `json:"bytes" doc:"Memory that it uses: it grows as it fills."`
	Inserts  uint64 `json:"inserts" doc:"Entries written."`
	Evicted  uint64 `json:"evicted" doc:"Live entries that gave way to new ones: the table is too small."`

	Shares []TableShare `json:"shares" doc:"Each pool's part of sessions and clients; empty for the others."`
}

// TableShare is one pool's part of a table.
type TableShare struct {
	Pool    string `json:"pool" doc:"The pool's name."`
	Entries int    `json:"entries" doc:"Entries of the pool; those that have expired count for some minutes."`
	Evicted uint64 `json:"evicted"`
}
