package tlsparse

// What a shapeOf value speaks of; they are mixed in so that a cipher suite and
// an extension of one number count as two things.
const (
	shapeVersion   = 1 << 16
	shapeSuite     = 2 << 16
	shapeExtension = 3 << 16
)

// shapeOf hashes one element of a hello. A hello's shape is the sum over its
// elements, so that it does not depend on their order: browsers shuffle theirs.
// The mix is the finalizer of splitmix64. It needs no secret: a client that
// builds a collision is taken for another program at its own address.
func shapeOf(kind uint64, v uint16) uint64 {
	x := (kind | uint64(v)) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// isGREASE reports whether v is one of the sixteen values that clients draw at
// random (RFC 8701, Section 2): 0x0a0a, 0x1a1a, to 0xfafa.
func isGREASE(v uint16) bool {
	return v&0x0f0f == 0x0a0a && v>>8 == v&0xff
}

// isStable reports whether an extension is there in fresh and in resuming
// hellos alike.
func isStable(typ uint16) bool {
	switch typ {
	case extensionPadding, // fills up to a length
		extensionSessionTicket, // rustls leaves it away beside a PSK
		extensionPreSharedKey,
		extensionEarlyData,
		extensionCookie, // only after HelloRetryRequest
		extensionPSKModes:
		return false
	}
	return !isGREASE(typ)
}
