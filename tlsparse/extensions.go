package tlsparse

// Extension types (the IANA registry "TLS ExtensionType Values").
const (
	extensionServerName           = 0
	extensionALPN                 = 16
	extensionPadding              = 21
	extensionSessionTicket        = 35
	extensionPreSharedKey         = 41
	extensionEarlyData            = 42
	extensionSupportedVersions    = 43
	extensionCookie               = 44
	extensionPSKModes             = 45
	extensionKeyShare             = 51
	extensionEncryptedClientHello = 0xfe0d
)

const (
	versionTLS12 = 0x0303
	versionTLS13 = 0x0304

	nameTypeHostName = 0

	// maxServerName is the longest host name kept, in bytes: DNS allows 253
	// characters and a dot, and OpenSSL takes no more than 255 either.
	maxServerName = 255
)

// readExtensions reads the extension block. Extensions that we have no use for
// are skipped unread.
func (h *Hello) readExtensions(extensions cursor) bool {
	for !extensions.empty() {
		var typ uint16
		var data cursor
		if !extensions.readUint16(&typ) || !extensions.readVector16(&data) {
			return false
		}
		// RFC 9846, Section 4.3: no more than one of a type.
		if !h.seen.add(typ) {
			return false
		}
		if isStable(typ) {
			h.Shape += shapeOf(shapeExtension, typ)
		}

		ok := true
		switch typ {
		case extensionServerName:
			ok = h.readServerName(data)
		case extensionALPN:
			ok = h.readALPN(data)
		case extensionSessionTicket:
			// RFC 5077, Section 3.2: the ticket is all of it.
			h.HasTicket = true
			h.Ticket = data
		case extensionSupportedVersions:
			ok = h.readSupportedVersions(data)
		case extensionEarlyData:
			// RFC 9846, Section 4.3.10
			h.EarlyData = true
			ok = data.empty()
		case extensionKeyShare:
			// RFC 9846, Section 4.3.8
			if list := data; list.readVector16(&data) {
				h.KeyShares = data
			}
		case extensionEncryptedClientHello:
			// RFC 9849, Section 5
			h.ECH = true
		case extensionPreSharedKey:
			// RFC 9846, Section 4.3.11: must be the last extension.
			ok = extensions.empty() && h.readPreSharedKey(data)
		}
		if !ok {
			return false
		}
	}
	return true
}

// readServerName reads the server_name extension (RFC 6066, Section 3). Names of
// other types than host_name, of which there are none, are skipped.
func (h *Hello) readServerName(data cursor) bool {
	var list cursor
	if !data.readVector16(&list) || !data.empty() || list.empty() {
		return false
	}
	names := 0
	for !list.empty() {
		var typ uint8
		var name cursor
		if !list.readUint8(&typ) || !list.readVector16(&name) || name.empty() {
			return false
		}
		if typ != nameTypeHostName {
			continue
		}
		names++
		h.setServerName(name)
	}
	// RFC 6066 forbids several names of a type. Servers that take them all the
	// same do not agree on which one counts.
	if names > 1 {
		h.nameLen = 0
		h.ManyNames, h.NoHostName = true, false
	}
	return true
}

// setServerName keeps a host name, or none when it is not one to go by. Only
// ASCII letters are folded (RFC 6066, Section 3: host names are ASCII, and are
// compared without case); other bytes stay, and then match no configured name.
func (h *Hello) setServerName(name []byte) {
	h.nameLen = copy(h.name[:], name)
	if h.nameLen < len(name) {
		h.nameLen = 0
		h.NoHostName = true
		return
	}
	// RFC 6066 wants the name without a trailing dot. Servers that take one
	// cut it.
	if h.name[h.nameLen-1] == '.' {
		h.nameLen--
		h.NoHostName = h.nameLen == 0
	}
	for i, b := range h.ServerName() {
		if 'A' <= b && b <= 'Z' {
			h.name[i] = b + ('a' - 'A')
		}
	}
}

// readALPN reads the application_layer_protocol_negotiation extension (RFC 7301,
// Section 3.1).
func (h *Hello) readALPN(data cursor) bool {
	var list cursor
	if !data.readVector16(&list) || !data.empty() || list.empty() {
		return false
	}
	h.ALPN = list
	for !list.empty() {
		var proto cursor
		if !list.readVector8(&proto) || proto.empty() {
			return false
		}
	}
	return true
}

// readSupportedVersions reads the supported_versions extension (RFC 9846,
// Section 4.3.1).
func (h *Hello) readSupportedVersions(data cursor) bool {
	var list cursor
	if !data.readVector8(&list) || !data.empty() || list.empty() {
		return false
	}
	for !list.empty() {
		var version uint16
		if !list.readUint16(&version) {
			return false
		}
		if version == versionTLS13 {
			h.TLS13 = true
		}
	}
	return true
}

// readPreSharedKey reads the pre_shared_key extension (RFC 9846, Section 4.3.11):
// identities, and as many binders.
func (h *Hello) readPreSharedKey(data cursor) bool {
	var identities, binders cursor
	if !data.readVector16(&identities) || identities.empty() ||
		!data.readVector16(&binders) || !data.empty() {
		return false
	}
	h.HasPSK = true
	for !identities.empty() {
		var identity cursor
		if !identities.readVector16(&identity) || identity.empty() ||
			!identities.skip(4) { // obfuscated_ticket_age
			return false
		}
		if h.nPSKs < MaxPSK {
			h.psks[h.nPSKs] = identity
		}
		h.nPSKs++
	}
	n := 0
	for ; !binders.empty(); n++ {
		var binder cursor
		if !binders.readVector8(&binder) || binder.empty() {
			return false
		}
	}
	return n == h.nPSKs
}

// An extensionSet is a set of extension types: a bitmap, because a hello of
// 64 KiB has room for 16,384 extensions, and comparing each with each would be
// work that a client gets for nothing. Between hellos it is empty.
type extensionSet [1 << 16 / 64]uint64

// add reports whether typ was not in the set.
func (s *extensionSet) add(typ uint16) bool {
	bit := uint64(1) << (typ % 64)
	if s[typ/64]&bit != 0 {
		return false
	}
	s[typ/64] |= bit
	return true
}

// removeAll takes the types of an extension block out of the set. A block that
// is malformed somewhere was not added beyond that place either.
func (s *extensionSet) removeAll(extensions cursor) {
	var typ uint16
	var data cursor
	for extensions.readUint16(&typ) && extensions.readVector16(&data) {
		s[typ/64] &^= uint64(1) << (typ % 64)
	}
}
