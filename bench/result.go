package bench

import (
	"time"
)

// ResultSchema is the version of Result's JSON. It changes when a field changes its meaning, not when one is added.
const ResultSchema = 1

// Result is what a run showed.
type Result struct {
	Schema int  `json:"schema"`
	Plan   Plan `json:"plan"`

	Start time.Time     `json:"start"`      // of what is recorded
	Took  time.Duration `json:"took_ns"`    // of what is recorded
	Ended string        `json:"ended"`      // why the run ended before its time; empty: it did not
	Lost  int64         `json:"lost_conns"` // open, or not begun yet, when the wait for the last ones ended; in their group's errors too

	Groups []Group `json:"groups"`

	// Steps of Scenario Rate.
	Steps []Step `json:"steps,omitempty"`

	// Timeline has one entry per TimelineTick of what is recorded, warm-up excluded.
	Timeline []Tick `json:"timeline,omitempty"`

	// Disturbances that happened, with the time they took.
	Disturbances []Disturbed `json:"disturbances,omitempty"`

	// Client is what this harness itself used.
	Client Use `json:"client"`

	// Machine is the whole machine, everything on it.
	Machine Use `json:"machine"`

	// Tasks is the CPU time of all threads on the machine, kernel's included, to the nanosecond: proc.Tasks says what
	// is not in it. That of Machine has everything, to 10 ms.
	Tasks time.Duration `json:"tasks_cpu_ns"`

	// Watched are the processes of Plan.Watch, in its order.
	Watched []Use `json:"watched,omitempty"`

	// Warnings are what a reader must know before believing the figures, one sentence each.
	Warnings []string `json:"warnings,omitempty"`

	// Host says where this ran.
	Host Host `json:"host"`
}

// Group is what one group of clients met.
type Group struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Shape string `json:"shape,omitempty"`

	Clients int `json:"clients"`

	// Tally counts the conns that should have begun in the time that is recorded.
	Tally `json:"tally"`

	// Total counts all conns, warm-up included: what the servers' own logs must agree with.
	Total Tally `json:"total"`

	// Latencies in microseconds, of the conns in Tally that came so far.
	Latency Latency `json:"latency"`
}

// Tally counts conns. Attempts = Done + the sum of Errors; Offered = Accepted + Refused + offers on conns that failed
// before the answer.
type Tally struct {
	Attempts int64 `json:"attempts"` // conns that should have begun
	Shaken   int64 `json:"shaken"`   // handshakes completed
	Done     int64 `json:"done"`     // conns that ended as planned
	Offered  int64 `json:"offered"`  // hellos that offered a session
	Accepted int64 `json:"accepted"` // offers the server resumed
	Refused  int64 `json:"refused"`  // offers answered by a full handshake

	EarlyOffered  int64 `json:"early_offered,omitempty"` // hellos followed by early data
	EarlyAccepted int64 `json:"early_accepted,omitempty"`

	Moved    int64 `json:"moved,omitempty"` // connects that failed and went on to another target
	Requests int64 `json:"requests"`        // answers received whole
	Read     int64 `json:"read_bytes"`
	Written  int64 `json:"written_bytes"`

	// Errors by class, see Class.
	Errors map[Class]int64 `json:"errors,omitempty"`

	// Backends counts answered conns by the name the backend gave itself in the header X-Backend; "" without one.
	Backends map[string]BackendTally `json:"backends,omitempty"`
}

// BackendTally counts the conns one backend answered.
type BackendTally struct {
	Conns    int64 `json:"conns"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
}

// Latency holds the histograms of one group. Except Service, each counts from the time at which the conn should have
// begun, so that a stall shows in every conn that should have begun during it.
type Latency struct {
	Connect   *Histogram `json:"connect,omitempty"`   // up to the TCP conn
	Resumed   *Histogram `json:"resumed,omitempty"`   // up to the end of the handshake, where the offer was accepted
	Full      *Histogram `json:"full,omitempty"`      // up to the end of the handshake, of full handshakes
	Answer    *Histogram `json:"answer,omitempty"`    // up to the last byte of the first answer; of held conns from when it should be asked for
	Handshake *Histogram `json:"handshake,omitempty"` // Resumed and Full together, but from the TCP conn on
	Service   *Histogram `json:"service,omitempty"`   // as Answer, but from when the conn did begin: blind to stalls, to compare with
}

// Step is one rate of Scenario Rate.
type Step struct {
	Rate      float64 `json:"rate"`      // intended, conns per second
	Achieved  float64 `json:"achieved"`  // done within their step
	P99       int64   `json:"p99_us"`    // of Answer
	Errors    int64   `json:"errors"`    // conns failed
	Sustained bool    `json:"sustained"` // the target kept up
}

// TimelineTick is the resolution of Timeline.
const TimelineTick = 100 * time.Millisecond

// Tick counts what ended in one TimelineTick.
type Tick struct {
	Done     int64 `json:"done"`
	Errors   int64 `json:"errors"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
}

// Add adds what another tick counted.
func (t *Tick) Add(o Tick) {
	t.Done += o.Done
	t.Errors += o.Errors
	t.Accepted += o.Accepted
	t.Refused += o.Refused
}

// Disturbed is a Disturbance that happened.
type Disturbed struct {
	Disturbance
	Began time.Duration `json:"began_ns"` // counted from the beginning of what is recorded
	Took  time.Duration `json:"took_ns"`
	Error string        `json:"error,omitempty"`
}

// Use is what a process, or the machine, used in the time that is recorded.
type Use struct {
	Role     string        `json:"role,omitempty"`
	Name     string        `json:"name,omitempty"`
	CPU      time.Duration `json:"cpu_ns"`
	Memory   int64         `json:"memory_bytes,omitempty"`        // proportional set size when what is recorded ends, held conns open
	Before   int64         `json:"memory_before_bytes,omitempty"` // and before the first conn
	Resident int64         `json:"resident_bytes,omitempty"`      // resident set, when Memory was taken; of watched processes

	// Context switches of watched processes: their threads waited, or had to make room.
	Voluntary   int64 `json:"voluntary_switches,omitempty"`
	Involuntary int64 `json:"involuntary_switches,omitempty"`
}

// Host is the machine and the software of a run.
type Host struct {
	CPUs    int    `json:"cpus"`
	Model   string `json:"model"` // of the CPU
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Version string `json:"version"` // of homing-bench
	Command string `json:"command"` // the exact command line
}

// Class is what went wrong with a conn.
type Class string

// The classes of errors.
const (
	ConnectRefused Class = "connect_refused"
	Unreachable    Class = "unreachable"
	NoPorts        Class = "no_ports"       // this machine had no free port for the source address
	NoDescriptors  Class = "no_descriptors" // this process may not open more
	TimedOut       Class = "timeout"
	Reset          Class = "reset"
	Closed         Class = "closed"      // the other side closed before its time
	Alert          Class = "alert"       // a fatal TLS alert
	Certificate    Class = "certificate" // not trusted, or not for the name
	Version        Class = "version"     // another TLS version than the kind needs
	Protocol       Class = "protocol"    // bytes that are no TLS, or not what is due
	Answer         Class = "answer"      // an HTTP answer that is none, or not of status 2xx
	Lost           Class = "lost"        // still open when the run ended
	Other          Class = "other"
)

// Add adds what another tally counted.
func (t *Tally) Add(o *Tally) {
	t.Attempts += o.Attempts
	t.Shaken += o.Shaken
	t.Done += o.Done
	t.Offered += o.Offered
	t.Accepted += o.Accepted
	t.Refused += o.Refused
	t.EarlyOffered += o.EarlyOffered
	t.EarlyAccepted += o.EarlyAccepted
	t.Moved += o.Moved
	t.Requests += o.Requests
	t.Read += o.Read
	t.Written += o.Written
	for class, n := range o.Errors {
		t.fail(class, n)
	}
	for name, b := range o.Backends {
		t.answeredBy(name, b)
	}
}

func (t *Tally) fail(class Class, n int64) {
	if t.Errors == nil {
		t.Errors = make(map[Class]int64)
	}
	t.Errors[class] += n
}

func (t *Tally) answeredBy(name string, n BackendTally) {
	if t.Backends == nil {
		t.Backends = map[string]BackendTally{}
	}
	b := t.Backends[name]
	b.Conns += n.Conns
	b.Accepted += n.Accepted
	b.Refused += n.Refused
	t.Backends[name] = b
}

// Failed is the number of conns that ended in an error.
func (t *Tally) Failed() int64 {
	var n int64
	for _, count := range t.Errors {
		n += count
	}
	return n
}

// Share is the part of answered offers that was accepted, 0 to 1; ok is false when nothing was offered.
func (t *Tally) Share() (share float64, ok bool) {
	if t.Accepted+t.Refused == 0 {
		return 0, false
	}
	return float64(t.Accepted) / float64(t.Accepted+t.Refused), true
}
