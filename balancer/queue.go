//go:build linux

package balancer

import (
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/balancer/rules"
)

// queueKeeps bounds what is kept of what a waiting client sends behind its hello, in bytes: beyond, it is not read
// until it has a backend.
const queueKeeps = 16 << 10

// queueTurn is a conn's place in the queue of its pool.
type queueTurn struct {
	waiter pool.Waiter
	before rules.Decision // what the rules said before it had to wait
	since  netio.Time
	until  netio.Time    // then it has waited long enough
	waited time.Duration // before, by the same conn
	queued bool          // it waits
}

// waitedFor is how long its conn has waited in all; t may be nil.
func (t *queueTurn) waitedFor() time.Duration {
	if t == nil {
		return 0
	}
	return t.waited
}

// becomeQueue makes a conn wait for a backend that has room, because those that could take it have as many conns as
// they may, or because others wait already. d is where it would have gone.
//
// On entry, from stateConnect, it has no backend. On exit it waits, with its hello in hs.hello and the client being
// read, and counts at no backend; or it has a place, which is returned, acquired; or it is closed.
func (l *loop) becomeQueue(c *conn, d rules.Decision) *pool.Backend {
	hs, p, share := c.hs, c.lane.pool, c.lane.share
	if hs.turn == nil {
		hs.turn = new(queueTurn)
	}
	t := hs.turn
	l.turns++
	var q rules.Question
	l.ask(c, &q)
	t.before = d
	t.waiter = pool.Waiter{Wish: q.Wish(&d, p.Snapshot()), Owner: l, Tag: uint64(l.turns)<<32 | uint64(c.index)}
	place, result := p.Wait(&t.waiter)
	switch result {
	case pool.WaitServed:
		l.decided(c, q.Placed(d, place))
		return place
	case pool.WaitNobody:
		if d.Backend == nil { // else the last one that was marked down
			l.unroutable(c)
			return nil
		}
		d.Backend.Acquire()
		l.decided(c, d)
		return d.Backend
	case pool.WaitFull:
		c.state = stateQueue
		inc(&share.count.QueueFull)
		l.becomeClosing(c, CauseResource, true)
		return nil
	case pool.WaitQueued:
	}
	c.state = stateQueue
	if t.since == 0 {
		inc(&share.count.Queued)
	}
	inc(&share.count.Waiting)
	t.queued, t.since = true, l.now
	t.until = l.now.Add(p.Snapshot().Options().QueueTimeout - t.waited)
	l.setDue(c, l.due(c))
	if !c.flows[sideClient].is(reading | ended) {
		l.recv(c) // or its leaving would not be noticed
	}
	return nil
}

// WaitOver tells the loop that a conn of its need not wait any more. Any goroutine, with the pool's queue locked.
func (l *loop) WaitOver(tag uint64) { l.post(command{kind: commandTurn, turn: tag}) }

// turnCome goes on with a conn whose waiting is over, unless it has gone meanwhile; its place has gone to the next
// then.
func (l *loop) turnCome(tag uint64) {
	if c := l.conns.at(uint32(tag)); c.state == stateQueue && c.hs.turn.waiter.Tag == tag {
		l.leaveQueue(c, false)
	}
}

// leaveQueue ends the waiting of a conn that goes on: to the place that it has been given, or, where nobody is left to
// wait for, to whatever the rules say now. Otherwise, when late, it has waited in vain.
func (l *loop) leaveQueue(c *conn, late bool) {
	b, served := l.unqueue(c)
	switch {
	case !served && late:
		inc(&c.lane.share.count.QueueTimeouts)
		l.becomeClosing(c, CauseBackTimeout, true)
	case b != nil:
		l.placed(c, b)
	default:
		l.becomeConnect(c, l.decide(c))
	}
}

// placed goes on with a conn that was given a place at b, acquired; but with whatever the rules say now if b is being
// drained, and the conn's network has claimed to be at home there too often while it waited.
func (l *loop) placed(c *conn, b *pool.Backend) {
	var q rules.Question
	l.ask(c, &q)
	d := q.Placed(c.hs.turn.before, b)
	if d.Claims() && !q.MayClaim(b) {
		b.Release()
		l.becomeConnect(c, l.decide(c))
		return
	}
	l.decided(c, d)
	l.becomePlaced(c, b)
}

// unqueue ends the waiting, and counts it. The time for all tries does not run meanwhile. What the conn was given is
// the caller's to use or to release.
func (l *loop) unqueue(c *conn) (b *pool.Backend, served bool) {
	t := c.hs.turn
	b, served = c.lane.pool.Leave(&t.waiter)
	t.queued = false
	waited := l.now.Sub(t.since)
	t.waited += waited
	c.hs.deadline = c.hs.deadline.Add(waited)
	dec(&c.lane.share.count.Waiting)
	addTime(&c.lane.share.count.QueueTime, waited)
	return b, served
}

// queueReceived keeps what a waiting client sends behind its hello, up to a bound, and notices when it leaves.
func (l *loop) queueReceived(c *conn, done *netio.Completion) {
	hs := c.hs
	if done.Errno == 0 && done.N == 0 && hs.readable {
		l.becomeClosing(c, CauseClient, false) // no handshake comes of it any more
		return
	}
	l.connectReceived(c, done)
	if c.state == stateQueue && !c.flows[sideClient].is(ended) && len(hs.hello)-hs.parser.End() <= queueKeeps {
		l.recv(c)
	}
}
