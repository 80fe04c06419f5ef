//go:build linux

package balancer

import (
	"homing/balancer/internal/netio"
	"homing/tlsparse"
)

const (
	// bulkyRuns chunks of at least bulkyBytes, 128 KiB, make a flow bulky: it is spliced from then on. Before that,
	// setting a pipe up costs more than the copies it saves. A smaller chunk takes two of them back: what a fast source
	// sends comes in pieces of some 64 KiB whose ends fill no buffer, and a flow that is read as fast as it comes would
	// be copied for ever. Half of four flows were, in one run of five, when only full buffers in a row counted: 8.4
	// Gbit/s for 12.
	bulkyRuns  = 8
	bulkyBytes = netio.RecvSize / 2
	smallCosts = 2
	// thinRuns splices in a row that move less than thinBytes make it an ordinary flow again: a splice takes two calls
	// where one recv and one send move as much.
	thinRuns  = 8
	thinBytes = 16 << 10
)

// TLS record types (RFC 9846, Section 5.1).
const (
	recordChangeCipherSpec = 20
	recordApplicationData  = 23
)

// changeCipherSpecLen is the length of a whole ChangeCipherSpec record.
const changeCipherSpecLen = 6

// leastFinished bytes at once from a client whose server has said what it has to say in clear are its Finished, or come
// behind it: a ChangeCipherSpec and an alert are shorter, the Finished of any cipher is longer (RFC 5246, 7.4.9; RFC
// 9846, 4.4.4).
const leastFinished = 32

// becomeRelay ends the reading of the handshake: from here bytes are moved unseen and the conn owns no buffer.
func (l *loop) becomeRelay(c *conn) {
	hs := c.hs
	if hs.readable && !hs.early && hs.hellos > 0 && c.mark == markNone && hs.client != 0 {
		c.client = hs.client
		c.mark = markClient
	}
	if !hs.readable {
		c.mark = markPlain
	}
	if !hs.negotiated13 && !hs.changed {
		c.handshakeDue = 0 // the backend says something else than TLS, or what we do not read
	}
	l.endHandshake(c)
	c.state = stateRelay
	l.setDue(c, l.due(c))
	l.next(c, sideClient)
	l.next(c, sideBackend)
}

// relay moves a received chunk.
func (l *loop) relay(c *conn, from side, done *netio.Completion) {
	switch {
	case done.Errno != 0:
		l.sideFailed(c, from)
		return
	case done.N == 0 && from == sideClient && c.holds():
		l.pass(c, from, l.unheld(c)) // the end is read again behind it
		return
	case done.N == 0:
		l.sideEnded(c, from)
		return
	}
	b := done.Buf
	if c.watched && from == sideClient {
		var ok bool
		if b, ok = l.sift(c, b); !ok {
			return
		}
		if len(b) == 0 {
			l.setDue(c, l.due(c))
			l.next(c, from)
			return
		}
	}
	if from == sideClient && done.N >= leastFinished {
		c.handshakeDue = 0
	}
	if c.mark == markClient || c.mark == markBackend {
		l.follow(c, from, done.Buf)
	}
	f := &c.flows[from]
	if c.mark == markPlain && f.bytes <= plainFirst {
		l.oweAck(c, from)
	}
	switch {
	case done.N < bulkyBytes:
		f.runs -= min(f.runs, smallCosts)
	case !f.is(noSplice):
		if f.runs++; f.runs >= bulkyRuns {
			f.flags |= bulky
			f.thin = 0
		}
	}
	l.pass(c, from, b)
}

// follow watches for the end of a handshake whose last flights are encrypted: the client has sent its Finished, alone
// or behind ChangeCipherSpec, and the backend goes on with a record of application data. A backend that did not like
// the Finished answers with an alert, in clear or not, or closes. Then the client's home is known (rule 3). A client that
// pretends to have finished, amid the backend's flight, gets what it would get by finishing: a home for its own
// address, where it is.
func (l *loop) follow(c *conn, from side, b []byte) {
	switch {
	case c.mark == markClient && from == sideBackend:
		l.eng.Ack(c.socks[sideBackend]) // its flight goes on: see answersOn
	case c.mark == markClient && from == sideClient:
		if tlsparse.FlightOf(b, 0).Open {
			l.eng.Ack(c.socks[sideClient])
		}
		switch {
		case b[0] == recordChangeCipherSpec && len(b) <= changeCipherSpecLen: // the Finished comes
		case b[0] == recordChangeCipherSpec || b[0] == recordApplicationData:
			c.mark = markBackend
		default:
			c.mark = markNone // an alert
		}
	case c.mark == markBackend && from == sideBackend:
		if b[0] == recordApplicationData && tlsparse.MayBeAlert(len(b)) {
			return // if it is none, more follows
		}
		if b[0] == recordApplicationData {
			c.lane.known.Completed(c.client, uint32(c.backend.ID), l.unix)
			c.lane.pool.Names().Completed(c.name)
		}
		c.mark = markCompleted
	}
}

// pass gives b, which side from has sent, to the other side and reads on once it is taken. The conn may be closed by
// it.
func (l *loop) pass(c *conn, from side, b []byte) {
	done, errno := l.eng.Send(c.socks[from.other()], b)
	c.flows[from.other()].flags &^= owesAck // it goes with b
	switch {
	case errno == netio.ErrNoBuffer:
		l.becomeClosing(c, CauseResource, true)
	case errno != 0:
		l.sinkFailed(c, from)
	case done:
		l.next(c, from)
	default:
		c.flows[from].flags |= sending
	}
}

// sent ends a Send that did not end at once.
func (l *loop) sent(c *conn, from side, errno netio.Errno) {
	c.active = l.now
	f := &c.flows[from]
	f.flags &^= sending
	switch {
	case c.state == stateClosing:
		l.linger(c)
	case errno == netio.ErrNoBuffer:
		l.becomeClosing(c, CauseResource, true)
	case errno != 0:
		l.sinkFailed(c, from)
	case f.is(ended):
		l.eng.Shutdown(c.socks[from.other()]) // the FIN came while a hello was sent again
	case from == sideBackend && c.hs != nil && len(c.hs.held) > 0:
		held := c.hs.held
		c.hs.held = nil
		l.pass(c, from, held)
		l.buffers.Put(held)
	default:
		l.next(c, from)
	}
}

// spliced ends a Splice.
func (l *loop) spliced(c *conn, from side, done *netio.Completion) {
	f := &c.flows[from]
	c.active, c.last = l.now, from
	f.bytes += uint64(done.N)
	l.count.spliced.Add(uint64(done.N))
	if from == sideClient {
		l.count.bytesIn.Add(uint64(done.N))
	} else {
		l.count.bytesOut.Add(uint64(done.N))
	}
	c.tallyBytes(from, done.N)
	switch {
	case done.Errno == netio.ErrNoBuffer && done.Sink:
		l.becomeClosing(c, CauseResource, true)
		return
	case done.Errno == netio.ErrNoBuffer:
		f.flags = f.flags&^bulky | noSplice
	case done.Errno != 0 && done.Sink:
		l.sinkFailed(c, from)
		return
	case done.Errno != 0:
		l.sideFailed(c, from)
		return
	case done.N == 0:
		l.sideEnded(c, from)
		return
	case done.N >= thinBytes:
		f.thin = 0
	default:
		if f.thin++; f.thin >= thinRuns {
			f.flags &^= bulky
			f.runs = 0
		}
	}
	l.next(c, from)
}

// sideEnded has got a side's FIN. All that came before it is with the other side, so the FIN may follow; the opposite
// flow goes on.
func (l *loop) sideEnded(c *conn, from side) {
	c.flows[from].flags |= ended
	other := &c.flows[from.other()]
	switch {
	case other.is(ended):
		cause := CauseNormal
		if c.phase(cause) == PhaseAnswer { // whoever closed first has ended it before there was an answer
			cause = causeOf(from.other())
		}
		l.becomeClosing(c, cause, false)
		return
	case other.is(dead): // it closed while the other side was still sending
		l.becomeClosing(c, causeOf(from), false)
		return
	}
	l.eng.Shutdown(c.socks[from.other()])
	l.setDue(c, l.due(c))
}

// sideFailed has met a side's RST. All that came before it has been passed on; nothing more can go to that side.
func (l *loop) sideFailed(c *conn, from side) {
	l.becomeClosing(c, causeOf(from), true)
}

// causeOf is the cause of an end that a side has brought about.
func causeOf(s side) Cause {
	if s == sideBackend {
		return CauseBackend
	}
	return CauseClient
}

// sinkFailed could not give the other side what from has sent: it takes no more. What it has sent itself may still wait
// to be read, and reading it will end in its FIN or RST, which the engine remembers; so only this flow stops.
func (l *loop) sinkFailed(c *conn, from side) {
	c.flows[from].flags |= dead
	if other := &c.flows[from.other()]; other.is(ended) || other.is(dead) {
		l.sideFailed(c, from.other()) // nothing is read any more that could tell
	}
}
