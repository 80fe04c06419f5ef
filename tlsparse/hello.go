package tlsparse

// MaxPSK is the number of PSK identities that a Hello gives access to. Clients
// send one; identities beyond are checked and counted only.
const MaxPSK = 8

// maxSessionID is the longest session ID, in bytes (RFC 5246, Section 7.4.1.2).
const maxSessionID = 32

// A Hello is what one ClientHello says, as far as a balancer can use it. It is
// filled by [Client.Parse] and made to be used again; it is too large (9 kB) to
// be had per connection. Its slices alias the parsed bytes.
type Hello struct {
	// Version is legacy_version: the highest version up to TLS 1.2 that the
	// client speaks.
	Version uint16

	// SessionID is the session_id, nil or 0 to 32 bytes. In a TLS 1.3 hello and
	// beside a ticket it is a throw-away token.
	SessionID []byte

	// Ticket is the body of the session_ticket extension: a TLS <= 1.2 ticket.
	// HasTicket says that the extension is there; empty, it asks for a ticket.
	Ticket    []byte
	HasTicket bool

	// ALPN is the body of the ProtocolNameList, to be walked with NextALPN.
	ALPN []byte

	// KeyShares is the list of the key_share extension, to be walked with
	// NextKeyShare. What is in it is not checked: nobody is routed by it.
	KeyShares []byte

	// TLS13 says that supported_versions has TLS 1.3.
	TLS13 bool
	// EarlyData says that the client goes on sending before the server answers.
	EarlyData bool
	// ECH says that an encrypted_client_hello is there, real or GREASE.
	ECH bool
	// HasPSK says that a pre_shared_key extension is there.
	HasPSK bool
	// ManyNames says that server_name has several host names, and NoHostName that
	// what it has is none: longer than 255 bytes, or only a dot. ServerName is
	// empty then. Of several names nothing else is said.
	ManyNames  bool
	NoHostName bool

	// Shape is a hash of what stays equal between the fresh and the resuming
	// hellos of one client program, in whatever order it is sent.
	Shape uint64

	psks  [MaxPSK][]byte
	nPSKs int

	name    [maxServerName]byte
	nameLen int

	seen extensionSet
}

// reset empties h. The extension set is not touched: it is empty between calls.
func (h *Hello) reset() {
	h.Version = 0
	h.SessionID, h.Ticket, h.ALPN, h.KeyShares = nil, nil, nil, nil
	h.HasTicket, h.TLS13, h.EarlyData, h.ECH, h.HasPSK = false, false, false, false, false
	h.ManyNames, h.NoHostName = false, false
	h.Shape = 0
	h.psks, h.nPSKs = [MaxPSK][]byte{}, 0
	h.nameLen = 0
}

// ServerName returns the host name of the server_name extension in lower case
// and without a trailing dot, empty when there is none. It is 255 bytes at most
// and otherwise what the client sent: not checked to be a name, or printable.
// It is valid until h is used again.
func (h *Hello) ServerName() []byte { return h.name[:h.nameLen] }

// PSKCount returns the number of identities in the pre_shared_key extension.
func (h *Hello) PSKCount() int { return h.nPSKs }

// PSK returns identity i of the pre_shared_key extension, nil for i out of
// range or not below MaxPSK.
func (h *Hello) PSK(i int) []byte {
	if i < 0 || i >= min(h.nPSKs, MaxPSK) {
		return nil
	}
	return h.psks[i]
}

// NextALPN takes the first protocol name off a list, Hello.ALPN or a rest of
// it. It returns nil when there is no further name.
func NextALPN(list []byte) (name, rest []byte) {
	s := cursor(list)
	var proto cursor
	if !s.readVector8(&proto) {
		return nil, nil
	}
	return proto, s
}

// NextKeyShare takes the group of the first share off Hello.KeyShares, or off a
// rest of it (RFC 9846, Section 4.3.8; the IANA registry "TLS Supported Groups").
// ok is false when there is no further share, or what follows is none.
func NextKeyShare(shares []byte) (group uint16, rest []byte, ok bool) {
	s := cursor(shares)
	var share cursor
	if !s.readUint16(&group) || !s.readVector16(&share) {
		return 0, nil, false
	}
	return group, s, true
}

// unmarshal reads a ClientHello with its message header (RFC 9846, Section
// 4.2.2; RFC 5246, Section 7.4.1.2) and reports whether it is well-formed. If
// not, h holds part of it.
func (h *Hello) unmarshal(msg []byte) bool {
	h.reset()
	s := cursor(msg)
	var extensions cursor
	if !h.readHead(&s) {
		return false
	}
	if s.empty() {
		return true // TLS <= 1.2 without extensions (RFC 5246, Section 7.4.1.2)
	}
	if !s.readVector16(&extensions) || !s.empty() {
		return false
	}
	ok := h.readExtensions(extensions)
	h.seen.removeAll(extensions)
	return ok
}

// unmarshalPart reads the begin of a ClientHello of size bytes, its message header
// included, and reports whether it has one server name and is well-formed as far as
// it goes. If not, h holds part of it.
func (h *Hello) unmarshalPart(msg []byte, size int) bool {
	h.reset()
	s := cursor(msg)
	var length uint16
	if !h.readHead(&s) || !s.readUint16(&length) || len(msg)-len(s)+int(length) != size {
		return false
	}
	block := s
	for more := true; more; {
		var typ uint16
		var data cursor
		next := s
		if more = next.readUint16(&typ) && next.readVector16(&data); more {
			s = next
		}
	}
	whole := block.readUpTo(len(block) - len(s))
	ok := h.readExtensions(whole)
	h.seen.removeAll(whole)
	alpn, name := h.ALPN, h.nameLen
	h.reset()
	h.ALPN, h.nameLen = alpn, name
	return ok && name > 0
}

// readHead reads what comes before the extensions.
func (h *Hello) readHead(s *cursor) bool {
	var suites, compression cursor
	if !s.skip(messageHeaderLen) ||
		!s.readUint16(&h.Version) ||
		!s.skip(32) || // random
		!s.readVector8((*cursor)(&h.SessionID)) || len(h.SessionID) > maxSessionID ||
		!s.readVector16(&suites) || suites.empty() ||
		!s.readVector8(&compression) || compression.empty() {
		return false
	}
	h.Shape = shapeOf(shapeVersion, h.Version)
	for !suites.empty() {
		var suite uint16
		if !suites.readUint16(&suite) {
			return false
		}
		if !isGREASE(suite) {
			h.Shape += shapeOf(shapeSuite, suite)
		}
	}
	return true
}
