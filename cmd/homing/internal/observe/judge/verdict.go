package judge

import (
	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// Answer implements flow.Handler. What is learned, and when, is what balancer/learn.go learns.
func (j *Judge) Answer(c *flow.Conn, s *tlsparse.Server, ev tlsparse.Event) {
	st, ok := c.Data.(*conn)
	if !ok {
		return
	}
	j.tick(c)
	switch ev {
	case tlsparse.EventRetry:
		j.hellos.Retries++
		if c.Hellos < 2 { // until the second hello says
			st.client, st.offer.Client = 0, 0
		}
	case tlsparse.EventHello:
		j.serverHello(c, st, s)
	case tlsparse.EventMessage:
		j.judge(c, st, false)
	case tlsparse.EventTicketPart:
		j.judge(c, st, true)
		if !st.ticket {
			st.digest.Reset(st.pool)
			st.ticket = true
		}
		st.digest.Write(s.TicketPart())
	case tlsparse.EventTicket:
		j.judge(c, st, true)
	case tlsparse.EventChangeCipherSpec:
		j.judge(c, st, true)
		j.ticketIssued(st, s)
		j.serverFinished(c, st)
	case tlsparse.EventNone, tlsparse.EventAlert, tlsparse.EventOpaque, tlsparse.EventInvalid, tlsparse.EventExcess:
	}
}

// answered reports whether the hello that the ServerHello answers was read; see balancer/secondhello.go.
func answered(c *flow.Conn, st *conn) bool { return !c.Retried || c.Hellos > 1 && !st.unread }

// serverHello reads the TLS 1.3 verdict, or notes what the ServerHello of an older version says.
func (j *Judge) serverHello(c *flow.Conn, st *conn, s *tlsparse.Server) {
	st.version = s.Version()
	if st.service == nil {
		st.service = j.serviceOf(c.Server)
		j.pairs.answered(j, st)
	}
	if st.version < versionTLS13 {
		if id := s.SessionID(); len(id) > 0 {
			if k := st.pool.HashID(id); k != st.sessionID {
				st.issued = k
			}
		}
		return
	}
	i, accepted := s.PSKAccepted()
	read := answered(c, st)
	switch {
	case st.offer.Kind != affinity.OfferPSK:
		st.full = true
		j.verdict(c, st, VerdictRefused, 0)
	case accepted && (i < st.psks || !read):
		j.verdict(c, st, VerdictAccepted, i)
	case read && (accepted || st.psks == 0): // of identities that we did not see, or for want of any
		j.verdict(c, st, VerdictUnknown, 0)
	default:
		st.full = true
		j.verdict(c, st, VerdictRefused, 0)
	}
}

// judge sees the first message behind a TLS <= 1.2 ServerHello: a server that resumes goes on with ChangeCipherSpec or
// NewSessionTicket.
func (j *Judge) judge(c *flow.Conn, st *conn, resumes bool) {
	if st.version == 0 || st.version >= versionTLS13 || st.judged {
		return
	}
	st.judged = true
	st.full = !resumes
	switch {
	case resumes && st.offer.Kind == affinity.OfferPSK, resumes && st.offer.Kind == affinity.OfferNone:
		j.verdict(c, st, VerdictUnknown, 0) // by what stood beside it
	case resumes:
		j.verdict(c, st, VerdictAccepted, 0)
	default:
		j.verdict(c, st, VerdictRefused, 0)
	}
}

// verdict counts the handshake, and teaches what the verdict proves. selected is the index of the accepted identity. A
// full handshake without an offer comes here too.
func (j *Judge) verdict(c *flow.Conn, st *conn, v Verdict, selected int) {
	if st.verdict != VerdictNone {
		return
	}
	st.verdict = v
	j.count(c, st)
	if st.service == nil || st.offer.Kind == affinity.OfferNone || c.Retried && !answered(c, st) {
		return
	}
	id := st.service.id
	switch v {
	case VerdictAccepted:
		switch st.offer.Kind {
		case affinity.OfferPSK:
			if selected < st.offer.N {
				st.pool.Accepted(&st.offer, selected, true, id, j.now)
			}
		case affinity.OfferTicket:
			st.pool.Accepted(&st.offer, affinity.SelTicket, false, id, j.now)
		case affinity.OfferID:
			st.pool.Accepted(&st.offer, affinity.SelID, false, id, j.now)
		case affinity.OfferNone:
		}
	case VerdictRefused:
		if (st.version >= versionTLS13) == (st.offer.Kind == affinity.OfferPSK) {
			st.pool.Refused(&st.offer, st.home.Source, id, j.now)
		}
	case VerdictNone, VerdictUnknown:
	}
}

// ticketIssued learns the NewSessionTicket that came before the server's ChangeCipherSpec. An empty one withdraws the
// promise of a ticket (RFC 5077, Section 3.3).
func (j *Judge) ticketIssued(st *conn, s *tlsparse.Server) {
	if st.ticket && s.TicketLen() > 0 && st.service != nil {
		t := st.digest.Ident()
		st.pool.IssuedTicket(t, s.TicketLifetime(), st.service.id, j.now)
		st.service.hint = s.TicketLifetime()
		j.born(t.Exact)
		j.inherit(st, t.Exact)
		j.keys.issued(st, t, j.now)
	}
	st.ticket = false
}

// serverFinished is the server's ChangeCipherSpec. In a full handshake the client's Finished has come before it.
func (j *Judge) serverFinished(c *flow.Conn, st *conn) {
	if !st.full || st.service == nil {
		return
	}
	j.lookAtCertificate(c, st)
	if st.issued != 0 {
		st.pool.IssuedID(st.issued, st.service.id, j.now)
		j.born(st.issued)
		j.inherit(st, st.issued)
	}
	j.completed(c, st)
}

// Replied implements flow.Handler.
func (j *Judge) Replied(c *flow.Conn) {
	if st, ok := c.Data.(*conn); ok && st.service != nil {
		j.tick(c)
		j.completed(c, st)
	}
}

// completed is a handshake that both sides have ended.
func (j *Judge) completed(c *flow.Conn, st *conn) {
	st.pool.Completed(st.client, st.service.id, j.now)
	j.clients.completed(st.client, j.now)
	j.finish(c, st)
}

// finish weighs the server's flight, once, when all of it is there. Then there is nothing left to tell of the conn, however
// long it goes on.
func (j *Judge) finish(c *flow.Conn, st *conn) {
	if st.row == nil || c.Flight == 0 {
		return
	}
	st.row.weigh(st, c)
	c.Data = nil
}
