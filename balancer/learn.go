//go:build linux

package balancer

import (
	"homing/balancer/affinity"
	"homing/tlsparse"
)

// Wire values of RFC 9846 and RFC 5246.
const (
	versionTLS13 = 0x0304
	alertFatal   = 2
)

// read takes the verdict and the issues out of a chunk of the backend's answer and reports whether the rest of the
// stream cannot be read.
func (l *loop) read(c *conn, b []byte) (opaque bool) {
	hs := c.hs
	for {
		n, ev := hs.server.Next(b)
		b = b[n:]
		switch ev {
		case tlsparse.EventNone:
			return false
		case tlsparse.EventOpaque, tlsparse.EventInvalid:
			return true
		case tlsparse.EventExcess:
			inc(&c.lane.share.count.Excess)
			return true
		case tlsparse.EventRetry:
			l.retryRequested(c)
		case tlsparse.EventHello:
			l.serverHello(c)
		case tlsparse.EventMessage:
			l.judge(c, false)
		case tlsparse.EventTicketPart:
			l.judge(c, true)
			if !hs.ticket {
				hs.digest.Reset(c.lane.known)
				hs.ticket = true
			}
			hs.digest.Write(hs.server.TicketPart())
		case tlsparse.EventTicket:
			l.judge(c, true)
		case tlsparse.EventChangeCipherSpec:
			l.judge(c, true)
			l.ticketIssued(c)
			l.serverFinished(c)
		case tlsparse.EventAlert:
			if level, desc := hs.server.Alert(); level == alertFatal {
				hs.alerted, hs.alert = true, desc
			}
		}
	}
}

// retryRequested commits the conn to its backend: the client will answer this backend's cookie and key share choice.
// The verdict comes with the second ServerHello, which answers the second hello.
func (l *loop) retryRequested(c *conn) {
	hs := c.hs
	if hs.stash.used() {
		hs.verdict = VerdictUnknown // another backend's answer is there: this one never reaches the client
		return
	}
	hs.tooLate = true
	c.name, hs.client, hs.offer.Client = 0, 0, 0 // until the second hello says
	if hs.again.progress == secondWhole {
		l.readSecond(c, hs.again.stream)
	}
}

// serverHello reads the TLS 1.3 verdict, or notes what the ServerHello of an older version says; its verdict comes with
// the next message.
func (l *loop) serverHello(c *conn) {
	hs := c.hs
	hs.hellos++
	if hs.charged && hs.mends {
		l.gained(c)
	}
	if hs.server.Version() >= versionTLS13 {
		hs.negotiated13 = true
		i, accepted := hs.server.PSKAccepted()
		switch read := hs.helloAnswered(); {
		case hs.offer.Kind != affinity.OfferPSK:
			if hs.offered() {
				l.verdict(c, VerdictRefused, 0)
			}
		case accepted && (i < hs.psks || !read):
			l.verdict(c, VerdictAccepted, i)
		case read && (accepted || hs.psks == 0):
			// Of identities that we did not see, or for want of any.
			l.verdict(c, VerdictUnknown, 0)
		default:
			l.verdict(c, VerdictRefused, 0)
		}
		return
	}
	if id := hs.server.SessionID(); len(id) > 0 {
		if k := c.lane.known.HashID(id); k != hs.sessionID {
			hs.issued = k
		}
	}
}

// judge sees the first message behind a TLS <= 1.2 ServerHello: a server that resumes goes on with ChangeCipherSpec or
// NewSessionTicket, any other message belongs to a full handshake. The echo of the session_id proves nothing.
func (l *loop) judge(c *conn, resumes bool) {
	hs := c.hs
	if hs.hellos == 0 || hs.judged {
		return
	}
	hs.judged = true
	hs.full = !resumes
	if hs.offer.Kind == affinity.OfferNone {
		return
	}
	switch {
	case resumes && hs.offer.Kind == affinity.OfferPSK:
		// By an ID or ticket that stood beside the PSK: not what was offered.
		l.verdict(c, VerdictUnknown, 0)
	case resumes:
		l.verdict(c, VerdictAccepted, 0)
	case hs.offered():
		l.verdict(c, VerdictRefused, 0)
	}
}

// verdict notes the verdict and teaches affinity. selected is the index of the accepted TLS 1.3 identity.
func (l *loop) verdict(c *conn, v Verdict, selected int) {
	hs := c.hs
	if hs.verdict != VerdictNone {
		return
	}
	hs.verdict = v
	switch v {
	case VerdictAccepted:
		hs.lost = LostNone
		l.guessedRight(c)
		l.offerAccepted(c, selected)
	case VerdictRefused:
		l.offerRefused(c)
	case VerdictNone, VerdictUnknown:
	}
	if !hs.holding {
		l.countVerdict(c)
	}
}

// offerAccepted teaches what the server has accepted. No client can bring that about without a session of this backend:
// TLS 1.3 servers open the identity and check its binder first (RFC 9846, Section 4.3.11), and the index is taken in
// the hello that was answered.
func (l *loop) offerAccepted(c *conn, selected int) {
	hs := c.hs
	known, id := c.lane.known, uint32(c.backend.ID)
	c.lane.share.claims.Proved(hs.offer.Network, c.backend, l.unix)
	switch hs.offer.Kind {
	case affinity.OfferPSK:
		if hs.helloAnswered() && selected < hs.offer.N {
			known.Accepted(&hs.offer, selected, true, id, l.unix)
		}
	case affinity.OfferTicket:
		known.Accepted(&hs.offer, affinity.SelTicket, false, id, l.unix)
	case affinity.OfferID:
		known.Accepted(&hs.offer, affinity.SelID, false, id, l.unix)
	case affinity.OfferNone:
	}
}

// offerRefused teaches that the server made a full handshake of the offer. Any client can have that, with junk: Refused
// removes nothing for it.
func (l *loop) offerRefused(c *conn) {
	hs := c.hs
	known, id := c.lane.known, uint32(c.backend.ID)
	// With real ECH the verdict may speak of a PSK that only the server sees: it refreshes what is known, and says
	// nothing against it.
	hidden := hs.offer.RefreshOnly
	if hs.lost == LostNone {
		hs.lost = lostOf(known.Lost(&hs.offer, hs.home, id, l.unix))
		if hidden {
			hs.lost = LostECH
		}
	}
	if !hidden && hs.helloAnswered() && hs.negotiated13 == (hs.offer.Kind == affinity.OfferPSK) {
		known.Refused(&hs.offer, hs.source, id, l.unix)
	}
}

// ticketIssued learns the NewSessionTicket that came before the server's ChangeCipherSpec: one per handshake, see
// tlsparse.EventExcess. An empty one withdraws the promise of a ticket (RFC 5077, Section 3.3).
func (l *loop) ticketIssued(c *conn) {
	hs := c.hs
	if hs.ticket && hs.server.TicketLen() > 0 {
		known := c.lane.known
		known.IssuedTicket(hs.digest.Ident(), hs.server.TicketLifetime(), uint32(c.backend.ID), l.unix)
		inc(&c.lane.share.count.IssuedTickets)
	}
	hs.ticket = false
}

// serverFinished is the server's ChangeCipherSpec. In a full handshake the client's Finished has come before it: the
// handshake is complete, and the session ID it issued is good. In a resumption the client's is still to come. That a
// client goes through with it teaches its own home and name, nothing else of its choice.
func (l *loop) serverFinished(c *conn) {
	hs := c.hs
	hs.changed = true
	if !hs.full {
		return
	}
	c.handshakeDue = 0
	known, id := c.lane.known, uint32(c.backend.ID)
	if hs.issued != 0 {
		known.IssuedID(hs.issued, id, l.unix)
		inc(&c.lane.share.count.IssuedIDs)
	}
	known.Completed(hs.client, id, l.unix)
	c.lane.pool.Names().Completed(c.name)
	c.mark = markCompleted
}
