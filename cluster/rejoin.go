package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"homing/cluster/bound"
)

// memberlist gives a member that died up for good: after GossipToTheDeadTime (30 s) nobody talks to it any more, and
// two halves of a cluster that were parted for longer never meet again. So everybody dials, forever, the nodes it was
// told of and those it has met.
const (
	// missingEvery is the pause between two tries to reach an address while nobody there is a member.
	missingEvery = 2 * time.Second

	// presentEvery is the pause while somebody is: it finds what only the other side has lost.
	presentEvery = 30 * time.Second

	// seedNew is for how long, from its first dial, a seed is dialled as if nobody were there. A member that comes
	// back with its old name at a new address is refused until the others took it for dead, for reclaimAfter; nothing
	// tells it.
	seedNew = 15 * time.Second

	// maxDials bounds the tries that run at once, each of which may wait for memberlist's TCP timeout.
	maxDials = 16

	// maxKnown bounds the nodes that were met, so that names that come and go cannot fill the memory. Seeds are on top.
	maxKnown = 1024
)

// rejoin decides whom to dial and when. It does no I/O and reads no clock.
type rejoin struct {
	targets map[string]*dialTarget // by address
	busy    int                    // dials that run
}

// dialTarget is one address.
type dialTarget struct {
	seed    bool      // given by the user: never forgotten
	name    string    // of the node that was met there, "" for a seed at which none was
	missing bool      // that node is not a member now; of a seed without a name: the last dial failed, or none was
	busy    bool      // a dial runs
	hurry   bool      // dial it now
	first   time.Time // of the dials; zero: there was none
	last    time.Time
}

func newRejoin(seeds []string) *rejoin {
	r := &rejoin{targets: make(map[string]*dialTarget)}
	for _, addr := range seeds {
		r.targets[addr] = &dialTarget{seed: true, missing: true}
	}
	return r
}

// met says that a node is a member, at an address. It is dialled once, as what it has heard of us by gossip may be
// older than what we have told the others by dialling.
func (r *rejoin) met(name, addr string) {
	r.forget(name, addr)
	t := r.targets[addr]
	if t == nil {
		if len(r.targets) >= maxKnown && !r.makeRoom() {
			return
		}
		t = &dialTarget{}
		r.targets[addr] = t
	}
	t.hurry = t.hurry || t.name != name
	t.name, t.missing = name, false
}

// lost says that a node is no longer a member, and did not leave on purpose.
func (r *rejoin) lost(name string) {
	for _, t := range r.targets {
		if t.name == name {
			t.missing = true
		}
	}
}

// left says that a node is no longer a member, on purpose.
func (r *rejoin) left(name string) { r.forget(name, "") }

// hurry has every address at which a node is dialled now: there is something to tell, and a dial tells all.
func (r *rejoin) hurry() {
	for _, t := range r.targets {
		t.hurry = t.name != "" && !t.missing
	}
}

// forget drops a node from every address but one.
func (r *rejoin) forget(name, but string) {
	for addr, t := range r.targets {
		if t.name != name || addr == but {
			continue
		}
		if t.seed {
			t.name, t.missing = "", true
			continue
		}
		delete(r.targets, addr)
	}
}

// makeRoom drops the node that has not been dialled for longest among the missing ones.
func (r *rejoin) makeRoom() bool {
	oldest := ""
	for addr, t := range r.targets {
		if t.missing && !t.seed && !t.busy && (oldest == "" || t.last.Before(r.targets[oldest].last)) {
			oldest = addr
		}
	}
	delete(r.targets, oldest)
	return oldest != ""
}

// due gives the addresses to dial now, and how long it is to the next one. Each address given must come back by done.
func (r *rejoin) due(now time.Time) (addrs []string, next time.Duration) {
	next = presentEvery
	for addr, t := range r.targets {
		wait := t.wait(now)
		switch {
		case t.busy:
		case wait > 0:
			next = min(next, wait)
		case r.busy < maxDials:
			t.busy, t.hurry = true, false
			r.busy++
			addrs = append(addrs, addr)
		default:
			next = min(next, missingEvery)
		}
	}
	return addrs, next
}

func (t *dialTarget) wait(now time.Time) time.Duration {
	if t.hurry {
		return 0
	}
	every := presentEvery
	if t.missing || t.seed && now.Sub(t.first) < seedNew {
		every = missingEvery
	}
	if t.first.IsZero() {
		return 0
	}
	return every - now.Sub(t.last)
}

// done takes back an address that due gave. changed says that a seed at which no node was met answers now and did not
// before, or the other way round.
func (r *rejoin) done(addr string, now time.Time, ok bool) (changed bool) {
	r.busy--
	t := r.targets[addr]
	if t == nil { // forgotten meanwhile
		return false
	}
	first := t.first.IsZero()
	if first {
		t.first = now
	}
	t.busy, t.last = false, now
	if t.name != "" { // memberlist says whether it is there
		return false
	}
	changed = t.missing == ok || first && !ok
	t.missing = !ok
	return changed
}

// rejoiner dials what rejoin names.
type rejoiner struct {
	// Static after construction.
	join func(addr string) error
	now  func() time.Time
	log  *slog.Logger
	wake bound.Wake // something changed

	// Guarded by mu.
	mu   sync.Mutex
	plan *rejoin
}

// change lets f change the plan, and has the next dials worked out again.
func (j *rejoiner) change(f func(*rejoin)) {
	j.mu.Lock()
	f(j.plan)
	j.mu.Unlock()
	j.wake.Up()
}

// run dials until ctx is done.
func (j *rejoiner) run(ctx context.Context) {
	bound.Attend(ctx, j.wake, func(addr string) { j.dial(ctx, addr) },
		func() (addrs []string, rest, next time.Duration) {
			j.mu.Lock()
			defer j.mu.Unlock()
			addrs, next = j.plan.due(j.now())
			return addrs, 0, next
		})
}

func (j *rejoiner) dial(ctx context.Context, addr string) {
	err := j.join(addr)
	var changed bool
	j.change(func(r *rejoin) { changed = r.done(addr, j.now(), err == nil) })
	switch {
	case !changed || ctx.Err() != nil:
	case err != nil:
		j.log.Warn("cluster: nobody answers there, it is dialled again every 2s", slog.String("join", addr),
			slog.Any("error", err))
	default:
		j.log.Info("cluster: joined", slog.String("join", addr))
	}
}
