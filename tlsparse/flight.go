package tlsparse

// Flight is where a chunk of a handshake leaves its sender's flight.
type Flight struct {
	// Open says that the chunk ends where no TLS endpoint ends a flight: within
	// a record, behind a ChangeCipherSpec, which announces a protected message,
	// or behind a handshake message in clear that another must follow.
	Open bool
	// Protected is the number of bytes in records of application data, in which
	// TLS 1.3 hides the rest of its handshake.
	Protected int
}

// FlightOf looks at the records of b, a chunk that begins at the first byte of
// one. done is the type of the handshake message in clear behind which the sender
// waits: ServerHelloDone (RFC 5246, Section 7.3), or 0 for a client, whose flights
// end with a protected message.
//
// A relay that delays its ACKs must not delay that of an open flight, for its
// sender may keep the rest back until it comes (RFC 896).
func FlightOf(b []byte, done uint8) (f Flight) {
	c := cursor(b)
	for changed := false; !c.empty(); {
		var h recordHeader
		var body cursor
		if c.readRecordHeader(&h) < 3 || !c.readBytes((*[]byte)(&body), int(h.length)) {
			f.Open = true
			return f
		}
		switch h.typ {
		case recordChangeCipherSpec:
			f.Open, changed = true, true
		case recordHandshake:
			f.Open = !changed && (done == 0 || lastMessage(body) != done)
		case recordApplicationData:
			f.Protected += int(h.length)
			f.Open = false
		default:
			f.Open = false // an alert ends everything
		}
	}
	return f
}

// MayBeAlert says whether a protected record of so many bytes, its header
// included, may be an alert: header, alert, type and tag, which has half the
// length in the CCM_8 ciphers (RFC 9846, Sections 5.2 and 6). Who sends two bytes
// of data sends as many.
func MayBeAlert(n int) bool {
	const beforeTag = 5 + 2 + 1
	return n == beforeTag+16 || n == beforeTag+8
}

// MessageServerHelloDone ends the first flight of a TLS <= 1.2 server that does
// not resume (RFC 5246, Section 7.4.5).
const MessageServerHelloDone = 14

// lastMessage is the type of the last handshake message that begins in a record's
// body, if the body ends with it; 0 otherwise.
func lastMessage(body cursor) (typ uint8) {
	for !body.empty() {
		var length uint32
		if !body.readUint8(&typ) || !body.readUint24(&length) || !body.skip(int(length)) {
			return 0
		}
	}
	return typ
}
