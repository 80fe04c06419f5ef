package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"homing/bench/sock"
	"homing/bench/tlscore"
)

// Progress is how far a run is.
type Progress struct {
	Phase    string        // "warming up", "measuring", "waiting for the last conns"
	Elapsed  time.Duration // since the run began
	Expected time.Duration // of the whole run; that of Rate may end sooner
	Begun    int64         // conns that should have begun so far, warm-up included
	Done     int64
	Failed   int64
	Accepted int64
	Refused  int64
	Held     int64 // conns held open
	Newest   error // the newest failure, nil without one
}

// progressEvery is how often a run tells its progress.
const progressEvery = 200 * time.Millisecond

// Phases of a run, as Progress tells them.
const (
	phaseWarmUp  = "warming up"
	phaseMeasure = "measuring"
	phaseDrain   = "waiting for the last conns"
)

// run is one run.
type run struct {
	shared
	loops    []*loop
	progress func(Progress)
	phase    string
	expected time.Duration
	records  []merging
	result   *Result

	use *using
}

// merging is a record of one loop, and whether it is part of what is recorded or of the warm-up alone. Conns write into
// theirs as long as they live.
type merging struct {
	*recorder
	measured bool
}

// Run does what the plan says and returns what it showed. An error means that nothing was measured: the plan cannot be
// carried out, or a target is not what the plan takes it for; it is one line that says what to do. A run that ends
// before its time, because ctx is done or nothing goes on any more, has a result that says so in Ended. progress may
// be nil; it is called five times per second, by one goroutine.
func Run(ctx context.Context, p Plan, progress func(Progress)) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	r := &run{shared: shared{plan: &p, base: time.Now()}, progress: progress}
	if err := r.prepare(ctx); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	err := r.makeLoops()
	if err == nil {
		err = r.conduct(ctx)
	}
	for _, l := range r.loops {
		err = errors.Join(err, l.poller.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return r.result, nil
}

func (r *run) makeLoops() error {
	for i, clients := range r.newClients() {
		poller, err := sock.NewPoller()
		if err != nil {
			return err
		}
		l := &loop{
			shared: &r.shared, index: i, poller: poller, clients: clients, buf: make([]byte, readBytes),
			rng: rand.New(rand.NewPCG(r.plan.Seed, uint64(i))), // an index, and nothing secret
		}
		r.loops = append(r.loops, l)
		for j := range clients {
			l.deck = append(l.deck, j)
		}
		l.dealt = len(l.deck)
		if r.plan.ReuseKeyShare {
			if l.shares, err = tlscore.NewKeyShares(reusedGroups()...); err != nil {
				return err
			}
		}
		if r.plan.Verify != VerifyAlways {
			l.chains = &tlscore.CertificateCache{}
		}
	}
	return nil
}

// conduct goes through the phases.
func (r *run) conduct(ctx context.Context) error {
	r.result = &Result{Schema: ResultSchema, Plan: *r.plan, Host: thisHost()}
	r.expected = r.expect()
	r.use = newUsing(r.plan)
	if err := r.warmUp(ctx); err != nil {
		return err
	}
	if err := r.use.open(); err != nil {
		return err
	}
	r.result.Start = time.Now()
	var disturbed func() []Disturbed
	if len(r.plan.Disturb) > 0 && r.result.Ended == "" {
		disturbed = r.disturb(ctx)
	}
	var err error
	if r.plan.Scenario == Rate {
		err = r.climb(ctx)
	} else {
		err = r.measure(ctx)
	}
	for _, l := range r.loops {
		r.result.Lost += l.abandon()
	}
	if disturbed != nil {
		r.result.Disturbances = disturbed()
	}
	if err != nil {
		return err
	}
	if err := r.use.end(r.result); err != nil {
		return err
	}
	r.sum()
	r.warn()
	return nil
}

// expect is how long the run takes if all goes well.
func (r *run) expect() time.Duration {
	if r.plan.Scenario == Rate {
		return r.plan.WarmUp + time.Duration(len(r.plan.Steps))*r.plan.Duration
	}
	return r.plan.WarmUp + r.plan.Duration
}

// rate is that of the first conns that are recorded; 0 is a closed loop.
func (r *run) rate() float64 {
	if r.plan.Scenario == Rate {
		return r.plan.Steps[0]
	}
	return r.plan.Rate
}

// rampUp is how far apart the clients of a closed loop begin: all at once is more than a listen queue holds.
const rampUp = 50 * time.Microsecond

// warmUp lets each client connect at least once, and the conns of it end.
func (r *run) warmUp(ctx context.Context) error {
	if r.plan.WarmUp == 0 {
		return nil
	}
	r.phase = phaseWarmUp
	now := r.clock()
	r.record(now, 0, r.holds()) // conns that are held are what such a run is about
	switch rate := float64(r.plan.Clients+r.plan.Loops) / r.plan.WarmUp.Seconds(); {
	case r.holds(): // each client begins once, and no more
		r.pace(now, r.plan.WarmUp, float64(r.plan.Clients)/r.plan.WarmUp.Seconds())
	case r.rate() == 0:
		r.closeLoop(now)
	default:
		r.pace(now, r.plan.WarmUp, max(r.rate(), rate))
	}
	return r.stretch(ctx, now+r.plan.WarmUp)
}

// pace has conns begin at a steady rate.
func (r *run) pace(now, length time.Duration, rate float64) {
	for i, l := range r.loops {
		rng := l.rng
		if r.plan.Even {
			rng = nil
		}
		l.pacer = newPacer(now, length, rate, i, len(r.loops), rng)
	}
}

// closeLoop has each client begin once, and again whenever it has its answer.
func (r *run) closeLoop(now time.Duration) {
	r.pace(now, time.Duration(r.plan.Clients)*rampUp, float64(time.Second/rampUp))
	for _, l := range r.loops {
		l.closed = true
	}
}

// holds reports whether the scenario is about conns that are held.
func (r *run) holds() bool {
	for i := range r.groups {
		if !r.groups[i].Hold {
			return false
		}
	}
	return true
}

// measure is the stretch that is recorded.
func (r *run) measure(ctx context.Context) error {
	r.phase = phaseMeasure
	now := r.clock()
	r.record(now, r.plan.Duration, true)
	switch {
	case r.holds() && r.plan.WarmUp > 0:
	case r.holds():
		r.pace(now, r.plan.Duration, float64(r.plan.Clients)/r.plan.Duration.Seconds())
	case r.rate() == 0:
		r.closeLoop(now)
	default:
		r.pace(now, r.plan.Duration, r.rate())
	}
	return r.stretch(ctx, now+r.plan.Duration)
}

func (r *run) clock() time.Duration { return time.Since(r.base) }

// record gives each loop a new record, for conns that should begin from now on.
func (r *run) record(now, timeline time.Duration, measured bool) {
	for _, l := range r.loops {
		l.rec = newRecorder(len(r.groups), now, timeline)
		r.records = append(r.records, merging{l.rec, measured})
	}
}

// releaseEach is how far apart held conns send their requests: faster, and what is measured is a flood.
const releaseEach = 200 * time.Microsecond

// stretch lets the loops run until the given time, and then until the conns of the stretch have ended.
func (r *run) stretch(ctx context.Context, until time.Duration) error {
	if r.result.Ended != "" {
		return nil
	}
	if err := r.spin(ctx, until, false); err != nil {
		return err
	}
	if r.phase == phaseMeasure {
		r.use.then = r.use.hold() // while what is held is held
	}
	if r.phase == phaseMeasure && r.plan.Scenario != Rate {
		r.result.Took = r.clock() - (until - r.plan.Duration)
		r.phase = phaseDrain
	}
	over := time.Duration(r.plan.Clients) * releaseEach
	for _, l := range r.loops {
		l.endStretch()
		if r.phase == phaseDrain && r.result.Ended == "" {
			l.release(over)
		}
	}
	if r.result.Ended != "" {
		return nil
	}
	return r.spin(ctx, r.clock()+over+r.plan.Timeout+2*r.plan.Delay+endWait, true)
}

// sum puts what was recorded into the result.
func (r *run) sum() {
	warm, measured := newRecorder(len(r.groups), 0, 0), newRecorder(len(r.groups), 0, 0)
	for _, rec := range r.records {
		into := warm
		if rec.measured {
			into = measured
			if len(into.timeline) < len(rec.timeline) {
				into.timeline = make([]Tick, len(rec.timeline))
			}
		}
		into.merge(rec.recorder)
	}
	for i := range r.groups {
		g := Group{
			Name: r.groups[i].Name, Kind: r.groups[i].Kind, Shape: r.groups[i].Shape.String(),
			Tally: measured.groups[i].Tally, Latency: measured.groups[i].Latency,
		}
		g.Total.Add(&warm.groups[i].Tally)
		g.Total.Add(&g.Tally)
		r.result.Groups = append(r.result.Groups, g)
	}
	for _, l := range r.loops {
		for _, c := range l.clients {
			r.result.Groups[c.group.index].Clients++
		}
	}
	r.result.Timeline = measured.timeline
}
