//go:build linux

package balancer

import "homing/balancer/pool"

// followDowns has the loops reset the conns of each backend that is marked down, in pools that want that. A pool is
// followed once, for as long as it lives. b.reloading is held, or nobody else knows b.
func (b *Balancer) followDowns(set *settings) {
	for _, p := range set.pools {
		if b.followed[p] {
			continue
		}
		b.followed[p] = true
		p.OnChange(func(backend *pool.Backend, up bool, _ string) {
			if !up && p.Snapshot().Options().OnDown == pool.OnDownReset {
				b.post(command{kind: commandLeave, left: backend})
			}
		})
	}
}

// leave ends the conns of a backend that was marked down. Of a client that has nothing yet the hello goes to another
// backend, or the answer that another has given counts. Who is still being connected is left to the time that a connect
// may take: until then the backend may be the one that was marked last, and tried for want of others.
func (l *loop) leave(b *pool.Backend) {
	for i := range l.conns.pages {
		for j := range l.conns.pages[i] {
			l.leaveConn(&l.conns.pages[i][j], b)
		}
	}
}

// leaveConn ends c's part with b, if it has one.
func (l *loop) leaveConn(c *conn, b *pool.Backend) {
	hs := c.hs
	switch c.state {
	case stateObserve, stateRelay:
	case stateConnect:
		if hs.stash.used() && hs.stash.backend == b {
			l.dropStash(c)
			l.setDue(c, l.due(c))
		}
		return
	case stateFree, stateHello, stateQueue, stateClosing: // no backend has it
		return
	}
	if hs != nil && hs.stash.used() && hs.stash.backend == b {
		l.dropStash(c)
		l.setDue(c, l.due(c))
	}
	switch {
	case c.backend != b:
	case c.state == stateObserve && hs.stash.used():
		l.becomeUnstashed(c)
	case c.state == stateObserve && l.mayReplay(c):
		if next := l.decide(c); next.Backend != nil {
			l.dropBackend(c)
			l.forgetAnswer(hs)
			inc(&c.lane.share.count.Replays)
			l.becomeConnect(c, next)
			return
		}
		fallthrough
	default:
		l.becomeClosing(c, CauseDown, true)
	}
}
