//go:build linux

package balancer

import (
	"time"

	"homing/balancer/internal/netio"
)

// persistAfter is the age at which a conn gets its keepalive options. Most are gone by then and never pay for the
// calls; before it, tighter deadlines hold.
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
