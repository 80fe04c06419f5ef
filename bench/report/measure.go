package report

import (
	"fmt"
	"math"
	"slices"
	"time"

	"homing/bench"
	"homing/bench/balancers"
)

// Measure is one thing that rounds are judged by.
type Measure struct {
	Key   string
	Name  string // heads a column
	About string // one clause for those who wonder
	Less  bool   // less is better

	value  func(t *Test, a *Arm, round int) float64 // not a number: this arm has none
	format func(float64) string
}

// The measures, by what they are called in code; measures() has them in order.
const (
	mResumed    = "resumed"
	mRate       = "rate"
	mKept       = "kept"
	mOfBest     = "of_best"
	mBackend    = "backend_cpu"
	mBalancer   = "balancer_cpu"
	mMachine    = "machine_cpu"
	mClient     = "client_cpu"
	mMemory     = "memory"
	mHandshake  = "handshake_p50"
	mFull       = "full_p50"
	mResumption = "resumed_p50"
	mAnswer     = "answer_p99"
	mFailed     = "failed"
	mBusiest    = "busiest"
	mSustained  = "sustained"
	mGbit       = "gbit"
	mBackendGB  = "backend_cpu_gb"
	mBalancerGB = "balancer_cpu_gb"
	mMachineGB  = "machine_cpu_gb"
	mClientGB   = "client_cpu_gb"
	mIdle       = "idle_memory"

	mTasks        = "tasks_cpu"
	mAbove        = "above_direct"
	mVoluntary    = "voluntary"
	mInvoluntary  = "involuntary"
	mHandshakeP99 = "handshake_p99"
	mAnswerP50    = "answer_p50"
	mWakeUps      = "wake_ups"
	mRestCPU      = "rest_cpu"
	mResident     = "resident"
)

// measures lists all there are.
func measures() []Measure {
	return []Measure{
		{mResumed, "resumed", "share of the offers to resume that were accepted", false, resumed, percent},
		{mRate, "conns/s", "conns that ended as planned, per second", false, rate, count},
		{mKept, "kept", "requests per second of backend CPU, as a part of those with one backend", false, kept, percent},
		{mOfBest, "of best", "the same, as a part of those of clients that each keep to a backend of their own, without a balancer", false, ofBest, percent},
		{mBackend, "backends", "CPU time of all backends per conn", true, perConn(func(r *Round) time.Duration { return r.Backend }), micros},
		{mBalancer, "balancer", "CPU time of the balancer's own processes per conn", true, perConn(func(r *Round) time.Duration { return r.Balancer }), micros},
		{mMachine, "machine", "CPU time of the whole machine per conn, clients and kernel included", true, perConn(func(r *Round) time.Duration { return r.Machine }), micros},
		{mClient, "clients", "CPU time of this harness per conn", true, perConn(func(r *Round) time.Duration { return r.Client }), micros},
		{mMemory, "memory", "of the balancer's processes, shared pages counted in part (PSS)", true, memory, bytesText},
		{mHandshake, "handshake", "median from the TCP conn to the end of the TLS handshake", true, quantile(func(r *Round) time.Duration { return r.Handshake.P50 }), latency},
		{mFull, "full", "median up to the end of a full handshake, from when the conn should have begun", true, quantile(func(r *Round) time.Duration { return r.Full.P50 }), latency},
		{mResumption, "resumption", "median up to the end of a resumed handshake, from when the conn should have begun", true, quantile(func(r *Round) time.Duration { return r.Resumed.P50 }), latency},
		{mAnswer, "answer p99", "99 % had their answer within, from when the conn should have begun", true, quantile(func(r *Round) time.Duration { return r.Answer.P99 }), latency},
		{mFailed, "failed", "conns that failed", true, failed, count},
		{mBusiest, "busiest", "share of the conns at the busiest backend", true, busiest, percent},
		{mSustained, "sustained", "greatest rate of conns per second that was kept up", false, sustained, count},
		{mGbit, "Gbit/s", "read by the clients", false, gbit, func(v float64) string { return fmt.Sprintf("%.2f", v) }},
		{mBackendGB, "backends", "CPU time of all backends per GB", true, perGB(func(r *Round) time.Duration { return r.Backend }), millis},
		{mBalancerGB, "balancer", "CPU time of the balancer's own processes per GB", true, perGB(func(r *Round) time.Duration { return r.Balancer }), millis},
		{mMachineGB, "machine", "CPU time of the whole machine per GB, clients and kernel included", true, perGB(func(r *Round) time.Duration { return r.Machine }), millis},
		{mClientGB, "clients", "CPU time of this harness per GB", true, perGB(func(r *Round) time.Duration { return r.Client }), millis},
		{mIdle, "per conn", "memory of the balancer's processes per idle conn", true, idleMemory, bytesText},
		{mTasks, "machine", "CPU time of all threads on the machine per conn, clients and kernel included", true, perConn(func(r *Round) time.Duration { return r.Tasks }), micros},
		{mAbove, "above direct", "the same, beyond what it is without a balancer", true, aboveDirect, micros},
		{mVoluntary, "voluntary", "times per conn that the balancer's threads waited", true, switches(func(r *Round) int64 { return r.Voluntary }), tenths},
		{mInvoluntary, "involuntary", "times per conn that the balancer's threads had to make room for others", true, switches(func(r *Round) int64 { return r.Involuntary }), tenths},
		{mHandshakeP99, "handshake p99", "99 % had shaken hands within, from the TCP conn on", true, quantile(func(r *Round) time.Duration { return r.Handshake.P99 }), latency},
		{mAnswerP50, "answer", "median up to the answer, from when the conn should have begun", true, quantile(func(r *Round) time.Duration { return r.Answer.P50 }), latency},
		{mWakeUps, "wake-ups/s", "times per second that the balancer's threads waited", true, ofBalancer(wakeUps), tenths},
		{mRestCPU, "CPU per minute", "the balancer's own CPU time", true, ofBalancer(restCPU), millis},
		{mResident, "RSS", "resident set of the balancer's processes", true, ofBalancer(resident), bytesText},
	}
}

// measure returns the measure of that key, which is one of the constants above.
func measure(key string) Measure {
	all := measures()
	return all[slices.IndexFunc(all, func(m Measure) bool { return m.Key == key })]
}

// Values returns the measure of each round by number, not a number where there is none.
func (m Measure) Values(t *Test, a *Arm) []float64 {
	values := make([]float64, len(a.Rounds))
	for i := range a.Rounds {
		values[i] = math.NaN()
		if a.Rounds[i] != nil {
			values[i] = m.value(t, a, i)
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

func resumed(_ *Test, a *Arm, i int) float64 {
	if share, ok := a.Rounds[i].Tally.Share(); ok {
		return share
	}
	return math.NaN()
}

func rate(_ *Test, a *Arm, i int) float64 {
	r := a.Rounds[i]
	return ratio(float64(r.Tally.Done), r.Took.Seconds())
}

// kept compares with the arm of the same balancer that stands before one backend, in the same round.
func kept(t *Test, a *Arm, i int) float64 {
	one := t.Arm(a.Balancer + OneBackend)
	if one == nil || one == a || i >= len(one.Rounds) || one.Rounds[i] == nil {
		return math.NaN()
	}
	return ratio(perBackendCPU(a.Rounds[i]), perBackendCPU(one.Rounds[i]))
}

// ofBest compares with clients that each keep to a backend of their own, in the same round: no balancer can do more for
// sessions. What is lost to 100 % of kept, but not here, is the machine's: backends that share its CPUs and their caches.
func ofBest(t *Test, a *Arm, i int) float64 {
	own := t.Arm(balancers.Direct)
	if own == nil || own == a || a.Backends != own.Backends || i >= len(own.Rounds) || own.Rounds[i] == nil {
		return math.NaN()
	}
	return ratio(perBackendCPU(a.Rounds[i]), perBackendCPU(own.Rounds[i]))
}

// OneBackend ends the key of an arm that stands before one backend where others stand before several.
const OneBackend = "/1"

func perBackendCPU(r *Round) float64 { return ratio(float64(r.Tally.Done), r.Backend.Seconds()) }

// perConn divides by the conns that ended as planned. An account of nothing is none: there is no balancer to bill.
func perConn(of func(*Round) time.Duration) func(*Test, *Arm, int) float64 {
	return func(_ *Test, a *Arm, i int) float64 {
		r := a.Rounds[i]
		if of(r) == 0 {
			return math.NaN()
		}
		return ratio(float64(of(r))/float64(time.Microsecond), float64(r.Tally.Done))
	}
}

// perGB is in milliseconds per 10^9 bytes.
func perGB(of func(*Round) time.Duration) func(*Test, *Arm, int) float64 {
	return func(_ *Test, a *Arm, i int) float64 {
		r := a.Rounds[i]
		if of(r) == 0 {
			return math.NaN()
		}
		return ratio(float64(of(r))/float64(time.Millisecond), float64(r.Tally.Read)/1e9)
	}
}

// aboveDirect is in microseconds per conn: a round beyond the same round of the way without a balancer.
func aboveDirect(t *Test, a *Arm, i int) float64 {
	direct := t.Arm(balancers.Direct)
	if direct == nil || direct == a || i >= len(direct.Rounds) || direct.Rounds[i] == nil {
		return math.NaN()
	}
	all := perConn(func(r *Round) time.Duration { return r.Tasks })
	return all(t, a, i) - all(t, direct, i)
}

// switches are per conn that ended as planned.
func switches(of func(*Round) int64) func(*Test, *Arm, int) float64 {
	return ofBalancer(func(r *Round) float64 { return ratio(float64(of(r)), float64(r.Tally.Done)) })
}

func wakeUps(r *Round) float64 { return ratio(float64(r.Voluntary), r.Took.Seconds()) }

// restCPU is in milliseconds per minute.
func restCPU(r *Round) float64 {
	return ratio(float64(r.Balancer)/float64(time.Millisecond), r.Took.Minutes())
}

func resident(r *Round) float64 { return float64(r.Resident) }

// ofBalancer is of rounds through a balancer, which has a resident set. It may well have done nothing.
func ofBalancer(of func(*Round) float64) func(*Test, *Arm, int) float64 {
	return func(_ *Test, a *Arm, i int) float64 {
		if a.Rounds[i].Resident == 0 {
			return math.NaN()
		}
		return of(a.Rounds[i])
	}
}

func memory(_ *Test, a *Arm, i int) float64 { return known(float64(a.Rounds[i].Memory)) }

func idleMemory(_ *Test, a *Arm, i int) float64 {
	r := a.Rounds[i]
	if r.Memory == 0 {
		return math.NaN()
	}
	return ratio(float64(r.Memory-r.Before), float64(r.Tally.Shaken))
}

func quantile(of func(*Round) time.Duration) func(*Test, *Arm, int) float64 {
	return func(_ *Test, a *Arm, i int) float64 { return known(float64(of(a.Rounds[i]))) }
}

func failed(_ *Test, a *Arm, i int) float64 { return float64(a.Rounds[i].Tally.Failed()) }

func busiest(_ *Test, a *Arm, i int) float64 {
	var sum, most int64
	for _, b := range a.Rounds[i].Tally.Backends {
		sum += b.Conns
		most = max(most, b.Conns)
	}
	return ratio(float64(most), float64(sum))
}

func sustained(_ *Test, a *Arm, i int) float64 {
	best := 0.0
	for _, s := range a.Rounds[i].Steps {
		if s.Sustained {
			best = max(best, s.Achieved)
		}
	}
	if len(a.Rounds[i].Steps) == 0 {
		return math.NaN()
	}
	return best
}

func gbit(_ *Test, a *Arm, i int) float64 {
	r := a.Rounds[i]
	return ratio(float64(r.Tally.Read)*8/1e9, r.Took.Seconds())
}

// ratio is not a number rather than infinite.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// known takes 0 for "was not measured".
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
	switch k {
	case bench.Full12:
		return "TLS 1.2, full handshakes"
	case bench.Full13:
		return "TLS 1.3, full handshakes"
	case bench.ID:
		return "TLS 1.2 session ID"
	case bench.Ticket:
		return "TLS 1.2 ticket"
	case bench.PSK:
		return "TLS 1.3 PSK"
	case bench.Early:
		return "TLS 1.3 0-RTT"
	default:
		return string(k)
	}
}

func sourcesName(s bench.Sources) string {
	switch s {
	case bench.SourceOwn:
		return "address kept"
	case bench.SourceRoam:
		return "address changes"
	case bench.SourceShared:
		return "one address for all"
	case bench.SourceKernel:
		return ""
	default:
		return string(s)
	}
}
