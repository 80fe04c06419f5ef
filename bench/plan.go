package bench

import (
	"context"
	"time"
)

// Scenario names what a run is about. It decides how the run is conducted; what the clients do is in the groups.
type Scenario string

// The scenarios. NewPlan fills a Plan as each of them wants it.
const (
	Resume   Scenario = "resume"   // clients reconnect and offer to resume, at a steady rate
	Rate     Scenario = "rate"     // the rate rises step by step until the target no longer keeps up
	Bulk     Scenario = "bulk"     // few conns, large answers
	Idle     Scenario = "idle"     // many conns that do nothing, then all are asked whether they still live
	Churn    Scenario = "churn"    // resume, while backends go and come back
	Failover Scenario = "failover" // resume over several nodes, one of which is killed
	Fragment Scenario = "fragment" // resume with hellos cut over records and segments, or large
	Slow     Scenario = "slow"     // clients that send and read slowly, beside clients that do not
)

// Kind is the way in which a client shakes hands.
type Kind string

// The kinds. All but the first two offer to resume once they hold a session.
const (
	Full12 Kind = "full12" // TLS 1.2, always a full handshake
	Full13 Kind = "full13" // TLS 1.3, always a full handshake
	ID     Kind = "id"     // TLS 1.2, resumes by session ID, RFC 5246 section 7.3
	Ticket Kind = "ticket" // TLS 1.2, resumes by ticket, RFC 5077
	PSK    Kind = "psk"    // TLS 1.3, resumes by PSK, RFC 9846 section 2.2
	Early  Kind = "0rtt"   // TLS 1.3, PSK, and the request as early data where the server allowed it, RFC 9846 section 2.3
)

// Verify says how carefully the clients check certificates.
type Verify string

// Chains are costly to check and the same in every handshake.
const (
	VerifyOnce   Verify = "once"   // each certificate's chain once in a run, the server's signature in every full handshake
	VerifyAlways Verify = "always" // both in every full handshake, as a browser does
	VerifyOff    Verify = "off"    // neither
)

// Sources says which local addresses the conns come from.
type Sources string

// Addresses are of 127.0.0.0/8, so that all but SourceKernel need a target there.
const (
	SourceOwn    Sources = "own"    // each client has its own and keeps it
	SourceRoam   Sources = "roam"   // each conn has a new one
	SourceShared Sources = "shared" // one for all, as behind a NAT
	SourceKernel Sources = "kernel" // whatever the kernel takes; for targets that are not on this machine
)

// Plan is one run: what to do to which target, and for how long. The zero value of a field means what its comment says;
// Check fills them in.
type Plan struct {
	Scenario Scenario `json:"scenario"`

	// Targets are addresses, HOST:PORT, that all serve the same: client k begins with the target k modulo their number and
	// goes on to the next when it cannot connect.
	Targets []string `json:"targets"`

	// Names are the server names sent; client k sends the name k modulo their number. None: the host of the target.
	Names []string `json:"names,omitempty"`

	// Roots are the certificates trusted, in PEM. None: the system's.
	Roots string `json:"roots,omitempty"`

	// Verify: empty is VerifyOnce.
	Verify Verify `json:"verify"`

	// ReuseKeyShare lets all handshakes of a loop send the same key share, which spares the client's CPU and no server's.
	ReuseKeyShare bool `json:"reuse_key_share,omitempty"`

	// Groups are the clients by what they do, at least one.
	Groups []GroupPlan `json:"groups"`

	// Clients is the number of simulated clients of all groups, each with a session of its own. 0 is 1,000.
	Clients int `json:"clients"`

	// Rate is the number of conns that should begin per second, over all clients (open loop: they should begin whether the
	// target keeps up or not). 0 is a closed loop: every client reconnects as soon as it has its answer.
	Rate float64 `json:"rate"`

	// Even has conns begin at even distances. Else each begins anywhere in a gap of its own, which is fair to targets that
	// deal conns out by turns, but at a low rate no two runs are alike.
	Even bool `json:"even,omitempty"`

	// Steps are the rates of Scenario Rate, rising. None: from Rate (0 is 250 conns per second) in steps of a tenth.
	Steps []float64 `json:"steps,omitempty"`

	// Sources: empty is SourceOwn for targets in 127.0.0.0/8, else SourceKernel.
	Sources Sources `json:"sources"`

	// Delay is added to every byte, and to the TCP handshake, on its way from client to target and again on the way back,
	// as a distance would. At most 10 s.
	Delay time.Duration `json:"delay_ns,omitempty"`

	// WarmUp passes before anything is recorded; every client connects at least once in it. At most 1 h.
	WarmUp time.Duration `json:"warm_up_ns"`

	// Duration is what is recorded. 0 is 10 s; at most 24 h.
	Duration time.Duration `json:"duration_ns"`

	// Timeout bounds each conn up to the end of its last answer, think time excluded. 0 is 10 s.
	Timeout time.Duration `json:"timeout_ns"`

	// Loops is the number of threads that carry the clients, each with clients, pacer, sockets and histograms of its own.
	// 0 is one per CPU.
	Loops int `json:"loops"`

	// Seed makes the order of clients repeatable; it shows in the result. 0 is drawn.
	Seed uint64 `json:"seed"`

	// Disturb is what happens to the target on the way (Churn, Failover); Control does it.
	Disturb []Disturbance `json:"disturb,omitempty"`

	// Control carries out Disturb. Required with it.
	Control Control `json:"-"`

	// Watch are the processes whose CPU and memory the result shows, over exactly the time that is recorded.
	Watch []Watched `json:"watch,omitempty"`
}

// GroupPlan is what one group of clients does.
type GroupPlan struct {
	// Name is the group's row in the result. Empty: the kind, and the shape's name unless that is empty.
	Name string `json:"name"`

	Kind Kind `json:"kind"`

	// Share is the group's part of the clients, relative to the other groups'. 0 is 1.
	Share float64 `json:"share"`

	// Shape is how the ClientHello looks on the wire.
	Shape Shape `json:"shape,omitzero"`

	// Requests per conn. 0 is 1; -1 is none: the conn ends after the handshake (and, for kinds that resume, after the
	// first ticket or 250 ms).
	Requests int `json:"requests"`

	// Think is the pause between an answer and the next request on the same conn.
	Think time.Duration `json:"think_ns,omitempty"`

	// Response is the number of body bytes asked for, as a range of /data. 0: whatever "/" answers.
	Response int64 `json:"response_bytes,omitempty"`

	// Lifetime is the age at which a client drops its session. 0: what the server allowed, at most 7 days.
	Lifetime time.Duration `json:"lifetime_ns,omitempty"`

	// ReadRate is how many bytes per second a client takes at most. 0: all that come.
	ReadRate int64 `json:"read_rate,omitempty"`

	// Hold keeps the conn open after the handshake until the end of the run, and sends the requests then (Idle).
	Hold bool `json:"hold,omitempty"`
}

// Shape is how a ClientHello looks on the wire. The zero value is a plain hello of 150 to 500 bytes in one record and one
// segment.
type Shape struct {
	// Name stands in the result. Empty: made of what follows.
	Name string `json:"name,omitempty"`

	// Browser makes the hello as large as browsers do: GREASE, ALPN, a post-quantum key share, 1.7 kB.
	Browser bool `json:"browser,omitempty"`

	// RecordBytes cuts the hello into records with so many bytes of it each. 0: one record.
	RecordBytes int `json:"record_bytes,omitempty"`

	// SegmentBytes cuts what is sent up to the end of the hello into segments of so many bytes each. 0: one write.
	SegmentBytes int `json:"segment_bytes,omitempty"`

	// Gap is the pause after each of these segments.
	Gap time.Duration `json:"gap_ns,omitempty"`
}

// Disturbance is one thing that happens to the target.
type Disturbance struct {
	// At is when, counted from the beginning of what is recorded.
	At time.Duration `json:"at_ns"`

	// Down stops Who, else it is started again.
	Down bool `json:"down"`

	// Who is a name that Control knows.
	Who string `json:"who"`
}

// Control stops and starts what Disturbances name. Its methods are called one at a time, and not on a loop.
type Control interface {
	Down(ctx context.Context, who string) error
	Up(ctx context.Context, who string) error
}

// Teller is a Control that tells which processes a name has now; none while it is down. The accounts of Plan.Watch follow
// what is taken down and comes up again under the same name.
type Teller interface {
	Control
	Processes(ctx context.Context, who string) ([]int, error)
}

// Watched is a process, or several that count as one, on this machine.
type Watched struct {
	Role string `json:"role"` // "backend" or "balancer"
	Name string `json:"name"`
	PIDs []int  `json:"pids"`
}
