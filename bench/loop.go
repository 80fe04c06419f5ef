package bench

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"homing/bench/sock"
	"homing/bench/tlscore"
)

const (
	// maxBegin bounds the conns begun before events are looked at again: what the kernel holds back meanwhile would else
	// count as the target's latency.
	maxBegin = 32
	// readBytes is the buffer of one read: eight full records.
	readBytes = 128 << 10
	// pauseAfterFailure keeps a closed loop from asking a dead target a million times.
	pauseAfterFailure = 100 * time.Millisecond
)

// loop carries a part of the clients on one thread, with sockets, timers and records of its own. It stands still between
// its runs, and then the run's goroutine may look at it.
type loop struct {
	*shared
	index  int
	poller *sock.Poller
	stats  stats       // read by anybody
	stop   atomic.Bool // set by anybody, with poller.Wake

	// Owned by the loop.
	clients []*client
	deck    []int // the order in which clients come, drawn anew each time all have come
	dealt   int
	rng     *rand.Rand
	shares  *tlscore.KeyShares // nil: each conn makes its own
	chains  *tlscore.CertificateCache
	conns   []*conn // by slot
	free    []int32
	active  int // conns that are open and not held
	held    []heldConn
	ready   []*client
	timers  timers
	pacer   pacer
	rec     *recorder // of the conns that should begin now
	closed  bool      // a closed loop, and the stretch is not over
	buf     []byte
}

// heldConn is a conn that waits for release, unless its generation has passed.
type heldConn struct {
	*conn
	gen uint32
}

// stats are what a loop tells while it runs.
type stats struct {
	begun, done, failed, accepted, refused, held atomic.Int64
	newest                                       atomic.Pointer[failure]
}

// failure is why a conn failed.
type failure struct {
	class Class
	err   error
}

func (l *loop) clock() time.Duration { return time.Since(l.base) }

// run carries on until the given time, or until nothing is open (drain), or until it is stopped.
func (l *loop) run(until time.Duration, drain bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sock.Fine()
	for !l.stop.Load() {
		now := l.clock()
		l.again()
		if drain && l.active == 0 && len(l.ready) == 0 {
			return nil
		}
		l.beginDue(now)
		if now >= until {
			for !drain && l.overdue(now) { // this thread may be late, the schedule is not
				l.beginDue(now)
			}
			return nil
		}
		for {
			t, ok := l.timers.due(now)
			if !ok {
				break
			}
			l.fire(t)
		}
		events, err := l.poller.Wait(l.patience(until))
		if err != nil {
			return err
		}
		for i := range events {
			l.event(&events[i])
		}
	}
	return nil
}

// patience is how long there is nothing to do but for events.
func (l *loop) patience(until time.Duration) time.Duration {
	if len(l.ready) > 0 {
		return 0
	}
	if at, ok := l.timers.next(); ok {
		until = min(until, at)
	}
	if at, ok := l.pacer.peek(); ok {
		until = min(until, at)
	}
	return max(0, until-l.clock())
}

// beginDue begins the conns whose time has come.
func (l *loop) beginDue(now time.Duration) {
	for range maxBegin {
		at, ok := l.pacer.peek()
		if !ok || at > now {
			return
		}
		l.pacer.take()
		l.visit(l.deal(), visit{at, l.rec})
	}
}

// overdue reports whether conns should have begun by now and have not.
func (l *loop) overdue(now time.Duration) bool {
	at, ok := l.pacer.peek()
	return ok && at <= now
}

// again begins the conns of clients that have got free.
func (l *loop) again() {
	n := len(l.ready)
	for _, c := range l.ready[:n] {
		if len(c.queue) > 0 {
			v := c.queue[0]
			c.queue = c.queue[1:]
			l.begin(c, v)
		} else if l.closed {
			l.visit(c, visit{l.clock(), l.rec})
		}
	}
	l.ready = append(l.ready[:0], l.ready[n:]...) // beginning may have failed at once
}

// deal draws the next client.
func (l *loop) deal() *client {
	if l.dealt == len(l.deck) {
		l.rng.Shuffle(len(l.deck), func(i, j int) { l.deck[i], l.deck[j] = l.deck[j], l.deck[i] })
		l.dealt = 0
	}
	l.dealt++
	return l.clients[l.deck[l.dealt-1]]
}

// visit lets a client begin a conn, or has it wait for the one that is open. From here on the conn counts.
func (l *loop) visit(c *client, v visit) {
	v.rec.groups[c.group.index].Attempts++
	l.stats.begun.Add(1)
	if c.busy {
		c.queue = append(c.queue, v)
		return
	}
	l.begin(c, v)
}

// released is called when a client's conn is gone.
func (l *loop) released(c *client, ok bool) {
	if !ok && l.closed && len(c.queue) == 0 {
		l.timers.add(timer{at: l.clock() + pauseAfterFailure, slot: int32(c.index), what: dueAgain}) // below maxClients
		return
	}
	c.busy = false
	l.ready = append(l.ready, c)
}

// endStretch has no more conns begin, but for those that should have begun already and wait for their client.
func (l *loop) endStretch() { l.pacer, l.closed = pacer{}, false }

// abandon ends all conns that are still open, and forgets those that have waited too long for their client, as lost.
func (l *loop) abandon() (lost int64) {
	for _, c := range l.clients {
		for _, v := range c.queue {
			v.rec.groups[c.group.index].fail(Lost, 1)
			l.stats.failed.Add(1)
			lost++
		}
		c.queue = nil
	}
	for _, c := range l.conns {
		if c.state != gone {
			l.fail(c, Lost, nil)
			lost++
		}
	}
	l.held = l.held[:0]
	return lost
}

// release has the held conns send their requests, evenly over the given time, and beginning after the delay.
func (l *loop) release(over time.Duration) {
	now := l.clock()
	for i, h := range l.held {
		c := h.conn
		if c.gen != h.gen || c.state != holding {
			continue
		}
		at := now + time.Duration(float64(over)*float64(i)/float64(len(l.held)))
		c.intended, c.began = at, at // of the answer; how the conn came about is recorded
		c.deadline = at + l.plan.Timeout
		l.active++
		l.stats.held.Add(-1)
		c.state = thinking
		l.timers.add(timer{at: at, slot: c.slot, gen: c.gen, what: dueAsk})
		l.timers.add(timer{at: c.deadline, slot: c.slot, gen: c.gen, what: dueTimeout})
	}
	l.held = l.held[:0]
}
