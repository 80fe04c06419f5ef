//go:build linux

package balancer

import (
	"homing/balancer/internal/netio"
	"homing/tlsparse"
)

// becomeObserve sends the hello to the connected backend, or takes note that the engine has, or failed to with errno;
// and begins to read both sides. Of a client whose hello could not be read there is nothing to observe.
func (l *loop) becomeObserve(c *conn, errno netio.Errno) {
	hs := c.hs
	c.state = stateObserve
	c.active = l.now
	hs.times = times{sentAt: l.now}
	done := true
	if !hs.given {
		first := l.opening(c)
		if hs.opening = len(first); len(first) > 0 {
			done, errno = l.eng.Send(c.socks[sideBackend], first)
		}
	}
	switch {
	case errno == netio.ErrNoBuffer:
		l.becomeClosing(c, CauseResource, true)
		return
	case errno != 0:
		// The backend has hung up already; reading it tells how.
		l.sinkFailed(c, sideClient)
	case !done:
		c.flows[sideClient].flags |= sending
	case c.flows[sideClient].is(ended):
		l.eng.Shutdown(c.socks[sideBackend])
	}
	if hs.readable && len(hs.hello) > hs.parser.End() { // once: nothing is sent to another backend from now on
		l.followHello(c, hs.hello[hs.parser.End():])
	}
	hs.unheard = hs.readable && c.lane.pool.Loaded(c.backend)
	if !hs.holding && !hs.unheard {
		l.commit(c)
	}
	if !hs.readable {
		l.becomeRelay(c)
		return
	}
	if limit := c.lane.cfg.HandshakeTimeout; limit > 0 {
		c.handshakeDue = l.now.Add(limit)
	}
	l.setDue(c, l.due(c))
	l.next(c, sideBackend)
	l.next(c, sideClient)
}

// unheardTooLong ends a try whose backend has neither answered nor acknowledged anything. The kernel in front of a
// server whose queue is full lets a client believe that it is connected, and drops what it says: such a conn waits for
// its backend as much as one whose SYN is not answered.
func (l *loop) unheardTooLong(c *conn) {
	hs := c.hs
	stuck := !c.flows[sideClient].is(sending|dead) && hs.opening > 0 && l.eng.Unsent(c.socks[sideBackend]) >= hs.opening
	if !stuck || hs.later || hs.early || l.eng.HasInput(c.socks[sideClient]) {
		l.heard(c)
		l.setDue(c, l.due(c))
		return
	}
	l.forgetAnswer(hs)
	if l.connectFailed(c, netio.ErrTimedOut) {
		l.becomeConnect(c, l.decide(c))
	}
}

// observeClient passes on what the client sends behind its hello. It must not go to another backend any more once it
// has.
func (l *loop) observeClient(c *conn, done *netio.Completion) {
	hs := c.hs
	l.heard(c)
	switch {
	case done.Errno != 0:
		l.sideFailed(c, sideClient)
	case done.N == 0:
		hs.later = true
		l.sideEnded(c, sideClient)
	default:
		hs.later = true
		if hs.hellos == 0 {
			l.followHello(c, done.Buf)
		}
		if tlsparse.FlightOf(done.Buf, 0).Open {
			l.eng.Ack(c.socks[sideClient])
		}
		l.pass(c, sideClient, done.Buf)
	}
}

// observeBackend reads the backend's answer, holds it while the verdict is open, and passes it on, unless another
// backend is to be asked.
//
// On entry everything that the backend has sent is with the client or in hs.held. On exit that holds again, or another
// backend is being asked and the client has nothing, or the conn is closed.
func (l *loop) observeBackend(c *conn, done *netio.Completion) {
	hs := c.hs
	l.heard(c)
	if done.Errno != 0 || done.N == 0 {
		l.observeEnd(c, done.Errno != 0)
		return
	}
	if hs.answeredAt == 0 {
		hs.answeredAt = l.now
	}
	if !hs.answered {
		hs.answered = true
		c.lane.share.count.AnswerTimes.count(l.now.Sub(hs.sentAt))
	}
	var ok bool
	opaque := l.read(c, done.Buf)
	if hs.answersOn(tlsparse.FlightOf(done.Buf, tlsparse.MessageServerHelloDone)) {
		l.eng.Ack(c.socks[sideBackend])
	}
	if !hs.holding && c.flows[sideBackend].is(sending) {
		// The hold time ended while this was being read, and the client has not taken yet what was held: this goes
		// behind it.
		if hs.held, ok = l.buffers.Append(hs.held, done.Buf); !ok {
			l.becomeClosing(c, CauseResource, true)
		}
		return
	}
	if !hs.holding {
		l.pass(c, sideBackend, done.Buf)
		l.observed(c, opaque)
		return
	}
	if hs.alerted && retryable(hs.alert) && l.mayRetry(c) && l.retry(c) {
		return
	}
	wait := hs.verdict == VerdictNone && !opaque && !hs.alerted && !hs.tooLate
	if wait && len(hs.held)+done.N <= c.lane.cfg.HoldLimit {
		if held, ok := l.buffers.Append(hs.held, done.Buf); ok {
			hs.held = held
			l.next(c, sideBackend)
			return
		}
	}
	if hs.verdict == VerdictRefused && l.maySecond(c) {
		if held, ok := l.buffers.Append(hs.held, done.Buf); ok {
			hs.held = held
			if !l.second(c) {
				l.release(c, nil)
				l.observed(c, opaque)
			}
			return
		}
	}
	if hs.verdict != VerdictAccepted && hs.stash.used() {
		l.becomeUnstashed(c)
		return
	}
	l.release(c, done.Buf)
	l.observed(c, opaque)
}

// The least that a TLS 1.3 server's protected messages take, in bytes: with a PSK EncryptedExtensions and Finished,
// otherwise a certificate and its signature too (RFC 9846, Section 2).
const (
	leastResumed = 80
	leastFull    = 400
)

// answersOn reports whether the backend has more to send before the client's next flight. Then it is given its ACK at
// once: a server that writes its flight in pieces and leaves Nagle's algorithm on (GnuTLS, JSSE) would wait 40 ms for
// it. Everybody else's ACK rides on what the client says next.
func (hs *handshake) answersOn(f tlsparse.Flight) bool {
	switch {
	case hs.tooLate && hs.hellos == 0: // a HelloRetryRequest is answered first
		return false
	case !hs.negotiated13 || f.Open:
		return f.Open
	case hs.verdict == VerdictAccepted:
		return f.Protected < leastResumed
	}
	return f.Protected < leastFull
}

// observeEnd ends the backend's side, or asks another backend.
func (l *loop) observeEnd(c *conn, reset bool) {
	hs := c.hs
	if hs.holding {
		if l.mayRetry(c) && l.retry(c) {
			return
		}
		if hs.stash.used() {
			l.becomeUnstashed(c)
			return
		}
		l.release(c, nil)
	}
	switch {
	case c.state != stateObserve: // the client was gone
	case reset:
		l.sideFailed(c, sideBackend)
	case c.flows[sideBackend].is(sending): // the end is read again behind what came before it
	default:
		l.sideEnded(c, sideBackend)
	}
}

// observed leaves stateObserve when there is nothing left to read.
func (l *loop) observed(c *conn, opaque bool) {
	if opaque && c.state == stateObserve {
		l.becomeRelay(c)
	}
}

// release ends the holding: the decision is final, what was held goes to the client, and then b. The client may be found
// gone and the conn closed.
func (l *loop) release(c *conn, b []byte) {
	hs := c.hs
	hs.holding, hs.unheard = false, false
	l.countDecision(c)
	if hs.verdict != VerdictNone {
		l.countVerdict(c)
	}
	l.dropStash(c)
	l.buffers.Put(hs.hello)
	hs.hello = nil
	l.setDue(c, l.due(c))
	held := hs.held
	hs.held = nil
	if len(held) > 0 && len(b) > 0 {
		var ok bool
		if held, ok = l.buffers.Append(held, b); !ok {
			l.buffers.Put(held)
			l.becomeClosing(c, CauseResource, true)
			return
		}
		b = nil
	}
	if len(held) > 0 {
		l.pass(c, sideBackend, held)
		l.buffers.Put(held)
	} else if len(b) > 0 {
		l.pass(c, sideBackend, b)
	}
}
