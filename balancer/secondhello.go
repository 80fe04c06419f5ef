//go:build linux

package balancer

import (
	"homing/balancer/affinity"
	"homing/tlsparse"
)

// secondHello is the reading of the hello that answers a HelloRetryRequest, however the client sends it: behind
// ChangeCipherSpec or early data, in pieces, or before it was asked for.
type secondHello struct {
	progress secondProgress
	parser   tlsparse.Client
	stream   []byte // pool buffer: what has come behind the first hello, without the records passed over
}

type secondProgress uint8

const (
	secondNone   secondProgress = iota // nothing has come behind the first hello
	secondPart                         // something has: it may become one
	secondWhole                        // it is in stream
	secondRead                         // the handshake's offer, client and name are its
	secondUnread                       // it cannot be read: nothing is known of it, for good
)

// maxSecond is how much of a second hello is kept until it is whole, in bytes, with the headers of its records. Those
// of clients have 0.3 to 2 kB, and a longer one is not learned from: it is no reason to hold memory for a client that a
// backend waits for.
const maxSecond = 16 << 10

// helloAnswered reports whether the hello that the server's ServerHello answers was read. It is the second one after a
// HelloRetryRequest, always: a client may put into the first one whatever it likes, and all that is learned speaks of
// what was answered.
func (hs *handshake) helloAnswered() bool {
	return !hs.tooLate || hs.again.progress == secondRead
}

// followHello looks for a second hello in b, which the client has sent behind the first one and what was looked at
// before. To be called until the ServerHello comes.
func (l *loop) followHello(c *conn, b []byte) {
	s := &c.hs.again
	if s.progress == secondNone {
		s.progress = secondPart
		if !c.hs.parser.EndsRecord() {
			s.progress = secondUnread // what is left of the record may be more of the handshake to a server, or an error
		}
		s.parser.ResetSecond(c.lane.cfg.HelloLimit)
	}
	if s.progress != secondPart {
		return
	}
	ok := true
	if len(s.stream) > 0 {
		s.stream, ok = l.buffers.Append(s.stream, b)
		b = s.stream
	}
	switch status := s.parser.Next(b); {
	case !ok || status == tlsparse.Opaque || status == tlsparse.Invalid:
		l.endSecond(c, secondUnread)
	case status == tlsparse.NeedMore:
		l.keepSecond(c, b[s.parser.Discard():])
	case c.hs.tooLate:
		l.readSecond(c, b)
	default:
		s.progress = secondWhole
		l.keepSecond(c, b[:s.parser.End()])
	}
}

// keepSecond keeps what is not looked at for the last time. Memory that is short is for others: what cannot be kept is
// not read.
func (l *loop) keepSecond(c *conn, b []byte) {
	s := &c.hs.again
	ok := true
	if len(s.stream) > 0 {
		s.stream = s.stream[:copy(s.stream, b)]
	} else if len(b) > 0 {
		s.stream, ok = l.buffers.Append(s.stream, b)
	}
	if !ok || len(s.stream) > maxSecond || len(s.stream) > 0 && l.buffers.Over() {
		l.endSecond(c, secondUnread)
	}
}

// readSecond makes the second hello, which ends stream, the one that the server answers: the identities that it accepts
// or refuses are its, the name and the client that complete the handshake too. Pool and backend are chosen, and stay.
func (l *loop) readSecond(c *conn, stream []byte) {
	hs, h := c.hs, &l.hello
	if hs.again.parser.Parse(stream, l.scratch, h) != tlsparse.Got || h.ManyNames || h.NoHostName {
		l.endSecond(c, secondUnread)
		return
	}
	if hs.offer.Kind == affinity.OfferPSK {
		hs.psks, hs.offer.N = h.PSKCount(), 0
		if h.HasPSK {
			o := offerOf(c.lane.known, h, 0)
			hs.offer.Idents, hs.offer.N = o.Idents, o.N
		}
		hs.offer.RefreshOnly = hs.offer.RefreshOnly || l.mayHide(c, h)
	}
	hs.early = h.EarlyData
	l.noteClient(c, h)
	l.endSecond(c, secondRead)
}

// endSecond ends the reading of the second hello.
func (l *loop) endSecond(c *conn, s secondProgress) {
	again := &c.hs.again
	again.progress = s
	l.buffers.Put(again.stream)
	again.stream = nil
}
