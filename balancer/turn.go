//go:build linux

package balancer

import (
	"runtime"

	"homing/balancer/internal/netio"
)

// run is the loop.
func (l *loop) run() error {
	if l.eng.Bound() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	defer l.shut()
	l.running = true
	if err := l.listen(); err != nil {
		return err
	}
	var done netio.Completion // on the heap, once: the engine is an interface
	for !l.ended() {
		if err := l.turn(&done); err != nil {
			return err
		}
	}
	return nil
}

// turn waits until something has happened or is due, and does all that is to be done then. done is its own, lent.
func (l *loop) turn(done *netio.Completion) error {
	if err := l.eng.Wait(l.deadline()); err != nil {
		return err
	}
	l.now = l.eng.Now()
	l.unix = l.set.cfg.Store.Now()
	idle := true
	for !l.killed && l.eng.Next(done) {
		l.dispatch(done)
		idle = false
	}
	if idle || len(l.unacked) >= maxUnacked {
		l.sendAcks()
	}
	for c := l.wheel.due(&l.conns, l.now); c != nil; c = l.wheel.due(&l.conns, l.now) {
		l.expire(c)
	}
	l.shed()
	l.limitYoung()
	l.admit()
	return nil
}

func (l *loop) ended() bool {
	return l.killed || l.draining && l.conns.open == 0 && !l.listens()
}

// deadline is when Wait must return at the latest.
func (l *loop) deadline() netio.Time {
	d := l.wheel.deadline()
	if len(l.unacked) > 0 {
		d = min(d, l.now) // only look, and send them if there is nothing
	}
	if l.paused {
		d = min(d, l.resumeAt)
	}
	if l.held > 0 {
		d = min(d, l.now.Add(acceptPause)) // room may come of another loop
	}
	if l.empties() {
		d = min(d, l.now) // admit closes them as soon as their queues are empty
	}
	return d
}

func (l *loop) dispatch(c *netio.Completion) {
	conn := func() (*conn, side) { return l.conns.at(c.Tag >> 1), side(c.Tag & 1) }
	switch c.Op {
	case netio.OpAccept:
		l.accepted(c)
	case netio.OpWake:
		l.obey()
	case netio.OpConnect:
		cn, _ := conn()
		l.connected(cn, c)
	case netio.OpRecv:
		cn, from := conn()
		cn.flows[from].flags &^= reading
		l.received(cn, from, c)
	case netio.OpSend:
		cn, to := conn()
		l.sent(cn, to.other(), c.Errno)
	case netio.OpSplice:
		cn, from := conn()
		cn.flows[from].flags &^= reading
		l.spliced(cn, from, c)
	case netio.OpNone:
	}
}

// received hands the bytes, the end or the error to the conn's state.
func (l *loop) received(c *conn, from side, done *netio.Completion) {
	c.active, c.last = l.now, from
	if f := &c.flows[from]; done.N > 0 {
		if from == sideBackend && f.bytes == 0 {
			c.backend.CountAnswer()
		}
		f.bytes += uint64(done.N)
		if from == sideClient {
			l.count.bytesIn.Add(uint64(done.N))
		} else {
			l.count.bytesOut.Add(uint64(done.N))
		}
		c.tallyBytes(from, done.N)
	}
	if from == sideClient && c.hs != nil && c.hs.stash.used() && done.Errno == 0 {
		// It has not waited for the second chance, so there is none: the first answer counts, and its backend gets what
		// else the client has sent.
		c.flows[from].flags |= reading // done is still to be passed on
		l.becomeUnstashed(c)
		c.flows[from].flags &^= reading
	}
	switch c.state {
	case stateHello:
		l.helloReceived(c, done)
	case stateObserve:
		if from == sideClient {
			l.observeClient(c, done)
		} else {
			l.observeBackend(c, done)
		}
	case stateRelay:
		l.relay(c, from, done)
	case stateQueue:
		l.queueReceived(c, done)
	case stateConnect:
		l.connectReceived(c, done)
	case stateClosing:
		l.lingerReceived(c, done)
	case stateFree: // by becomeUnstashed
	}
}

// expire asks a conn whose slot has come.
//
// A conn whose peer reads slowly is not idle; one whose peer has stopped reading is seen as such at the second look.
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
