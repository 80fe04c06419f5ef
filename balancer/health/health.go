// Package health looks at backends of its own accord.
//
// A Checker asks whether they answer: it connects to each one at a steady interval, shakes hands or sends a request
// where it is told to, and closes again. A backend starts as up, but for one that announced itself, which waits for its
// first check. It is marked down after Config.Fall checks in a row have failed, and comes back after Config.Rise in a
// row have succeeded. A check that has only waited while conns came through is no failure (load.go), and conns that
// cannot reach a backend have it looked at at once (doubt.go). The pool keeps the state, logs each change in one line
// and tells its listeners; the Checker only calls SetUp, Trust, and SetReport for what an agent beside the backend says
// of it.
//
// A Prober asks how they resume TLS sessions: as a client of TLS it collects tickets and offers them again. It teaches
// affinity the names of ticket keys before any client needs them, finds out which backend lost one that others have,
// and says what stands in the way of resumption. It never changes a backend's state.
//
// Checks: health.go (when), check.go (what is asked: a new kind goes there, and its word to config/question.go; kinds are
// ordered, each asks what the one before it asks, and more), tally.go, load.go, doubt.go, agent.go.
// Probes: probe.go and schedule.go (when), examine.go (one round), handshake.go, lifetime.go, settle.go (who holds a
// key), findings.go and warnings.go (what is said of it).
package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// Config of a Checker. The zero value of each field means its default.
type Config struct {
	// Interval is the time between the end of one check of a backend and the begin of the next, up or down, give or
	// take jitter. At least MinInterval. A dead backend is noticed after about Fall * (Interval + Timeout) at the
	// latest. Default DefaultInterval.
	Interval time.Duration

	// Timeout bounds one check. Default DefaultTimeout.
	Timeout time.Duration

	// Rise is the number of successful checks in a row that bring a backend back. Default DefaultRise.
	Rise int

	// Fall is the number of failed checks in a row that mark a backend down. Default DefaultFall.
	Fall int

	// Check is what is asked of a backend. Default: that it accepts a TCP connection.
	Check Check

	// Agent is asked after each check, if it has a port. While it says that the backend is down, it is down; what else
	// it says becomes the backend's report. An agent that cannot be asked or understood changes nothing.
	Agent Agent

	// Log gets a line when checks cannot be made for want of something on this machine. Default: none.
	Log *slog.Logger
}

// jitter is the part of the interval by which each wait differs at most, so that checks of many backends by many nodes
// do not come in step.
const jitter = 0.1

// What the fields of Config are where they are zero.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = pool.DefaultFall

	// MinInterval is the least Interval, of checks and of probes: a typing error must not become a flood of connects.
	MinInterval = 10 * time.Millisecond
)

// validate is the only place that rejects a config or fills in defaults.
func (c *Config) validate() error {
	c.Interval = cmp.Or(c.Interval, DefaultInterval)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Rise = cmp.Or(c.Rise, DefaultRise)
	c.Fall = cmp.Or(c.Fall, DefaultFall)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	switch {
	case c.Interval < MinInterval:
		return fmt.Errorf("health: the check interval %v is below %v", c.Interval, MinInterval)
	case c.Timeout < 0:
		return fmt.Errorf("health: the check timeout %v is negative", c.Timeout)
	case c.Rise < 0 || c.Fall < 0:
		return fmt.Errorf("health: rise %d and fall %d must be at least 1", c.Rise, c.Fall)
	}
	return c.Check.validate()
}

// Checker checks the backends of a pool, or one (WatchOne).
type Checker struct {
	// Static after construction.
	pool *pool.Pool
	cfg  Config
	// check is nil for a backend that is as it should be; tests have their own.
	check func(ctx context.Context, addr netaddr.Addr, header pool.ProxyHeader) error

	// Atomic; written by all checks.
	short atomic.Bool // this machine lacks something that checks need, and the log says so

	mu   sync.Mutex
	beat time.Time // guarded by mu: the next time that checks are made together
}

// New makes a Checker; of is not used by WatchOne. An error says in one line what is wrong with the config.
func New(of *pool.Pool, cfg Config) (*Checker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Checker{pool: of, cfg: cfg, check: cfg.Check.run}, nil
}

// Run checks each backend at once and then at the interval, until ctx is done. Backends that join the pool are checked
// from then on, those that leave no more. When Run returns, all it started has ended.
func (c *Checker) Run(ctx context.Context) { follow(ctx, c.pool, c.watch) }

// follow keeps one goroutine in watch for each backend of a pool, with a context that ends when the backend leaves or
// ctx is done. When it returns, all of them have.
func follow(ctx context.Context, p *pool.Pool, watch func(ctx context.Context, b *pool.Backend)) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	watched := make(map[*pool.Backend]context.CancelFunc)
	for {
		snapshot := p.Snapshot()
		for _, b := range snapshot.All() {
			if watched[b] == nil {
				one, stop := context.WithCancel(ctx)
				watched[b] = stop
				all.Go(func() { watch(one, b) })
			}
		}
		for b, stop := range watched {
			if snapshot.ByID(b.ID) != b {
				stop()
				delete(watched, b)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-snapshot.Replaced():
		}
	}
}

// watch checks one backend until ctx is done.
func (c *Checker) watch(ctx context.Context, b *pool.Backend) {
	p := c.pool
	count := tally{rise: c.cfg.Rise, fall: c.cfg.Fall}
	agent := agentWatch{agent: &c.cfg.Agent, log: c.cfg.Log, stand: newStand(p.Report(b))}
	for {
		up, before := b.Up(), progressOf(b)
		err := c.once(ctx, b.Addr, p.Snapshot().Options().ProxyHeader)
		agent.ask(ctx, c.cfg.Timeout, p, b)
		if ctx.Err() != nil {
			return // and say nothing: the check was cut short
		}
		b.CountCheck(err == nil)
		why, out := agent.stand.out()
		if out {
			// Its own word is enough, and no check brings it back while that stands.
			p.SetUp(b, false, "its agent says "+why)
		} else if c.made(err, "checks cannot be made, backends keep their state") {
			if err == nil {
				p.Trust(b)
			}
			switch {
			case err == nil && b.Unchecked():
				p.SetUp(b, true, first(err))
			case !b.Judged():
				p.Judge(b, err == nil, first(err))
			case count.add(up, err == nil || up && c.cfg.Check.overtaken(err, b, before)):
				p.SetUp(b, !up, count.why(err))
			}
		}
		if !c.rest(ctx, b, c.pause(time.Now())) {
			return
		}
	}
}

// together is how many backends a pool may have for its checks to be made at one time: the process wakes once for all, and
// that is most of what a check costs. More of them would be a burst.
const together = 8

// pause is how long a backend whose check has ended at now waits for its next.
func (c *Checker) pause(now time.Time) time.Duration {
	own := spread(c.cfg.Interval, rand.Float64())
	if len(c.pool.Snapshot().All()) > together {
		return own
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !now.Before(c.beat) {
		c.beat = now.Add(own)
	}
	if left := c.beat.Sub(now); left >= c.cfg.Interval/2 {
		return left
	}
	return own // it has taken long: no two checks in a row
}

// made reports whether a check that has come to err says anything: not for want of something on this machine, of which
// the log gets the text once.
func (c *Checker) made(err error, text string) bool {
	if !shortage(err) {
		c.short.Store(false)
		return true
	}
	if c.short.CompareAndSwap(false, true) {
		c.cfg.Log.Warn(text, slog.String("why", cause(err)))
	}
	return false
}

// first words what the first check of a backend has come to.
func first(err error) string {
	if err == nil {
		return "the first check succeeded"
	}
	return "the first check failed: " + cause(err)
}

func (c *Checker) once(ctx context.Context, addr netaddr.Addr, header pool.ProxyHeader) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.check(ctx, addr, header)
}

// spread gives the interval plus or minus jitter; at is from 0 to 1.
func spread(interval time.Duration, at float64) time.Duration {
	return interval + time.Duration(float64(interval)*jitter*(2*at-1))
}

// wait waits, and says whether ctx still stands.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// WatchOne checks one server that is in no pool, from now on, until ctx is done, and tells of each change. It begins as
// down, and the first success brings it up; from then on Rise and Fall count. While it is down it is told why: once
// Fall checks in a row have failed for one reason that has not been told last. told may wait; no check is made
// meanwhile. No agent is asked.
func (c *Checker) WatchOne(ctx context.Context, addr netaddr.Addr, told func(up bool, why string)) {
	up := false
	count := tally{rise: 1, fall: c.cfg.Fall}
	reason := reasons{need: c.cfg.Fall}
	for {
		err := c.once(ctx, addr, pool.ProxyOff)
		if ctx.Err() != nil {
			return // and say nothing: the check was cut short
		}
		switch {
		case !c.made(err, "checks cannot be made, what was known stands"):
		case count.add(up, err == nil):
			up = !up
			told(up, count.why(err))
			count.rise = c.cfg.Rise
			reason.told(err)
		case !up && reason.fresh(err):
			told(up, count.why(err))
		}
		if !wait(ctx, spread(c.cfg.Interval, rand.Float64())) {
			return
		}
	}
}

// reasons tells a reason that has come to stay from those that change with each check.
type reasons struct {
	need int    // constant: as many in a row have come to stay
	said string // the last that was told; "": none
	last string // of the last check
	row  int    // how often in a row
}

// told notes that the result of a check was told.
func (r *reasons) told(err error) {
	r.said, r.last, r.row = "", "", 0
	if err != nil {
		r.said = cause(err)
	}
}

// fresh takes the result of a check, and says that its reason is to be told now.
func (r *reasons) fresh(err error) bool {
	if err == nil {
		r.last, r.row = "", 0
		return false
	}
	if why := cause(err); why != r.last {
		r.last, r.row = why, 0
	}
	r.row++
	if r.row < r.need || r.last == r.said {
		return false
	}
	r.said = r.last
	return true
}
