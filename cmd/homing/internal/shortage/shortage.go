// Package shortage finds out what clients are refused for, or kept waiting for, and what can be done about it. It
// compares what has been counted from time to time, beside the conns: nothing here is on their way.
package shortage

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"homing/balancer"
	"homing/cmd/homing/internal/api"
)

const (
	// Every is the time between two looks: soon enough for whoever watches, and rare enough to cost nothing.
	Every = 2 * time.Second

	// holds is for how long a shortage stands after it was last seen, so that one which comes and goes is one.
	holds = time.Minute

	// sayEvery is the least time between two lines in the log about one shortage.
	sayEvery = time.Minute
)

// View is all that is looked at.
type View struct {
	Stats   balancer.Stats
	LogLost uint64 // lines of the log that were not written
	Pools   []Pool
}

// Pool is what a pool's counters do not say.
type Pool struct {
	Name         string
	Unable       string        // why no backend is there for anybody, "" where one is, or that is wanted, or not known yet
	Queue        int           // conns that may wait
	QueueTimeout time.Duration // for how long
	Strangers    []netip.Addr  // of the addresses that conns to backends are to come from, those this machine has not
	Itself       []string      // addresses of backends that are refused because conns to them would come back
}

// Watch remembers what it has seen. Its methods may be called by any goroutine.
type Watch struct {
	log *slog.Logger

	// Guarded by mu.
	mu       sync.Mutex
	seen     map[key]uint64 // what had been counted at the last look
	standing map[key]*stand
}

// key names a shortage.
type key struct{ pool, listener, cause string }

// stand is a shortage that stands: while it lasts, and for a minute after.
type stand struct {
	api.Shortage
	said   time.Time
	untold uint64 // counted since then
}

// New makes a Watch that says in log what it finds.
func New(log *slog.Logger) *Watch {
	return &Watch{log: log, seen: make(map[key]uint64), standing: make(map[key]*stand)}
}

// Look compares v with the last one. What begins is said at once, what lasts once a minute, and what is over when it no
// longer stands.
func (w *Watch) Look(v *View, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	look(w, nodeRows(), v, key{}, now)
	for i := range v.Stats.Listeners {
		l := &listenerView{ListenerStats: v.Stats.Listeners[i], limits: v.Stats.Limits}
		look(w, listenerRows(), l, key{listener: l.Name}, now)
	}
	for i := range v.Pools {
		p := &poolView{Pool: v.Pools[i]}
		if j := slices.IndexFunc(v.Stats.Pools,
			func(s balancer.PoolStats) bool { return s.Name == p.Pool.Name }); j >= 0 {
			p.PoolStats = v.Stats.Pools[j]
		}
		look(w, poolRows(), p, key{pool: p.Pool.Name}, now)
	}
	for k, s := range w.standing {
		if now.Sub(s.Last) >= holds {
			delete(w.standing, k)
			w.log.Info("a shortage is over", where(k), slog.String("cause", k.cause), slog.Uint64("count", s.Count))
		}
	}
}

// look goes through the causes of one place. w.mu is held.
func look[T any](w *Watch, rows []row[T], v *T, at key, now time.Time) {
	for i := range rows {
		r := &rows[i]
		at.cause = r.cause
		counted := r.count(v)
		more := counted - min(w.seen[at], counted)
		w.seen[at] = counted
		lasts := r.lasts != nil && r.lasts(v)
		if r.of != nil && !r.of(v) || more == 0 && !lasts {
			continue
		}
		s := w.standing[at]
		if s == nil {
			s = &stand{Shortage: api.Shortage{Pool: at.pool, Listener: at.listener, Cause: at.cause, Since: now.UTC()}}
			w.standing[at] = s
		}
		s.Count += more
		s.untold += more
		s.Last = now.UTC()
		s.What, s.Remedy = r.what(v, s.Count), r.remedy
		if s.said.IsZero() || now.Sub(s.said) >= sayEvery {
			w.log.Warn("shortage", where(at), slog.String("cause", at.cause), slog.Uint64("count", s.untold),
				slog.String("what", r.what(v, s.untold)), slog.String("remedy", r.remedy))
			s.said, s.untold = now, 0
		}
	}
}

// where names a place in a log line; an empty group key puts the names at the top.
func where(k key) slog.Attr {
	switch {
	case k.pool != "":
		return slog.GroupAttrs("", slog.String("pool", k.pool))
	case k.listener != "":
		return slog.GroupAttrs("", slog.String("listener", k.listener))
	}
	return slog.GroupAttrs("")
}

// Standing is what stands: by pool, listener and cause.
func (w *Watch) Standing() []api.Shortage {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]api.Shortage, 0, len(w.standing))
	for _, s := range w.standing {
		all = append(all, s.Shortage)
	}
	slices.SortFunc(all, func(a, b api.Shortage) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Cause, b.Cause))
	})
	return all
}
