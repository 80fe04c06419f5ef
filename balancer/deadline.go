//go:build linux

package balancer

import (
	"time"

	"homing/balancer/internal/netio"
)

// persistAfter is the age at which a conn gets its keepalive options. Most are
// gone by then and never pay for the calls; before it, tighter deadlines hold.
const persistAfter = 5 * time.Second

// setDue makes the loop ask c at due, or earlier.
func (l *loop) setDue(c *conn, due netio.Time) { l.wheel.set(&l.conns, c, due) }

// due is when the conn must be asked again.
func (l *loop) due(c *conn) netio.Time {
	switch c.state {
	case stateHello:
		return c.opened.Add(c.lane.cfg.HelloTimeout)
	case stateQueue:
		return c.hs.turn.until
	case stateConnect:
		due := c.hs.tryUntil
		if c.hs.slowAt != 0 {
			due = min(due, c.hs.slowAt)
		}
		if c.hs.stash.used() {
			due = min(due, c.hs.stash.until)
		}
		return due
	case stateObserve:
		if c.hs.stash.used() {
			return c.hs.stash.until
		}
		if c.hs.unheard {
			return c.hs.tryUntil
		}
		if c.hs.holding {
			return c.hs.sentAt.Add(c.lane.cfg.HoldTimeout)
		}
	case stateClosing:
		return l.now.Add(lingerPoll)
	case stateRelay:
		if c.holds() {
			return c.since.Add(c.lane.cfg.HelloTimeout)
		}
	case stateFree:
	}
	due := c.active.Add(l.patience(c))
	if !c.persistent {
		due = min(due, c.opened.Add(persistAfter))
	}
	if c.handshakeDue > 0 {
		due = min(due, c.handshakeDue)
	}
	return due
}

// patience is how long the conn may be silent.
func (l *loop) patience(c *conn) time.Duration {
	if c.flows[sideClient].is(ended) || c.flows[sideBackend].is(ended) {
		return c.lane.cfg.HalfClosedTimeout
	}
	return c.lane.cfg.IdleTimeout
}

// expire asks a conn whose slot has come.
//
// A conn whose peer reads slowly is not idle; one whose peer has stopped reading
// is seen as such at the second look.
func (l *loop) expire(c *conn) {
	if c.state == stateClosing {
		l.linger(c)
		return
	}
	if due := l.due(c); l.now < due {
		l.setDue(c, due)
		return
	}
	switch c.state {
	case stateHello:
		l.countHello(c, HelloTimeout)
		l.becomeClosing(c, CauseClientTimeout, true)
		return
	case stateQueue:
		l.leaveQueue(c, true)
		return
	case stateConnect:
		if c.hs.stash.used() && l.now >= c.hs.stash.until {
			l.becomeUnstashed(c)
			return
		}
		if l.now < c.hs.tryUntil {
			c.hs.slowAt = 0
			c.lane.pool.ConnectSlow(c.backend)
			l.setDue(c, l.due(c))
			return
		}
		l.connected(c, &netio.Completion{Errno: netio.ErrTimedOut})
		return
	case stateObserve:
		if c.hs.stash.used() {
			l.becomeUnstashed(c)
			return
		}
		if c.hs.unheard {
			l.unheardTooLong(c)
			return
		}
		if c.hs.holding {
			l.release(c, nil)
			return
		}
	case stateRelay:
		if c.holds() {
			l.becomeClosing(c, CauseClientTimeout, true)
			return
		}
	case stateFree, stateClosing:
	}
	if c.handshakeDue > 0 && l.now >= c.handshakeDue {
		inc(&c.lane.share.count.HandshakeTimeouts)
		l.timeOut(c)
		return
	}
	if !c.persistent {
		c.persistent = true
		l.eng.Persist(c.socks[sideClient], c.lane.gate.options)
		l.eng.Persist(c.socks[sideBackend], c.lane.gate.options)
		l.setDue(c, l.due(c))
		return
	}
	// Nothing was received, but a slow reader may be at work on what was sent.
	if l.eng.Unsent(c.socks[sideClient])+l.eng.Unsent(c.socks[sideBackend]) > 0 {
		if acked := l.eng.Acked(c.socks[sideClient]) + l.eng.Acked(c.socks[sideBackend]); acked != c.acked {
			c.acked, c.active = acked, l.now
			l.setDue(c, l.due(c))
			return
		}
	}
	l.timeOut(c)
}

// timeOut ends a conn that one side has kept waiting.
func (l *loop) timeOut(c *conn) {
	cause := CauseClientTimeout
	if c.last == sideClient {
		cause = CauseBackTimeout // the backend owes an answer
	}
	l.becomeClosing(c, cause, true)
}
