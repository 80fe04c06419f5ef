package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// Measure is one thing that rounds are judged by.
type Measure struct {
	Key  string
	Name string // heads a column

	of     func(r *Round) float64 // not a number: this round has none
	format func(float64) string
	beside *beside // nil: nothing
}

// beside says what a round is held against: the same round of another arm.
type beside struct {
	arm func(t *Test, a *Arm) *Arm // nil without one
	how func(own, other float64) float64
}

// The measures, by what they are called in code; measures() has them in order.
const (
	mResumed    = "resumed"         // share of the offers to resume that were accepted
	mRate       = "rate"            // conns that ended as planned, per second
	mKept       = "kept"            // requests per second of backend CPU, as a part of those with one backend
	mOfBest     = "of_best"         // the same, as a part of those of clients that each keep to a backend of their own, without a balancer
	mBackend    = "backend_cpu"     // CPU time of all backends per conn
	mBalancer   = "balancer_cpu"    // CPU time of the balancer's own processes per conn
	mMachine    = "machine_cpu"     // CPU time of the whole machine per conn, clients and kernel included
	mClient     = "client_cpu"      // CPU time of this harness per conn
	mMemory     = "memory"          // of the balancer's processes, shared pages counted in part (PSS)
	mHandshake  = "handshake_p50"   // median from the TCP conn to the end of the TLS handshake
	mFull       = "full_p50"        // median up to the end of a full handshake, from when the conn should have begun
	mResumption = "resumed_p50"     // median up to the end of a resumed handshake, from when the conn should have begun
	mAnswer     = "answer_p99"      // 99 % had their answer within, from when the conn should have begun
	mFailed     = "failed"          // conns that failed
	mBusiest    = "busiest"         // share of the conns at the busiest backend
	mSustained  = "sustained"       // greatest rate of conns per second that was kept up
	mGbit       = "gbit"            // read by the clients
	mBackendGB  = "backend_cpu_gb"  // CPU time of all backends per GB
	mBalancerGB = "balancer_cpu_gb" // CPU time of the balancer's own processes per GB
	mMachineGB  = "machine_cpu_gb"  // CPU time of the whole machine per GB, clients and kernel included
	mClientGB   = "client_cpu_gb"   // CPU time of this harness per GB
	mIdle       = "idle_memory"     // memory of the balancer's processes per idle conn

	mTasks        = "tasks_cpu"     // CPU time of all threads on the machine per conn, clients and kernel included
	mAbove        = "above_direct"  // the same, beyond what it is without a balancer
	mVoluntary    = "voluntary"     // times per conn that the balancer's threads waited
	mInvoluntary  = "involuntary"   // times per conn that the balancer's threads had to make room for others
	mHandshakeP99 = "handshake_p99" // 99 % had shaken hands within, from the TCP conn on
	mAnswerP50    = "answer_p50"    // median up to the answer, from when the conn should have begun
	mWakeUps      = "wake_ups"      // times per second that the balancer's threads waited
	mRestCPU      = "rest_cpu"      // the balancer's own CPU time
	mResident     = "resident"      // resident set of the balancer's processes
)

// measures lists all there are.
func measures() []Measure {
	tasks := perConn(func(r *Round) time.Duration { return r.Tasks })
	return []Measure{
		{mResumed, "resumed", resumed, percent, nil},
		{mRate, "conns/s", func(r *Round) float64 { return ratio(float64(r.Tally.Done), r.Took.Seconds()) }, count, nil},
		{mKept, "kept", perBackendCPU, percent, &beside{oneBackend, ratio}},
		{mOfBest, "of best", perBackendCPU, percent, &beside{ownBackends, ratio}},
		{mBackend, "backends", perConn(func(r *Round) time.Duration { return r.Backend }), micros, nil},
		{mBalancer, "balancer", perConn(func(r *Round) time.Duration { return r.Balancer }), micros, nil},
		{mMachine, "machine", perConn(func(r *Round) time.Duration { return r.Machine }), micros, nil},
		{mClient, "clients", perConn(func(r *Round) time.Duration { return r.Client }), micros, nil},
		{mMemory, "memory", func(r *Round) float64 { return known(float64(r.Memory)) }, bytesText, nil},
		{mHandshake, "handshake", quantile(func(r *Round) time.Duration { return r.Handshake.P50 }), latency, nil},
		{mFull, "full", quantile(func(r *Round) time.Duration { return r.Full.P50 }), latency, nil},
		{mResumption, "resumption", quantile(func(r *Round) time.Duration { return r.Resumed.P50 }), latency, nil},
		{mAnswer, "answer p99", quantile(func(r *Round) time.Duration { return r.Answer.P99 }), latency, nil},
		{mFailed, "failed", func(r *Round) float64 { return float64(r.Tally.Failed()) }, count, nil},
		{mBusiest, "busiest", busiest, percent, nil},
		{mSustained, "sustained", sustained, count, nil},
		{mGbit, "Gbit/s", gbit, func(v float64) string { return fmt.Sprintf("%.2f", v) }, nil},
		{mBackendGB, "backends", perGB(func(r *Round) time.Duration { return r.Backend }), millis, nil},
		{mBalancerGB, "balancer", perGB(func(r *Round) time.Duration { return r.Balancer }), millis, nil},
		{mMachineGB, "machine", perGB(func(r *Round) time.Duration { return r.Machine }), millis, nil},
		{mClientGB, "clients", perGB(func(r *Round) time.Duration { return r.Client }), millis, nil},
		{mIdle, "per conn", idleMemory, bytesText, nil},
		{mTasks, "machine", tasks, micros, nil},
		{mAbove, "above direct", tasks, micros, &beside{direct, func(own, other float64) float64 { return own - other }}},
		{mVoluntary, "voluntary", switches(func(r *Round) int64 { return r.Voluntary }), tenths, nil},
		{mInvoluntary, "involuntary", switches(func(r *Round) int64 { return r.Involuntary }), tenths, nil},
		{mHandshakeP99, "handshake p99", quantile(func(r *Round) time.Duration { return r.Handshake.P99 }), latency, nil},
		{mAnswerP50, "answer", quantile(func(r *Round) time.Duration { return r.Answer.P50 }), latency, nil},
		{mWakeUps, "wake-ups/s", ofBalancer(func(r *Round) float64 { return ratio(float64(r.Voluntary), r.Took.Seconds()) }), tenths, nil},
		{mRestCPU, "CPU per minute", ofBalancer(restCPU), millis, nil},
		{mResident, "RSS", ofBalancer(func(r *Round) float64 { return float64(r.Resident) }), bytesText, nil},
	}
}

// measure returns the measure of that key, which is one of the constants above.
func measure(key string) Measure {
	all := measures()
	return all[slices.IndexFunc(all, func(m Measure) bool { return m.Key == key })]
}

// Values returns the measure of each round by number, not a number where there is none.
func (m Measure) Values(t *Test, a *Arm) []float64 {
	values := m.own(a)
	if m.beside == nil {
		return values
	}
	var others []float64
	if other := m.beside.arm(t, a); other != nil && other != a {
		others = m.own(other)
	}
	for i := range values {
		other := math.NaN()
		if i < len(others) {
			other = others[i]
		}
		values[i] = m.beside.how(values[i], other)
	}
	return values
}

// own is what the rounds of an arm show by themselves.
func (m Measure) own(a *Arm) []float64 {
	values := make([]float64, len(a.Rounds))
	for i, r := range a.Rounds {
		values[i] = math.NaN()
		if r != nil {
			values[i] = m.of(r)
		}
	}
	return values
}

// Stat sums up the rounds of an arm.
func (m Measure) Stat(t *Test, a *Arm) Stat { return statOf(m.Values(t, a)) }

// Compare compares two arms of a test.
func (m Measure) Compare(t *Test, first, second *Arm) Ratio {
	return ratioOf(m.Values(t, first), m.Values(t, second))
}

func resumed(r *Round) float64 {
	if share, ok := r.Tally.Share(); ok {
		return share
	}
	return math.NaN()
}

// OneBackend ends the key of an arm that stands before one backend where others stand before several.
const OneBackend = "/1"

// oneBackend is the arm of the same balancer that stands before one backend.
func oneBackend(t *Test, a *Arm) *Arm { return t.Arm(a.Balancer + OneBackend) }

func direct(t *Test, _ *Arm) *Arm { return t.Arm(balancers.Direct) }

// ownBackends is the arm of clients that each keep to a backend of their own: no balancer can do more for sessions. What
// is lost to 100 % of kept, but not here, is the machine's: backends that share its CPUs and their caches.
func ownBackends(t *Test, a *Arm) *Arm {
	own := direct(t, a)
	if own == nil || own.Backends != a.Backends {
		return nil
	}
	return own
}

func perBackendCPU(r *Round) float64 { return ratio(float64(r.Tally.Done), r.Backend.Seconds()) }

// perConn is in microseconds by the conns that ended as planned.
func perConn(of func(*Round) time.Duration) func(*Round) float64 {
	return func(r *Round) float64 {
		return ratio(known(float64(of(r)))/float64(time.Microsecond), float64(r.Tally.Done))
	}
}

// perGB is in milliseconds per 10^9 bytes.
func perGB(of func(*Round) time.Duration) func(*Round) float64 {
	return func(r *Round) float64 {
		return ratio(known(float64(of(r)))/float64(time.Millisecond), float64(r.Tally.Read)/1e9)
	}
}

// switches are per conn that ended as planned.
func switches(of func(*Round) int64) func(*Round) float64 {
	return ofBalancer(func(r *Round) float64 { return ratio(float64(of(r)), float64(r.Tally.Done)) })
}

// restCPU is in milliseconds per minute.
func restCPU(r *Round) float64 {
	return ratio(float64(r.Balancer)/float64(time.Millisecond), r.Took.Minutes())
}

// ofBalancer is of rounds through a balancer, which has a resident set. It may well have done nothing.
func ofBalancer(of func(*Round) float64) func(*Round) float64 {
	return func(r *Round) float64 {
		if r.Resident == 0 {
			return math.NaN()
		}
		return of(r)
	}
}

func idleMemory(r *Round) float64 {
	return ratio(known(float64(r.Memory))-float64(r.Before), float64(r.Tally.Shaken))
}

func quantile(of func(*Round) time.Duration) func(*Round) float64 {
	return func(r *Round) float64 { return known(float64(of(r))) }
}

func busiest(r *Round) float64 {
	var sum, most int64
	for _, b := range r.Tally.Backends {
		sum += b.Conns
		most = max(most, b.Conns)
	}
	return ratio(float64(most), float64(sum))
}

func sustained(r *Round) float64 {
	if len(r.Steps) == 0 {
		return math.NaN()
	}
	best := 0.0
	for _, s := range r.Steps {
		if s.Sustained {
			best = max(best, s.Achieved)
		}
	}
	return best
}

func gbit(r *Round) float64 { return ratio(float64(r.Tally.Read)*8/1e9, r.Took.Seconds()) }

// ratio is not a number rather than infinite.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// known takes 0 for "was not measured": there is no balancer to bill.
func known(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

// title is a test in words: what clients do, and where they come from.
func (t *Test) title() string {
	s := t.Scenario
	if k := kindName(t.Kind); k != "" {
		s += ": " + k
	}
	if from := sourcesName(t.Sources); from != "" {
		s += ", " + from
	}
	if t.Scenario == Low {
		s += ", " + count(t.Plan.Rate) + " conns/s"
	}
	return s
}

func kindName(k bench.Kind) string {
	return cmp.Or(map[bench.Kind]string{
		bench.Full12: "TLS 1.2, full handshakes",
		bench.Full13: "TLS 1.3, full handshakes",
		bench.ID:     "TLS 1.2 session ID",
		bench.Ticket: "TLS 1.2 ticket",
		bench.PSK:    "TLS 1.3 PSK",
		bench.Early:  "TLS 1.3 0-RTT",
	}[k], string(k))
}

func sourcesName(s bench.Sources) string {
	name, known := map[bench.Sources]string{
		bench.SourceOwn:    "address kept",
		bench.SourceRoam:   "address changes",
		bench.SourceShared: "one address for all",
		bench.SourceKernel: "",
	}[s]
	if !known {
		return string(s)
	}
	return name
}
