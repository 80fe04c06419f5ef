package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

// startAllowance is what starting and stopping the balancers of a test should take, for the estimate of the whole.
const startAllowance = 2 * time.Second

// closedLoop begins the harness's warning of one.
const closedLoop = "This was a closed loop"

// runner carries one comparison.
type runner struct {
	*Options
	report   *report.Report
	warnings []*warning
	done     time.Duration // of the estimate
	total    time.Duration
}

// warning is one sentence of the harness, and how many rounds had it or its like.
type warning struct {
	like   string // without its figures
	text   string // of the first round that had it
	rounds int
}

// Run makes the comparison. It returns the report of what was measured until then together with the error that ended it,
// if one did: ctx, or that nothing could be measured at all. What is wrong with a single balancer is told in its arms.
func Run(ctx context.Context, o Options) (*report.Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	start := time.Now()
	r := &runner{Options: &o, report: &report.Report{
		Schema: report.Schema, Started: start, Threads: o.Threads, Backends: o.Backends.Describe(),
		Programs: o.Kit.Programs(), Absent: o.Absent,
	}}
	tests := o.tests()
	for i := range tests {
		r.total += r.estimate(&tests[i])
	}
	rounds := 0
	for i := range tests {
		n, err := r.test(ctx, &tests[i])
		rounds += n
		r.report.Tests = append(r.report.Tests, tests[i])
		if err != nil {
			r.report.Ended = err.Error()
			break
		}
	}
	r.report.Took = time.Since(start)
	for _, w := range r.warnings {
		text := strings.TrimSuffix(w.text, ".")
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("%s (so in %d of %d rounds)", text, w.rounds, rounds))
	}
	switch {
	case r.report.Ended != "":
		return r.report, errors.New(r.report.Ended)
	case rounds == 0:
		return r.report, errors.New("nothing could be measured: the lines above say why")
	}
	return r.report, nil
}

func (r *runner) estimate(t *report.Test) time.Duration {
	n := r.rounds(t)
	if t.Scenario != report.Rest { // in which arms have their rounds at once
		n *= len(r.arms(t.Scenario))
	}
	return startAllowance + time.Duration(n)*roundTime(t)
}

// rounds is how many each arm gets in a test.
func (o *Options) rounds(t *report.Test) int {
	if t.Scenario == report.Low || t.Scenario == report.Rest {
		return cmp.Or(o.Rounds, 3)
	}
	return cmp.Or(o.Rounds, 5)
}

// roundTime is what one round of one arm should take. A test of rates ends where the target no longer keeps up, half way
// as a guess.
func roundTime(t *report.Test) time.Duration {
	d := t.Plan.Duration
	if len(t.Plan.Steps) > 0 {
		d *= time.Duration((len(t.Plan.Steps) + 1) / 2)
	}
	if disturbed(t) {
		d += startAllowance
	}
	return t.Plan.WarmUp + d
}

// disturbed tests kill and start what takes part; each round of each arm begins with everything fresh.
func disturbed(t *report.Test) bool { return len(t.Plan.Disturb) > 0 }

// test makes one test and returns how many rounds of arms it got through. Its error ends the comparison.
func (r *runner) test(ctx context.Context, t *report.Test) (rounds int, err error) {
	list := r.arms(t.Scenario)
	defer func() {
		for _, a := range list {
			err = errors.Join(err, a.stop())
			t.Arms = append(t.Arms, *a.Arm)
		}
	}()
	r.tell(t, "starting", startAllowance)
	if !disturbed(t) {
		for _, a := range list {
			if err := a.start(ctx, r.Options, t); err != nil {
				a.Failed = err.Error()
			}
		}
	}
	r.done += startAllowance
	for round := range r.rounds(t) {
		of := fmt.Sprintf("round %d of %d", round+1, r.rounds(t))
		if t.Scenario == report.Rest {
			r.tell(t, of, roundTime(t))
			rounds += r.rest(ctx, t, list)
			r.done += roundTime(t)
			if err := ctx.Err(); err != nil {
				return rounds, context.Cause(ctx)
			}
			continue
		}
		for turn := range list {
			a := list[(turn+round)%len(list)] // each follows each other one
			r.tell(t, of+", "+a.Name, roundTime(t))
			if r.round(ctx, t, a) {
				rounds++
			}
			r.done += roundTime(t)
			if err := ctx.Err(); err != nil {
				return rounds, context.Cause(ctx)
			}
		}
	}
	return rounds, nil
}

// round lets the clients through one arm and reports whether that gave a result.
func (r *runner) round(ctx context.Context, t *report.Test, a *arm) bool {
	if disturbed(t) {
		if err := a.start(ctx, r.Options, t); err != nil {
			a.Miss(err.Error())
			return false
		}
		defer func() { _ = a.stop() }() // a directory that stays behind spoils no figure
	}
	if a.running == nil { // it did not start, or has died: a.Failed says so
		a.Miss(a.Failed)
		return false
	}
	p := r.planOf(t, a)
	res, err := r.Run(ctx, p, nil)
	if c, ok := p.Control.(*control); ok {
		if lost := c.restore(ctx); lost != nil {
			a.Miss(lost.Error())
			return false
		}
	}
	if dead := a.running.Check(); dead != nil && !disturbed(t) {
		a.Miss(dead.Error())
		_ = a.stop() // it has ended already
		return false
	}
	if err == nil && res.Ended != "" {
		err = errors.New(res.Ended)
	}
	if err != nil {
		if ctx.Err() == nil {
			a.Miss(strings.TrimPrefix(err.Error(), "bench: "))
		}
		return false
	}
	a.Add(res)
	if r.report.Host == (bench.Host{}) {
		r.report.Host = res.Host
	}
	for _, w := range res.Warnings {
		if t.Plan.Rate > 0 || !strings.HasPrefix(w, closedLoop) { // which second and bulk mean to be
			r.warn(w)
		}
	}
	return true
}

// planOf completes a test's plan for an arm.
func (r *runner) planOf(t *report.Test, a *arm) bench.Plan {
	p := t.Plan
	p.Targets = a.running.Addrs()
	if a.balancer.Family == balancers.FamilyDirect && a.backends > 1 {
		p.Targets = r.Backends.Addrs()[:a.backends] // each client begins at its own and has no reason to leave
	}
	p.Watch = slices.Clip(r.Backends.Watched()[:a.backends])
	for i := range a.running.Nodes() {
		p.Watch = append(p.Watch, bench.Watched{Role: "balancer", Name: nodeName(i), PIDs: a.running.PIDs(i)})
	}
	if disturbed(t) {
		p.Control = &control{backends: r.Backends, balancer: a.running, down: map[string]bool{}}
	}
	return p
}

// warn keeps a warning of one round. Those that differ in their figures alone are one.
func (r *runner) warn(text string) {
	like := withoutFigures(text)
	for _, w := range r.warnings {
		if w.like == like {
			w.rounds++
			return
		}
	}
	r.warnings = append(r.warnings, &warning{like: like, text: text, rounds: 1})
}

// withoutFigures replaces words that hold a digit: figures with their units, and the names of backends.
func withoutFigures(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}

func (r *runner) tell(t *report.Test, what string, next time.Duration) {
	if r.Progress != nil {
		r.Progress(Progress{What: t.Key + ", " + what, Done: r.done, Next: next, Total: max(r.total, r.done+next)})
	}
}

func (a *arm) start(ctx context.Context, o *Options, t *report.Test) error {
	nodes := 1
	if t.Scenario == string(bench.Failover) {
		nodes = 2
	}
	running, err := o.Kit.Start(ctx, a.balancer, balancers.Setup{
		Backends: o.Backends.Addrs()[:a.backends], Nodes: nodes, Threads: o.Threads,
	})
	if err != nil {
		return err
	}
	a.running = running
	return nil
}

func (a *arm) stop() error {
	if a.running == nil {
		return nil
	}
	err := a.running.Stop()
	a.running = nil
	return err
}

// control takes down and up what a test disturbs: backends by their names, nodes of the balancer by "node1", "node2".
type control struct {
	backends bench.Teller
	balancer *balancers.Running
	down     map[string]bool // backends
}

func (c *control) Down(ctx context.Context, who string) error {
	if i, ok := nodeNumber(who); ok {
		c.balancer.Down(i)
		return nil
	}
	c.down[who] = true
	return c.backends.Down(ctx, who)
}

func (c *control) Up(ctx context.Context, who string) error {
	if i, ok := nodeNumber(who); ok {
		return c.balancer.Up(ctx, i)
	}
	if err := c.backends.Up(ctx, who); err != nil {
		return err
	}
	delete(c.down, who)
	return nil
}

// Processes are those that a backend or a node has now.
func (c *control) Processes(ctx context.Context, who string) ([]int, error) {
	if i, ok := nodeNumber(who); ok {
		return c.balancer.PIDs(i), nil
	}
	return c.backends.Processes(ctx, who)
}

// restore brings up the backends that a round which ended before its time has left down. It does so even when ctx is
// done: whoever comes next needs them.
func (c *control) restore(ctx context.Context) error {
	var errs []error
	for who := range c.down {
		errs = append(errs, c.Up(context.WithoutCancel(ctx), who))
	}
	return errors.Join(errs...)
}

// nodeName is the name of a node by its number, from 0: "node1" and so on.
func nodeName(i int) string { return "node" + strconv.Itoa(i+1) }

// nodeNumber is the number of a node by its name.
func nodeNumber(who string) (int, bool) {
	digits, ok := strings.CutPrefix(who, "node")
	n, err := strconv.Atoi(digits)
	return n - 1, ok && err == nil && n > 0 && n < math.MaxInt8
}
