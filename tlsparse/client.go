package tlsparse

// A Status is the answer of the client side.
type Status uint8

const (
	// NeedMore says that all bytes so far are a strict prefix of something
	// that may become a ClientHello.
	NeedMore Status = iota
	// Got says that a whole ClientHello is there.
	Got
	// Opaque says that the stream does not begin with a TLS ClientHello. It is
	// no error: SSLv2 hellos and all other protocols end here.
	Opaque
	// Invalid says that the stream began as TLS and broke its rules or our limits.
	Invalid
)

const (
	// MaxHelloLimit is the highest limit there is for a ClientHello, in bytes, with
	// its header of four. Post-quantum hellos have 1.8 kB; tickets that hold a chain
	// of client certificates make it 20 to 60 (JSSE, ML-DSA).
	MaxHelloLimit = 64 << 10

	// DefaultHelloLimit is the limit when none is given.
	DefaultHelloLimit = MaxHelloLimit
)

// A Client finds one ClientHello in a stream. Only the framing is incremental:
// records are followed to the message's last byte, each looked at once however
// often Next is called. The zero Client is not ready; call Reset first.
//
// A hello of n bytes is accepted in at most 6n+160 bytes of stream: one-byte
// records and 32 empty ones.
type Client struct {
	// Invariant: stream[:off] is done and off is in a record's body when
	// left > 0, else at a record's header.
	off  uint32 // bytes of the stream already followed
	rec  uint32 // offset of the header of the record in which the hello begins
	left uint32 // unread bytes of the current record's body

	limit   uint32 // of the message, header included, in bytes
	size    uint32 // of the message, header included; valid when header is 4
	need    uint32 // unread bytes of the message; valid when header is 4
	skipped uint32 // bytes of records before the second hello

	header uint8 // bytes of the message header read, 0 to 4
	empty  uint8 // empty handshake records so far
	status Status

	second  bool // this is the hello after HelloRetryRequest
	begun   bool // a handshake record was seen: from here on no other is allowed
	spans   bool // the message lies in more than one record
	over    bool // the message is longer than the limit: as much of it is waited for
	sslv2   bool
	tooLong bool
}

// Reset makes c ready for a new stream. limit bounds the handshake message with
// its header, in bytes; 0 means DefaultHelloLimit, and values above
// MaxHelloLimit mean MaxHelloLimit.
func (c *Client) Reset(limit int) {
	switch {
	case limit <= 0:
		limit = DefaultHelloLimit
	case limit > MaxHelloLimit:
		limit = MaxHelloLimit
	}
	*c = Client{limit: uint32(limit)}
}

// ResetSecond makes c ready for the hello that answers a HelloRetryRequest, in
// the stream behind the first hello, which must be at a record's beginning: see
// EndsRecord. ChangeCipherSpec records and refused early data before it are
// skipped, as long as they are no longer than the limit together. (RFC 9846,
// Sections 5 and 4.3.10)
func (c *Client) ResetSecond(limit int) {
	c.Reset(limit)
	c.second = true
}

// SSLv2 reports whether Opaque was an SSLv2-style hello: the length with its
// high bit set comes first, and such a record is shorter than 256 bytes
// (RFC 5246, Appendix E.2).
func (c *Client) SSLv2() bool { return c.sslv2 }

// TooLong reports whether Invalid came from the limit. Of a first hello that is
// said once as many bytes of it as the limit are there, for ParsePart.
func (c *Client) TooLong() bool { return c.tooLong }

// End returns, after Got, the offset just behind the hello's last byte. The
// record may go on behind it.
func (c *Client) End() int { return int(c.off) }

// EndsRecord reports, after Got, whether the hello's last byte is its record's
// last one too.
func (c *Client) EndsRecord() bool { return c.left == 0 }

// Discard returns how many bytes at the beginning of the stream are of records
// passed over before a second hello, and takes them for gone: the stream of the
// next call begins behind them. It is 0 once the hello has begun.
func (c *Client) Discard() int {
	if c.begun {
		return 0
	}
	n := c.off
	c.off = 0
	return int(n)
}

// Next looks for the hello in stream, which holds every byte from the
// connection's first on (after ResetSecond: from behind the first hello; see
// Discard) and has only grown since the last call. All answers but NeedMore are
// final.
func (c *Client) Next(stream []byte) Status {
	if c.status != NeedMore {
		return c.status
	}
	in, ok := cursorAt(stream, int(c.off))
	if !ok {
		return NeedMore // the stream has shrunk: nothing new is in it
	}
	for more := true; more; {
		if c.left == 0 {
			more = c.beginRecord(&in)
		} else {
			more = c.readBody(&in)
		}
		c.off = uint32(len(stream) - len(in))
	}
	return c.status
}

// end makes s the final answer. It returns false, for its callers' "go on".
func (c *Client) end(s Status) bool {
	c.status = s
	return false
}

// endTooLong is end(Invalid) because of the limit.
func (c *Client) endTooLong() bool {
	c.tooLong = true
	return c.end(Invalid)
}

// beginRecord reads a record header. On entry c.off is the header's offset and
// in begins there. One and only one of these will happen:
//
//   - the header is whole and permitted: c.left is set, and true is returned;
//   - what there is of it is permitted: nothing is consumed, false;
//   - it is not permitted: c.status is final, false.
//
// Each byte is judged before the next one is asked for, so that the answer
// depends on the bytes alone and not on how many of them came at once.
func (c *Client) beginRecord(in *cursor) bool {
	var h recordHeader
	fields := in.readRecordHeader(&h)
	if fields >= 1 && !c.typeAllowed(h.typ) {
		if c.begun {
			return c.end(Invalid)
		}
		// No TLS record has type 0x80, and an SSLv2 hello shorter than 256
		// bytes begins with it (RFC 5246, Appendix E.2).
		c.sslv2 = h.typ == 0x80 && !c.second
		return c.end(Opaque)
	}
	if fields >= 2 && h.major != recordMajor {
		if c.begun {
			return c.end(Invalid)
		}
		return c.end(Opaque)
	}
	if fields < 3 {
		return false
	}
	c.left = uint32(h.length)
	if h.typ != recordHandshake {
		return c.beginForeign(h)
	}
	return c.beginHandshake(h)
}

func (c *Client) typeAllowed(typ uint8) bool {
	switch typ {
	case recordHandshake:
		return true
	case recordChangeCipherSpec, recordApplicationData:
		return c.second && !c.begun
	}
	return false
}

// beginForeign begins a record that is passed over before the second hello:
// the ChangeCipherSpec of middlebox compatibility, or early data that the
// server refused by its HelloRetryRequest.
func (c *Client) beginForeign(h recordHeader) bool {
	if h.typ == recordChangeCipherSpec && h.length != 1 || h.length > maxCiphertext {
		return c.end(Invalid)
	}
	c.skipped += recordHeaderLen + uint32(h.length)
	if c.skipped > c.limit {
		return c.endTooLong()
	}
	return true
}

func (c *Client) beginHandshake(h recordHeader) bool {
	c.begun = true
	switch {
	case h.length > maxPlaintext:
		return c.end(Invalid)
	case h.length == 0:
		c.empty++
		if c.empty > maxEmptyRecords {
			return c.end(Invalid)
		}
	case c.header == 0:
		c.rec = c.off
	default:
		c.spans = true
	}
	return true
}

// readBody moves on in the current record's body, of which c.left bytes, one at
// least, are to come. It reports whether it moved and the hello is not whole.
func (c *Client) readBody(in *cursor) bool {
	if c.begun && c.header < messageHeaderLen {
		var b uint8
		if !in.readUint8(&b) {
			return false
		}
		c.left--
		return c.readHeaderByte(b)
	}
	n := c.left
	if c.begun {
		n = min(n, c.need)
	}
	n = uint32(len(in.readUpTo(int(n))))
	c.left -= n
	if c.begun {
		if c.need -= n; c.need == 0 && c.over {
			return c.endTooLong()
		}
		if c.need == 0 {
			return c.end(Got)
		}
	}
	return n > 0
}

// readHeaderByte takes the next byte of the message header: a type and a length
// of three bytes (RFC 9846, Section 4).
func (c *Client) readHeaderByte(b uint8) bool {
	c.header++
	if c.header == 1 {
		if b != messageClientHello {
			return c.end(Opaque) // a TLS server speaks, or nobody does
		}
		return true
	}
	c.size = c.size<<8 | uint32(b)
	if c.header < messageHeaderLen {
		return true
	}
	c.need = c.size
	c.size += messageHeaderLen
	if c.size > c.limit {
		if c.second || c.limit <= messageHeaderLen {
			return c.endTooLong()
		}
		c.over = true
		c.need = c.limit - messageHeaderLen
	}
	if c.need == 0 {
		return c.end(Got) // and Parse will not like it
	}
	return true
}

// Parse parses the hello that Next has found in stream. scratch, of the limit's
// size, is written only when the hello lies in more than one record; h's slices
// alias one of the two and are good as long as both are left alone. The answer
// is Got, or Invalid, which leaves h empty. Before Got from Next, and with a
// scratch that is too small, it is Invalid.
func (c *Client) Parse(stream, scratch []byte, h *Hello) Status {
	msg, ok := c.message(stream, scratch)
	if !ok || !h.unmarshal(msg) {
		h.reset()
		return Invalid
	}
	return Got
}

// ParsePart reads what the begin of a hello says of where it wants to go, when the
// whole is too long, or its records are so many that nobody waits for the whole. It
// reports whether the server name is in that part and the part is well-formed; then h
// has the name and, if it is there too, ALPN, and nothing of what is offered to
// resume. Otherwise h is empty. scratch, of the limit's size, is written.
//
// A second server_name behind the part is not seen. RFC 9846, Section 4.3 has servers
// reject it.
func (c *Client) ParsePart(stream, scratch []byte, h *Hello) bool {
	msg := c.part(stream, scratch)
	if !h.unmarshalPart(msg, int(c.size)) {
		h.reset()
		return false
	}
	return true
}

// part returns the begin of a message that is not there as a whole, in one piece.
func (c *Client) part(stream, scratch []byte) []byte {
	in, ok := cursorAt(stream, int(c.rec))
	if !ok || c.second || c.header < messageHeaderLen || c.status != NeedMore && !c.tooLong {
		return nil
	}
	out, have := cursor(scratch), 0
	msg := out.readUpTo(int(min(c.limit, c.size)))
	for have < len(msg) {
		var h recordHeader
		if in.readRecordHeader(&h) != 3 {
			break
		}
		have += copy(msg[have:], in.readUpTo(int(h.length)))
	}
	return (*cursor)(&msg).readUpTo(have)
}

// message returns the whole message, its header included, in one piece.
func (c *Client) message(stream, scratch []byte) (msg []byte, ok bool) {
	in, ok := cursorAt(stream, int(c.rec))
	if !ok || c.status != Got {
		return nil, false
	}
	if !c.spans {
		ok = in.skip(recordHeaderLen) && in.readBytes(&msg, int(c.size))
		return msg, ok
	}
	out := cursor(scratch)
	if !out.readBytes(&msg, int(c.size)) {
		return nil, false
	}
	for have := 0; have < len(msg); {
		var h recordHeader
		if in.readRecordHeader(&h) != 3 {
			return nil, false
		}
		have += copy(msg[have:], in.readUpTo(int(h.length)))
	}
	return msg, true
}
