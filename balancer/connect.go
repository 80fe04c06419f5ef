//go:build linux

package balancer

import (
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/balancer/rules"
)

// slowConnect is how long a connect takes at least that is slow: more than a way around the world, less than a second,
// when TCP says for the second time that it wants to connect.
const slowConnect = 300 * time.Millisecond

// becomeConnect asks d's backend for a connection. From stateHello and stateQueue, and again from stateConnect and
// stateObserve while nothing has gone to the client. Without one none is left, or all have as many conns as they may.
func (l *loop) becomeConnect(c *conn, d rules.Decision) {
	c.state = stateConnect
	l.connect(c, l.acquire(c, d))
}

// becomePlaced is becomeConnect from stateQueue, with a place at b: it is acquired.
func (l *loop) becomePlaced(c *conn, b *pool.Backend) {
	c.state = stateConnect
	l.connect(c, b)
}

// connect tries b, which is acquired, and then whatever else there is. nil: it has come to something else already.
func (l *loop) connect(c *conn, b *pool.Backend) {
	for ; b != nil; b = l.acquire(c, l.decide(c)) {
		if l.try(c, b) {
			return
		}
	}
}

// acquire counts the conn as one of its backend's, unless it is not its turn: those who wait in the queue were there
// before, but for one that has had a backend already. nil: it waits too, or is closed.
func (l *loop) acquire(c *conn, d rules.Decision) *pool.Backend {
	hs := c.hs
	hs.note(d)
	if l.now >= hs.deadline || hs.tries >= maxTries {
		l.unroutable(c)
		return nil
	}
	if d.Backend == nil || hs.tries == 0 && c.lane.pool.Waiting() > 0 {
		return l.becomeQueue(c, d)
	}
	d.Backend.Acquire()
	l.decided(c, d)
	return d.Backend
}

// try begins to connect to b, which is acquired. It reports whether the connect is under way, or the conn has no need
// of another one.
func (l *loop) try(c *conn, b *pool.Backend) bool {
	hs := c.hs
	hs.tries++
	hs.skip.Add(b.ID) // has room for maxTries
	inc(&c.lane.share.count.Connects)
	c.backend = b
	hs.try = try{reached: b.Reached()}
	if errno := l.dial(c); errno != 0 {
		return !l.cannotConnect(c, errno)
	}
	// One try gets at most a third of the time for all.
	hs.tryUntil = min(hs.deadline, l.now.Add(c.lane.cfg.ConnectTimeout/3))
	hs.slowAt = l.now.Add(slowConnect)
	l.setDue(c, l.due(c))
	return true
}

// connected ends a try.
func (l *loop) connected(c *conn, done *netio.Completion) {
	if done.Errno != 0 && !done.Sink {
		if done.Errno == netio.ErrNoPort && l.redial(c) {
			return
		}
		if l.connectFailed(c, done.Errno) {
			l.becomeConnect(c, l.decide(c))
		}
		return
	}
	c.lane.pool.ConnectOK(c.backend)
	l.becomeObserve(c, done.Errno)
}

// connectReceived keeps what the client sends while its hello goes to another backend: it follows the hello, and no
// further replay is possible.
func (l *loop) connectReceived(c *conn, done *netio.Completion) {
	hs := c.hs
	hs.later = true
	switch {
	case done.Errno != 0:
		l.becomeClosing(c, CauseClient, true)
	case done.N == 0:
		c.flows[sideClient].flags |= ended
		if c.holds() {
			l.keep(c, l.unheld(c))
		}
	default:
		if first, ok := l.sift(c, done.Buf); ok {
			l.keep(c, first)
		}
	}
}

// keep appends to what the backend is to get first.
func (l *loop) keep(c *conn, b []byte) {
	var ok bool
	if c.hs.hello, ok = l.buffers.Append(c.hs.hello, b); !ok {
		l.becomeClosing(c, CauseResource, true)
	}
}

// connectFailed gives the backend up, of which connect(2) has said errno or nothing in time, and reports whether
// another may be tried: rule (a) of DESIGN.md section 3.4, always, unless the failure is this machine's own, or the
// conn has another answer in its stash.
func (l *loop) connectFailed(c *conn, errno netio.Errno) bool {
	if netio.IsShortage(errno) {
		return l.cannotConnect(c, errno)
	}
	hs, pool, share := c.hs, c.lane.pool, c.lane.share
	hs.failed = errno
	failed := c.backend
	l.dropBackend(c)
	if errno != netio.ErrReset { // else it was there
		inc(&share.count.ConnectFailures)
		if errno == netio.ErrTimedOut {
			inc(&share.count.ConnectTimeouts)
			hs.late = true
			pool.ConnectTimedOut(failed, hs.reached)
		} else {
			pool.ConnectFailed(failed, errno.Error())
		}
	}
	if hs.stash.used() {
		l.becomeUnstashed(c)
		return false
	}
	inc(&share.count.Replays)
	return true
}

// cannotConnect gives the backend up because this machine lacks something, or may not use the source address: no other
// backend would help. Like connectFailed it reports whether one may be tried all the same: never.
func (l *loop) cannotConnect(c *conn, errno netio.Errno) bool {
	c.hs.failed = errno
	switch {
	case errno == netio.ErrNoPort:
		inc(&c.lane.share.count.NoPorts)
	case netio.IsNoFile(errno):
		inc(&c.lane.share.count.NoDescriptors)
	default:
		inc(&c.lane.share.count.NoSockets)
	}
	l.dropBackend(c)
	if c.hs.stash.used() {
		l.becomeUnstashed(c)
	} else {
		l.becomeClosing(c, CauseResource, true)
	}
	return false
}

// unroutable ends a conn that no backend takes: with RST, at once.
func (l *loop) unroutable(c *conn) {
	inc(&c.lane.share.count.Unroutable)
	cause := CauseBackend
	if c.hs.failed == netio.ErrTimedOut {
		cause = CauseBackTimeout
	}
	l.becomeClosing(c, cause, true)
}

// dropBackend resets the backend's side, if there is one, and gives the backend back.
func (l *loop) dropBackend(c *conn) {
	if s := c.socks[sideBackend]; s != netio.NoSock {
		l.eng.Close(s, true)
		c.socks[sideBackend] = netio.NoSock
	}
	if c.backend != nil {
		c.backend.Release()
		c.backend = nil
	}
	c.flows[sideBackend] = flow{bytes: c.flows[sideBackend].bytes}
	c.flows[sideClient].flags &^= sending | dead
}

// redial tries the next source address after one had no port left for the backend, which shows in the completion of the
// connect. It reports whether there was one.
func (l *loop) redial(c *conn) bool {
	hs := c.hs
	if hs.addresses+1 >= len(c.lane.pool.Snapshot().Options().Sources) {
		return false
	}
	inc(&c.lane.share.count.NoPorts)
	hs.addresses++
	l.eng.Close(c.socks[sideBackend], true)
	c.socks[sideBackend] = netio.NoSock
	if errno := l.dial(c); errno != 0 {
		l.cannotConnect(c, errno)
	}
	return true
}
