//go:build linux

package service

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/config"
)

// readyHold is for how long a node has to be unable to serve, or able again, before it says so. Two nodes whose
// backends all die, or come back, at nearly the same time would otherwise pass their address to and fro. It is short
// beside the time in which checks notice a dead backend.
const readyHold = 2 * time.Second

// readiness says whether conns are welcome, for whoever moves an address between nodes.
//
//	starting ──able──► ready ──unable for readyHold──► unready ──able for readyHold──► ready
//
// It draws its conclusions when it is asked, and once a second (service.watch), so that nothing is missed between two
// questions.
type readiness struct {
	look func() string // why the node cannot serve now, "" if it can; static
	log  *slog.Logger

	mu      sync.Mutex
	started bool
	why     string    // what is said, "" when ready
	changes time.Time // since when what is seen contradicts what is said; zero: it does not
}

func newReadiness(look func() string, log *slog.Logger) *readiness {
	return &readiness{look: look, log: log, why: "starting"}
}

// unready says why conns should go elsewhere, "" when they are welcome.
func (r *readiness) unready() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.why
	r.step(r.look(), time.Now())
	if (was == "") != (r.why == "") {
		if r.why == "" {
			r.log.Info("conns are welcome")
		} else {
			r.log.Warn("conns are not welcome", slog.String("why", r.why))
		}
	}
	return r.why
}

// step goes on from what is seen now. r.mu is held.
func (r *readiness) step(seen string, now time.Time) {
	if !r.started {
		r.started, r.why = seen == "", seen
		return
	}
	switch {
	case (seen == "") == (r.why == ""):
		r.changes = time.Time{}
		r.why = seen // it may be another reason
	case r.changes.IsZero():
		r.changes = now
	case now.Sub(r.changes) >= readyHold:
		r.why, r.changes = seen, time.Time{}
	}
}

// unable says why the node cannot serve now, "" if it can, as --admin-ready wants it.
func (now *running) unable() string {
	if now.config.Admin.Ready == config.ReadyAlways {
		return ""
	}
	var why string
	able := false
	for _, p := range now.asked {
		switch cannot := p.unable(); {
		case cannot == "":
			able = true
		case why == "":
			why = cannot
		}
	}
	if able && now.config.Admin.Ready == config.ReadyAny {
		return ""
	}
	return why
}

// unable says why the pool cannot serve, "" if it can.
func (p *pooled) unable() string {
	s := p.Snapshot()
	all, unknown := s.All(), 0
	for _, b := range s.Live() {
		if p.checks == nil || b.Judged() {
			return ""
		}
		unknown++
	}
	switch {
	case len(all) == 0:
		return fmt.Sprintf("pool %s has no backend", p.Name())
	case unknown > 0:
		return fmt.Sprintf("pool %s: its backends have not been checked yet", p.Name())
	}
	if why := p.down(); why != "" {
		return "pool " + p.Name() + ": " + why
	}
	return fmt.Sprintf("pool %s: all of its %d backends are drained", p.Name(), len(all))
}

// down says that no backend is live and one of them is down, "" otherwise.
func (p *pooled) down() string {
	s := p.Snapshot()
	var last *pool.Backend // that went down
	for _, b := range s.All() {
		if !b.Up() && (last == nil || p.Condition(b).Since.After(p.Condition(last).Since)) {
			last = b
		}
	}
	if last == nil || len(s.Live()) > 0 {
		return ""
	}
	return fmt.Sprintf("none of its %d backends is up; the last was %s: %s", len(s.All()), last.Addr,
		p.Condition(last).Why)
}

// nobody says why no backend of the pool can serve anybody, "" if one can, or if all are drained.
func (p *pooled) nobody() string {
	if len(p.Snapshot().All()) == 0 {
		return "it has no backend"
	}
	return p.down()
}
