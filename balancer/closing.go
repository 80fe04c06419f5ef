//go:build linux

package balancer

import (
	"time"

	"homing/balancer/internal/netio"
)

const (
	// lingerPoll is how often a conn that waits to be reset is looked at. There is no event for "all is acknowledged".
	lingerPoll = 20 * time.Millisecond
	// lingerMax bounds that wait.
	lingerMax = 30 * time.Second
)

// becomeClosing ends a conn from any state: it is counted and logged, and its sides are closed, with RST where reset is
// set.
//
// A backend's reset must not destroy the answer that it sent before and the client has not got yet: then only the
// backend's side is closed now, and the client's is reset once it has acknowledged everything.
func (l *loop) becomeClosing(c *conn, cause Cause, reset bool) {
	end := Termination{Cause: cause, Phase: c.phase(cause)}
	hungUp := c.flows[sideBackend].is(ended) && !c.flows[sideClient].is(ended)
	if end.Phase == PhaseAnswer && cause == CauseClient && hungUp {
		end.Cause = CauseBackend // without an answer: what the client makes of that is no end of its own
	}
	if c.state == stateHello {
		l.unlist(c.hs)
	}
	if c.state == stateQueue && c.hs.turn.queued {
		if b, _ := l.unqueue(c); b != nil {
			b.Release() // to the next
		}
	}
	wait := netio.NoSock
	if c.state != stateClosing {
		if reset && (c.state == stateObserve || c.state == stateRelay) {
			wait = l.unfinished(c, cause)
		}
		inc(&c.lane.terminations()[end.Cause][end.Phase])
		l.log(c, end)
	}
	if c.hs != nil {
		l.endHandshake(c)
	}
	for s, sock := range c.socks {
		if sock != netio.NoSock && sock != wait {
			// A side that was reset is dead already: it needs no RST.
			l.eng.Close(sock, reset && side(s) != failed(cause))
			c.socks[s] = netio.NoSock
		}
	}
	if c.backend != nil {
		c.tallyRest()
		c.backend.Release()
		c.backend = nil
	}
	if wait != netio.NoSock {
		c.state = stateClosing
		c.since = l.now
		l.setDue(c, l.due(c))
		return
	}
	l.wheel.unset(&l.conns, c)
	l.uncount(c)
	l.conns.give(c)
}

// failed is the side whose RST ended the conn.
func failed(cause Cause) side {
	switch cause {
	case CauseClient:
		return sideClient
	case CauseBackend:
		return sideBackend
	case CauseNormal, CauseClientTimeout, CauseBackTimeout, CauseResource, CauseRefused, CauseKilled, CauseDown:
	}
	return noSide
}

// unfinished is the client's socket if the backend was reset while the client had not acknowledged everything; NoSock
// otherwise. The other way round nothing is lost that the client's RST would not have destroyed by itself.
func (l *loop) unfinished(c *conn, cause Cause) netio.Sock {
	from := &c.flows[sideBackend]
	if cause != CauseBackend || from.bytes == 0 || from.is(dead) {
		return netio.NoSock
	}
	if !from.is(sending) && l.eng.Unsent(c.socks[sideClient]) == 0 {
		return netio.NoSock
	}
	return c.socks[sideClient]
}

// linger resets the client once it has everything, or at the latest after lingerMax.
func (l *loop) linger(c *conn) {
	waits := c.flows[sideBackend].is(sending) || l.eng.Unsent(c.socks[sideClient]) > 0
	if waits && l.now.Sub(c.since) < lingerMax {
		l.setDue(c, l.due(c))
		return
	}
	l.becomeClosing(c, CauseNormal, true)
}

// lingerReceived drops what a client says to a backend that is gone. Its own end ends the waiting.
func (l *loop) lingerReceived(c *conn, done *netio.Completion) {
	switch {
	case done.Errno != 0:
		l.becomeClosing(c, CauseClient, true)
	case done.N > 0:
		l.recv(c)
	}
}

// phase is the state that a conn ends in.
func (c *conn) phase(cause Cause) Phase {
	switch c.state {
	case stateHello:
		return PhaseHello
	case stateQueue:
		return PhaseQueue
	case stateConnect:
		return PhaseConnect
	case stateObserve:
		if c.flows[sideBackend].bytes == 0 || c.hs.holding {
			return PhaseAnswer
		}
	case stateFree, stateRelay, stateClosing:
	}
	switch {
	case cause == CauseNormal:
		return PhaseEnd
	case c.flows[sideClient].is(ended) || c.flows[sideBackend].is(ended):
		return PhaseLast
	}
	return PhaseData
}

// log completes the conn's record and hands it over, if there is a log and it can take it.
func (l *loop) log(c *conn, end Termination) {
	r := c.record
	if r == nil {
		return
	}
	if c.hs != nil {
		l.endHandshake(c)
	}
	r.Termination = end
	r.BytesIn, r.BytesOut = c.flows[sideClient].bytes, c.flows[sideBackend].bytes
	r.Total = l.now.Sub(c.opened)
	if c.backend != nil {
		r.Backend = c.backend.Addr
	}
	c.record = nil
	l.tell(record{ConnRecord: r, to: c.lane.cfg.ConnLog})
}

// refuse ends a conn that the rules of its listener do not let in.
func (l *loop) refuse(c *conn, why Refusal) {
	inc(&c.lane.gate.count.Refused[why])
	if c.record != nil {
		c.record.Refused = why
	}
	l.becomeClosing(c, CauseRefused, true)
}
