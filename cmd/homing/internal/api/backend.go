package api

import "time"

// Backend is one server of a pool, as this node sees it.
type Backend struct {
	Pool    string `json:"pool" doc:"Its pool."`
	Address string `json:"address" doc:"IP address and port, or unix: and a path: names the backend within its pool."`
	Name    string `json:"name" doc:"As it is configured: a host name and port, or the address."`
	ID      string `json:"id" doc:"Its ID in tables and on other nodes, in hex."`

	Health         string    `json:"health" doc:"up, down, or trial: it was down, and one conn at a time may try it."`
	HealthSince    time.Time `json:"health_since,omitzero"`
	HealthWhy      string    `json:"health_why,omitempty" doc:"Why it did, as the log has it; left out likewise."`
	State          string    `json:"state" doc:"in service, draining, or drained: no conn is open and none can come."`
	Drain          Drain     `json:"drain" doc:"How it is being emptied."`
	Report         string    `json:"report" doc:"What it says of itself: ready, or drain, a percentage of its weight and a bound of conns."`
	Weight         int       `json:"weight" doc:"Share of fresh handshakes relative to the others."`
	FreshShare     int       `json:"fresh_share_percent"`
	WholeAt        time.Time `json:"whole_at,omitzero" doc:"When all of its weight will count; left out when it does."`
	MaxConns       int       `json:"max_conns" doc:"Bound of the open conns, 0 for none."`
	ConnectsFailed int       `json:"connects_failed" doc:"Connects that failed since the last that succeeded."`

	ConnsOpen int    `json:"conns_open" doc:"Conns open to it now."`
	Conns     uint64 `json:"conns" doc:"Conns that it got."`
	Fresh     uint64 `json:"fresh" doc:"Of them, those that offered nothing to resume."`
	Accepted  uint64 `json:"accepted" doc:"Offers that it resumed."`
	Refused   uint64 `json:"refused" doc:"Offers that it answered with a full handshake."`
	Lost      uint64 `json:"lost" doc:"Offers of its own that were not resumed: it refused them, or could not be used."`
	BytesIn   uint64 `json:"bytes_in" doc:"Bytes from clients to it; those of an open conn are counted every 64 KiB."`
	BytesOut  uint64 `json:"bytes_out" doc:"Bytes from it to clients; likewise."`

	ConnsPerSecond float64 `json:"conns_per_second" doc:"New conns per second, of the last two seconds."`
	BytesPerSecond float64 `json:"bytes_per_second" doc:"Bytes per second in both directions, likewise."`

	Known *Known `json:"known" doc:"What leads to it; null until it has been counted for the first time."`
	Probe *Probe `json:"probe" doc:"What the probe found; null without one."`
}

// Drain is how a backend is being emptied.
type Drain struct {
	Mode  string    `json:"mode"`
	Since time.Time `json:"since,omitzero" doc:"When it began; left out when it has not."`
	Until time.Time `json:"until,omitzero" doc:"When its own resumptions end, or ended; left out for never."`
}

// Known is how much of what the node remembers leads to a backend. It is counted every few seconds while somebody asks.
type Known struct {
	At         time.Time `json:"at" doc:"When it was counted."`
	Sessions   int       `json:"sessions" doc:"Live session IDs, tickets and identities that only this backend accepts."`
	Clients    int       `json:"clients" doc:"Clients whose last handshake was there."`
	TicketKeys int       `json:"ticket_keys" doc:"Ticket keys that it holds; each routes any number of tickets."`
	Doubtful   int       `json:"ticket_keys_doubtful"`
}

// Probe is what the probe found at a backend.
type Probe struct {
	Last      time.Time      `json:"last,omitzero" doc:"The last probe; left out before the first."`
	Succeeded time.Time      `json:"succeeded,omitzero" doc:"The last one that shook hands; left out if none has."`
	Error     string         `json:"error,omitempty" doc:"Why the last one was given up; left out when it was not."`
	Versions  []ProbeVersion `json:"versions" doc:"What it found for each TLS version, the highest first; the worst of all server names."`
}

// ProbeVersion is how a backend resumes sessions of one TLS version.
type ProbeVersion struct {
	Version   string  `json:"version" doc:"TLS 1.3, or TLS 1.2."`
	Tickets   int     `json:"tickets" doc:"Tickets that the last probe got."`
	Resumed   bool    `json:"resumed" doc:"Whether the backend resumed a session of its own by ticket."`
	Nameless  bool    `json:"nameless" doc:"Nothing in the tickets names their key: they can be told apart only by client."`
	KeyAge    float64 `json:"key_age_seconds" doc:"How long the ticket key in use has been known; 0 without one."`
	KeyShared int     `json:"key_shared" doc:"Backends that hold the same ticket key, this one included; 0 without one."`
}

// Backends is a list of them.
type Backends struct {
	Backends []Backend `json:"backends" doc:"By pool and address."`
}

// Pools is a list of them.
type Pools struct {
	Pools []Pool `json:"pools" doc:"In the order of the configuration."`
}

// Listeners is a list of them.
type Listeners struct {
	Listeners []Listener `json:"listeners" doc:"In the order of the configuration."`
}

// DefaultDrain is how long own resumptions are admitted if nobody says: TLS 1.3 clients that come back at all come back
// within the hour, and Go and JSSE would otherwise renew their tickets for ever.
const DefaultDrain = time.Hour

// DrainRequest says how a backend is to be emptied.
type DrainRequest struct {
	Hard     bool    `json:"hard,omitempty" doc:"Not even its own resumptions: no new conns at once."`
	For      float64 `json:"for_seconds,omitempty"`
	ThisNode bool    `json:"this_node,omitempty" doc:"Only at this node; otherwise at all nodes of its cluster."`
	Force    bool    `json:"force,omitempty" doc:"Although no backend would be left for fresh handshakes."`
}

// UndrainRequest puts a backend back in service.
type UndrainRequest struct {
	ThisNode bool `json:"this_node,omitempty" doc:"Only at this node; otherwise at all nodes of its cluster."`
}

// WeightRequest gives a backend another weight.
type WeightRequest struct {
	Weight   int  `json:"weight" doc:"1 to 1000; 0: that of the configuration. It stands until the configuration is read again."`
	ThisNode bool `json:"this_node,omitempty" doc:"Only at this node; otherwise at all nodes of its cluster."`
}

// Changed is the answer to a change of backends. When it comes, the nodes that follow have made the change: of a drain,
// no loop will send another fresh handshake.
type Changed struct {
	Backends []Backend    `json:"backends" doc:"As they are now at this node. A host name may stand for several."`
	Nodes    []NodeAnswer `json:"nodes" doc:"What each node made of it, this one first."`
	Note     string       `json:"note,omitempty" doc:"What else to know; left out when there is nothing."`
}

// NodeAnswer is what one node made of a change.
type NodeAnswer struct {
	Node  string `json:"node" doc:"Its ID in the cluster; empty without one."`
	Name  string `json:"name,omitempty" doc:"What it is called; left out when that is not known."`
	Error string `json:"error,omitempty" doc:"Why it has not followed, or not answered; left out when it has."`
}
