package flow

import (
	"homing/balancer/proxyheader"
	"homing/tlsparse"
)

const (
	// maxClient is what is kept of what a client sends before the server's ServerHello, in bytes: a PROXY header, a hello in
	// records of one byte (tlsparse: 6n+160 for n of 16 KiB, half as much again of its length for longer ones), early data
	// that is refused and a second hello.
	maxClient = proxyheader.Max + 96<<10 + 1<<10 + tlsparse.MaxHelloLimit + 16<<10
	// maxFirst is what is kept of the first hello with its records, as a balancer keeps.
	maxFirst = 96<<10 + 1<<10
	// maxWaiting is what is kept of a server's answer while the hello that it answers is not whole, in bytes.
	maxWaiting = maxAhead
)

// Wire values of RFC 9846 and RFC 5246.
const (
	versionTLS13 = 0x0304

	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23

	recordHeaderLen     = 5
	changeCipherSpecLen = recordHeaderLen + 1
)

// handshake is what a conn needs until it is settled. The assembler lends it.
type handshake struct {
	halves [2]half
	queued bool // the library knows of the conn
	held   int  // bytes, as counted in Assembler.held

	headed  bool // the stream does not begin with a PROXY header, or it was read
	head    int  // offset behind it
	parser  tlsparse.Client
	answers int // offset behind the latest hello

	second secondProgress
	again  tlsparse.Client

	server  tlsparse.Server
	fed     int // offset in the server's stream
	flight  int // where its first flight begins
	greeted bool
	resumes bool // TLS <= 1.2: no message of a full handshake came behind the ServerHello
	judged  bool // the message behind the ServerHello was seen
	early   bool // the latest hello announces early data
	untimed bool // a round trip is not to be measured: a packet of the TCP handshake came twice, or it is measured
}

// secondProgress follows the hello that answers a HelloRetryRequest.
type secondProgress uint8

const (
	secondNone   secondProgress = iota // not asked for yet
	secondWaited                       // asked for
	secondRead                         // told
	secondUnread                       // it cannot be read, for good
)

func (hs *handshake) reset() {
	for i := range hs.halves {
		hs.halves[i].reset()
	}
	halves := hs.halves
	*hs = handshake{halves: halves}
	hs.parser.Reset(0)
	hs.server.Reset()
}

// clientDone says whether nothing that the client sends from here on is to be read.
func (c *Conn) clientDone() bool {
	hs := c.hs
	return c.Hellos > 0 && (hs.second == secondUnread || hs.greeted || hs.second == secondRead)
}

// read reads on in both streams, as far as they have come, and tells what they say. The server's waits for the hello that it
// answers: a mirror may deliver the two out of order.
func (a *Assembler) read(c *Conn) {
	for c.stage == stageYoung {
		switch hs := c.hs; {
		case c.Hellos == 0:
			if !a.readHello(c) {
				return
			}
		case hs.second == secondWaited:
			if !a.readSecond(c) {
				return
			}
		default:
			if !a.readAnswer(c) {
				return
			}
		}
	}
}

// readHello reads the first hello. It reports whether it was told.
func (a *Assembler) readHello(c *Conn) bool {
	hs := c.hs
	stream := hs.halves[client].stream
	if !hs.headed && !a.readHeader(c, stream) {
		return false
	}
	stream = stream[hs.head:]
	switch status := hs.parser.Next(stream); status {
	case tlsparse.NeedMore:
		if len(stream) <= maxFirst {
			return false
		}
		a.notTLS(c, tlsparse.Invalid)
	case tlsparse.Got:
		if hs.parser.Parse(stream, a.scratch, &a.hello) != tlsparse.Got {
			a.notTLS(c, tlsparse.Invalid)
			return false
		}
		hs.answers = hs.head + hs.parser.End()
		a.tellHello(c, hs.parser.End())
		return true
	case tlsparse.Opaque, tlsparse.Invalid:
		a.notTLS(c, status)
	}
	return false
}

// readHeader looks for a PROXY header. It reports whether the hello is to be looked for behind. There is no mistaking one for
// the other, so it needs no setting; whom to believe is the server's matter, which answers.
func (a *Assembler) readHeader(c *Conn, stream []byte) bool {
	hs := c.hs
	if len(stream) == 0 {
		return false
	}
	n, h, status := proxyheader.Read(stream)
	switch status {
	case proxyheader.NeedMore:
		return false
	case proxyheader.Got:
		hs.head = n
		if h.Client.IsValid() {
			c.Client, c.Front = h.Client, h.Local
		}
	case proxyheader.Invalid:
	}
	hs.headed = true
	return true
}

// readSecond reads the hello that answers a HelloRetryRequest, behind a ChangeCipherSpec and early data that was refused. It
// reports whether it was told, or will never be.
func (a *Assembler) readSecond(c *Conn) bool {
	hs := c.hs
	stream := hs.halves[client].stream[hs.head+hs.parser.End():]
	if !hs.parser.EndsRecord() {
		hs.second = secondUnread // what is left of the record may be more of the handshake to a server, or an error
		return true
	}
	switch hs.again.Next(stream) {
	case tlsparse.NeedMore:
		if len(hs.halves[client].stream) <= maxClient {
			return false
		}
	case tlsparse.Got:
		if hs.again.Parse(stream, a.scratch, &a.hello) == tlsparse.Got {
			hs.second = secondRead
			hs.answers = hs.head + hs.parser.End() + hs.again.End()
			a.tellHello(c, hs.again.End()-skipped(stream))
			return true
		}
	case tlsparse.Opaque, tlsparse.Invalid:
	}
	hs.second = secondUnread
	return true
}

// skipped is the length of the records before the first of the handshake.
func skipped(b []byte) (n int) {
	for len(b)-n >= recordHeaderLen && b[n] != recordHandshake {
		n += recordHeaderLen + int(b[n+3])<<8 + int(b[n+4])
	}
	return n
}

func (a *Assembler) tellHello(c *Conn, size int) {
	c.Hellos++
	c.hs.early = a.hello.EarlyData
	a.cfg.Handler.Hello(c, &a.hello, size)
}

func (a *Assembler) notTLS(c *Conn, status tlsparse.Status) {
	a.cfg.Handler.NotTLS(c, status)
	a.settle(c)
}

// readAnswer reads on in the server's stream up to its next event. It reports whether there was one.
func (a *Assembler) readAnswer(c *Conn) bool {
	hs := c.hs
	if hs.fed < len(hs.halves[server].stream) && a.dec.pieces.doubtful(c, a.now) {
		a.close(c, EndGap)
		return false
	}
	n, ev := hs.server.Next(hs.halves[server].stream[hs.fed:])
	hs.fed += n
	if ev == tlsparse.EventNone {
		return false
	}
	switch ev {
	case tlsparse.EventRetry:
		c.Retried = true
		if hs.second == secondNone {
			hs.second = secondWaited
		}
		hs.again.ResetSecond(0)
		hs.flight = hs.fed
		c.Flight = 0
	case tlsparse.EventHello:
		hs.greeted = true
	case tlsparse.EventMessage, tlsparse.EventTicketPart, tlsparse.EventTicket, tlsparse.EventChangeCipherSpec:
		if hs.greeted && !hs.judged {
			hs.judged, hs.resumes = true, ev != tlsparse.EventMessage
		}
	case tlsparse.EventNone, tlsparse.EventAlert, tlsparse.EventOpaque, tlsparse.EventInvalid, tlsparse.EventExcess:
	}
	c.Said = hs.halves[server].stream[:hs.fed]
	a.cfg.Handler.Answer(c, &hs.server, ev)
	c.Said = nil
	if ev == tlsparse.EventOpaque || ev == tlsparse.EventInvalid || ev == tlsparse.EventExcess {
		a.settle(c)
	}
	return true
}

// settle ends the reading of a handshake: nothing more is kept of the conn.
func (a *Assembler) settle(c *Conn) {
	hs := c.hs
	c.Settled = true
	c.fins = [2]bool{hs.halves[client].fin >= 0, hs.halves[server].fin >= 0}
	c.greeted = hs.greeted
	if hs.greeted && !hs.early && (hs.server.Version() >= versionTLS13 || hs.resumes) {
		c.follow = followClient
	}
	mine, other := &hs.halves[client], &hs.halves[server]
	c.flightAt, c.darkAt = other.begin+uint32(hs.flight), other.begin+uint32(hs.fed)
	c.answersAt = mine.begin + uint32(hs.answers)
	c.lateAck = c.answersAt
	if b := mine.stream[hs.answers:]; c.follow == followClient && len(b) > 0 {
		a.clientReplied(c, c.answersAt, other.begin+uint32(other.acked), b) // it came before what it answers
	}
	a.giveHandshake(c)
	a.move(c, stageDark)
}
