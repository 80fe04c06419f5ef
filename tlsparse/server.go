package tlsparse

// A Server reads a server's answer from its first byte on, each chunk once, and
// keeps none. The zero Server is not ready; call Reset first.
//
// The stream is taken apart in three layers, each with a count of what is left
// of it: records, handshake messages in them, fields in those. A field is
// gathered in an array of ours, wherever it was cut, and then read in one piece.
type Server struct {
	// Record layer.
	record     [recordHeaderLen]byte // the header, as far as it has come
	haveRecord uint8
	begun      bool   // a whole record header was read
	typ        uint8  // of the current record
	left       uint16 // unread bytes of its body
	empty      uint8  // empty handshake records in a row

	// Handshake layer.
	step    step
	message uint8 // type of the current message
	have    uint8 // bytes in field
	field   [maxField]byte
	want    uint32 // bytes of the current field: to have in all, or still to skip
	body    uint32 // bytes of the message behind the current field

	said     uint32 // bytes read or announced, see MaxAnswer
	ticketed bool   // a NewSessionTicket has begun

	final Event // EventOpaque, EventInvalid or EventExcess, once that is so

	// The ServerHello.
	seen         uint64 // extension types below 64 that were seen, one bit each
	extension    uint16 // type of the current one
	legacy       uint16 // legacy_version
	selected     uint16 // supported_versions, 0 without
	identity     uint16 // pre_shared_key
	sessionID    [maxSessionID]byte
	sessionIDLen uint8
	retryRandom  bool // it has the random of a HelloRetryRequest
	retried      bool // a HelloRetryRequest was read
	greeted      bool // the ServerHello was read

	// Other results.
	haveAlert uint8
	alert     [2]byte
	ticketLen uint16
	lifetime  uint32
	part      []byte // aliases the chunk, only until Next returns to its caller's
}

// Reset makes s ready for a new stream.
func (s *Server) Reset() {
	*s = Server{}
	s.endMessage()
}

// Version returns the version that the ServerHello selects: 0x0300 to 0x0304.
func (s *Server) Version() uint16 {
	if s.selected != 0 {
		return s.selected // RFC 9846, Section 4.3.1
	}
	return s.legacy
}

// SessionID returns the ServerHello's session_id. It is valid until Reset.
func (s *Server) SessionID() []byte { return s.sessionID[:s.sessionIDLen] }

// PSKAccepted returns the index of the identity by which a TLS 1.3 server
// resumes, counted in the client's latest hello, and reports whether it does.
func (s *Server) PSKAccepted() (index int, ok bool) {
	return int(s.identity), s.selected >= versionTLS13 && s.saw(extensionPreSharedKey)
}

// TicketPart returns, after EventTicketPart, a piece of a ticket. It aliases the
// chunk that Next was given.
func (s *Server) TicketPart() []byte { return s.part }

// TicketLifetime returns the lifetime hint of the latest NewSessionTicket, in
// seconds; 0 means unspecified (RFC 5077, Section 3.3).
func (s *Server) TicketLifetime() uint32 { return s.lifetime }

// TicketLen returns the length of the latest NewSessionTicket's ticket, in bytes.
func (s *Server) TicketLen() int { return int(s.ticketLen) }

// Alert returns the latest alert (RFC 5246, Section 7.2).
func (s *Server) Alert() (level, description uint8) { return s.alert[0], s.alert[1] }

// Next reads on in the stream with its next bytes, up to the first event. It
// returns how many of them it consumed and what they say. The caller goes on
// with the rest until EventNone, which means that all were consumed, or until
// one of the final events: EventOpaque, EventInvalid, EventExcess.
func (s *Server) Next(b []byte) (n int, ev Event) {
	in := cursor(b)
	s.part = nil
	if s.step == stepTicketEnd {
		s.endMessage()
		return 0, EventTicket
	}
	for ev = s.final; ev == EventNone && !in.empty(); {
		switch {
		case s.left == 0:
			ev = s.beginRecord(&in)
		case s.typ == recordHandshake:
			ev = s.readHandshake(&in)
		case s.typ == recordAlert:
			ev = s.readAlert(&in)
		default:
			ev = s.readChangeCipherSpec(&in)
		}
	}
	return len(b) - len(in), ev
}

// end makes ev the answer from now on.
func (s *Server) end(ev Event) Event {
	s.final = ev
	return ev
}

// say counts n bytes, up to 2^24, of the answer.
func (s *Server) say(n uint32) Event {
	if s.said += n; s.said > MaxAnswer {
		return s.end(EventExcess)
	}
	return EventNone
}

// beginRecord reads a record header, or what has come of it. One and only one
// of these will happen:
//
//   - it is whole and permitted: s.left is set;
//   - what there is of it is permitted: it is kept, and the chunk is empty;
//   - it is not permitted: the answer is final.
func (s *Server) beginRecord(in *cursor) Event {
	s.haveRecord = in.fill(s.record[:], s.haveRecord)
	var h recordHeader
	header := cursor(s.record[:s.haveRecord])
	fields := header.readRecordHeader(&h)
	if fields >= 1 && !s.typeAllowed(h.typ) || fields >= 2 && h.major != recordMajor {
		if !s.begun {
			return s.end(EventOpaque)
		}
		return s.end(EventInvalid)
	}
	if fields < 3 {
		return EventNone
	}
	s.begun = true
	s.haveRecord = 0
	s.typ, s.left = h.typ, h.length
	if !s.lengthAllowed() {
		return s.end(EventInvalid)
	}
	return s.say(recordHeaderLen)
}

// typeAllowed reports whether a record of the type may come now. Application
// data never may: it is behind the point where the stream goes opaque.
func (s *Server) typeAllowed(typ uint8) bool {
	switch typ {
	case recordHandshake, recordAlert:
		return true
	case recordChangeCipherSpec:
		return s.begun
	}
	return false
}

func (s *Server) lengthAllowed() bool {
	switch s.typ {
	case recordAlert:
		return s.left == 2 // RFC 9846, Section 5.1: not fragmented, not coalesced
	case recordChangeCipherSpec:
		return s.left == 1 // RFC 5246, Section 7.1
	}
	if s.left > 0 {
		s.empty = 0
		return s.left <= maxPlaintext
	}
	s.empty++
	return s.empty <= maxEmptyRecords
}

// take consumes up to n bytes of the current record's body.
func (s *Server) take(in *cursor, n uint32) []byte {
	b := in.readUpTo(int(min(n, uint32(s.left))))
	s.left -= uint16(len(b))
	return b
}

func (s *Server) readAlert(in *cursor) Event {
	b := cursor(s.take(in, uint32(len(s.alert))))
	s.haveAlert = b.fill(s.alert[:], s.haveAlert)
	if s.left > 0 {
		return EventNone
	}
	s.haveAlert = 0
	if ev := s.say(uint32(len(s.alert))); ev != EventNone {
		return ev
	}
	return EventAlert
}

// readChangeCipherSpec reads the one byte of a ChangeCipherSpec. On entry it is
// there. A server may send one between its HelloRetryRequest and its ServerHello
// (RFC 9846, Section 5), which means nothing, and otherwise only after the last
// plaintext message of TLS <= 1.2 (RFC 5246, Section 7.1).
func (s *Server) readChangeCipherSpec(in *cursor) Event {
	b := cursor(s.take(in, 1))
	var v uint8
	if !b.readUint8(&v) || v != 1 || !s.betweenMessages() || !s.greeted && !s.retried {
		return s.end(EventInvalid)
	}
	if !s.greeted {
		return EventNone
	}
	s.final = EventOpaque
	return EventChangeCipherSpec
}
