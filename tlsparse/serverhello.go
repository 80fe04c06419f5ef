package tlsparse

// maxServerHello bounds a ServerHello's body, in bytes. They have about 120,
// and 1.2 kB with a post-quantum key share.
const maxServerHello = 64 << 10

// MaxAnswer bounds what is read of a server's answer in clear, in bytes of record
// headers, messages and alerts. Nothing that a client takes comes near: the longest
// certificate chain is 100 KiB for OpenSSL and BoringSSL, 256 KiB for Go.
const MaxAnswer = 512 << 10

// maxField is the longest field that is gathered, in bytes: the fixed part of a
// ServerHello, version, random and a length; or a session ID, a cipher suite
// and a compression method.
const maxField = 35

// helloRetryRandom is the random of a HelloRetryRequest, the SHA-256 of its name
// (RFC 9846, Section 4.2.3).
const helloRetryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// A step is the field that a Server reads now.
type step uint8

const (
	stepHeader        step = iota // a message header
	stepSkip                      // a message body of no use
	stepHello                     // ServerHello up to the length of the session ID
	stepHelloRest                 // session ID, cipher suite, compression method
	stepExtensions                // length of the extension block
	stepExtension                 // type and length of an extension
	stepExtensionData             // the body of an extension of use
	stepExtensionSkip             // the body of another
	stepTicket                    // NewSessionTicket up to the length of the ticket
	stepTicketBytes               // the ticket
	stepTicketEnd                 // nothing: EventTicket is due
)

// readHandshake reads on in a handshake record. On entry at least one byte of
// its body is here.
func (s *Server) readHandshake(in *cursor) Event {
	if s.step == stepTicketBytes {
		s.part = s.take(in, s.want)
		s.want -= uint32(len(s.part))
		if s.want == 0 {
			s.step = stepTicketEnd
		}
		return EventTicketPart
	}
	if s.step == stepSkip || s.step == stepExtensionSkip {
		s.want -= uint32(len(s.take(in, s.want)))
		if s.want > 0 {
			return EventNone
		}
		return s.fieldDone()
	}
	b := cursor(s.take(in, s.want-uint32(s.have)))
	s.have = b.fill(s.field[:], s.have)
	if uint32(s.have) < s.want {
		return EventNone
	}
	return s.fieldDone()
}

// expect makes the message's next n bytes the field of step st. n is above 0,
// and at most maxField for a step that gathers.
func (s *Server) expect(st step, n uint32) Event {
	if n > s.body {
		return s.end(EventInvalid)
	}
	s.body -= n
	s.step, s.have, s.want = st, 0, n
	return EventNone
}

// betweenMessages reports whether the last message is complete and no byte of
// another has come.
func (s *Server) betweenMessages() bool { return s.step == stepHeader && s.have == 0 }

// endMessage has the next field be a message header.
func (s *Server) endMessage() {
	s.step, s.have, s.want, s.body = stepHeader, 0, messageHeaderLen, 0
}

// fieldDone reads the field that is complete and chooses the next one.
func (s *Server) fieldDone() Event {
	f := cursor(s.field[:s.have])
	switch s.step {
	case stepHeader:
		return s.readHeader(f)
	case stepHello:
		return s.readHello(f)
	case stepHelloRest:
		return s.readHelloRest(f)
	case stepExtensions:
		return s.readExtensions(f)
	case stepExtension:
		return s.readExtension(f)
	case stepExtensionData:
		return s.readExtensionData(f)
	case stepExtensionSkip:
		return s.nextExtension()
	case stepTicket:
		return s.readTicket(f)
	case stepSkip:
		s.endMessage()
		return EventNone
	case stepTicketBytes, stepTicketEnd:
	}
	panic("tlsparse: no field in this step")
}

// readHeader reads a message header (RFC 9846, Section 4; RFC 5246, Section 7.4).
func (s *Server) readHeader(f cursor) Event {
	if !f.readUint8(&s.message) || !f.readUint24(&s.body) {
		return s.end(EventInvalid)
	}
	s.have = 0
	if ev := s.say(messageHeaderLen + s.body); ev != EventNone {
		return ev
	}
	switch {
	case s.message == messageHelloRequest:
		// RFC 5246, Section 7.4.1.1: may come at any time, is no part of the
		// handshake, and has no body.
		if s.body > 0 {
			return s.end(EventInvalid)
		}
		return EventNone
	case !s.greeted:
		if s.message != messageServerHello || s.body > maxServerHello {
			return s.end(EventInvalid)
		}
		return s.expect(stepHello, maxField)
	case s.message == messageServerHello:
		return s.end(EventInvalid)
	case s.message == messageNewSessionTicket:
		// RFC 5077, Section 3.3: one, right before the ChangeCipherSpec; and one is what
		// servers send.
		if s.ticketed {
			return s.end(EventExcess)
		}
		s.ticketed = true
		return s.expect(stepTicket, 6)
	}
	if s.body > 0 {
		s.expect(stepSkip, s.body)
	}
	return EventMessage
}

// readHello reads the fixed part of a ServerHello (RFC 9846, Section 4.2.3; RFC
// 5246, Section 7.4.1.3).
func (s *Server) readHello(f cursor) Event {
	var random []byte
	if !f.readUint16(&s.legacy) || s.legacy>>8 != recordMajor ||
		!f.readBytes(&random, 32) ||
		!f.readUint8(&s.sessionIDLen) || s.sessionIDLen > maxSessionID {
		s.sessionIDLen = 0
		return s.end(EventInvalid)
	}
	s.retryRandom = string(random) == helloRetryRandom
	s.seen, s.selected, s.identity = 0, 0, 0
	// With the ID: cipher_suite and legacy_compression_method.
	return s.expect(stepHelloRest, uint32(s.sessionIDLen)+3)
}

func (s *Server) readHelloRest(f cursor) Event {
	f.fill(s.sessionID[:s.sessionIDLen], 0)
	if s.body == 0 {
		return s.helloDone() // no extensions (RFC 5246, Section 7.4.1.3)
	}
	return s.expect(stepExtensions, 2)
}

func (s *Server) readExtensions(f cursor) Event {
	var n uint16
	if !f.readUint16(&n) || uint32(n) != s.body {
		return s.end(EventInvalid)
	}
	return s.nextExtension()
}

// nextExtension goes on behind an extension.
func (s *Server) nextExtension() Event {
	if s.body == 0 {
		return s.helloDone()
	}
	return s.expect(stepExtension, 4)
}

// saw reports whether the hello has an extension of a type below 64.
func (s *Server) saw(typ uint16) bool { return s.seen&(1<<typ) != 0 }

// readExtension reads the header of an extension. No type may come twice (RFC
// 9846, Section 4.3); that is watched for types below 64, among which are all
// that are read.
func (s *Server) readExtension(f cursor) Event {
	var n uint16
	if !f.readUint16(&s.extension) || !f.readUint16(&n) {
		return s.end(EventInvalid)
	}
	if s.extension < 64 {
		if s.saw(s.extension) {
			return s.end(EventInvalid)
		}
		s.seen |= 1 << s.extension
	}
	switch s.extension {
	case extensionSupportedVersions, extensionPreSharedKey:
		if n != 2 {
			return s.end(EventInvalid)
		}
		return s.expect(stepExtensionData, 2)
	case extensionSessionTicket:
		// RFC 5077, Section 3.2: the server's is empty.
		if n != 0 {
			return s.end(EventInvalid)
		}
	}
	if n == 0 {
		return s.nextExtension()
	}
	return s.expect(stepExtensionSkip, uint32(n))
}

func (s *Server) readExtensionData(f cursor) Event {
	ok := false
	switch s.extension {
	case extensionSupportedVersions:
		// RFC 9846, Section 4.3.1: never below TLS 1.3. Above are its drafts.
		ok = f.readUint16(&s.selected) && s.selected >= versionTLS13
	case extensionPreSharedKey:
		ok = f.readUint16(&s.identity) // RFC 9846, Section 4.3.11
	}
	if !ok {
		return s.end(EventInvalid)
	}
	return s.nextExtension()
}

// helloDone ends a ServerHello or HelloRetryRequest. After a retry both must be
// of TLS 1.3, and there is only one (RFC 9846, Section 4.2.4).
func (s *Server) helloDone() Event {
	s.endMessage()
	tls13 := s.selected >= versionTLS13
	switch {
	case !tls13 && (s.legacy > versionTLS12 || s.retryRandom || s.retried),
		s.retryRandom && s.retried:
		return s.end(EventInvalid)
	case s.retryRandom:
		s.retried = true
		return EventRetry
	}
	s.greeted = true
	if tls13 {
		s.final = EventOpaque // all that follows is encrypted
	}
	return EventHello
}

// readTicket reads a NewSessionTicket up to the ticket (RFC 5077, Section 3.3).
func (s *Server) readTicket(f cursor) Event {
	if !f.readUint32(&s.lifetime) || !f.readUint16(&s.ticketLen) || uint32(s.ticketLen) != s.body {
		return s.end(EventInvalid)
	}
	if s.ticketLen == 0 {
		s.endMessage()
		return EventTicket
	}
	return s.expect(stepTicketBytes, s.body)
}
