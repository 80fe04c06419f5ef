package tlscore

import (
	"bytes"
	"crypto/tls"
	"slices"
)

// offeredHello is what matters of a ClientHello, RFC 5246 section 7.4.1.2.
type offeredHello struct {
	random    []byte
	sessionID []byte
	suites    []uint16
	groups    []uint16
	schemes   []uint16
	extended  bool
	secure    bool
	better    bool // it offers tickets or TLS 1.3
}

// emptyRenegotiationInfo is a cipher suite that stands for the extension, RFC 5746 section 3.3.
const emptyRenegotiationInfo = 0x00ff

func parseClientHello(body []byte) (*offeredHello, error) {
	r, h := reader{b: body}, &offeredHello{}
	version := r.uint16()
	h.random = bytes.Clone(r.bytes(32))
	h.sessionID = bytes.Clone(r.vector8())
	suites := reader{b: r.vector16()}
	h.suites = suites.list16()
	compression := r.vector8()
	if len(r.b) > 0 && !r.extensions(h.extension) {
		return nil, malformed("ClientHello")
	}
	switch {
	case !r.whole() || suites.bad || len(h.sessionID) > 32:
		return nil, malformed("ClientHello")
	case h.better:
	case version < tls.VersionTLS12:
		return nil, fail(alertProtocolVersion, "the client offers %s at most", tls.VersionName(version))
	case !slices.Contains(compression, 0):
		return nil, fail(alertIllegalParameter, "the client wants compression")
	case !slices.Contains(h.groups, uint16(tls.X25519)) && !slices.Contains(h.groups, uint16(tls.CurveP256)):
		return nil, fail(alertHandshakeFailure, "the client offers neither X25519 nor P-256")
	}
	h.secure = h.secure || slices.Contains(h.suites, emptyRenegotiationInfo)
	return h, nil
}

func (h *offeredHello) extension(id uint16, ext *reader) {
	switch id {
	case extensionSessionTicket:
		h.better = true
		ext.b = nil
	case extensionSupportedVersions:
		versions := reader{b: ext.vector8()}
		h.better = h.better || slices.Contains(versions.list16(), tls.VersionTLS13)
		ext.bad = ext.bad || versions.bad
	case extensionGroups:
		groups := reader{b: ext.vector16()}
		h.groups = groups.list16()
		ext.bad = ext.bad || groups.bad
	case extensionSignatures:
		schemes := reader{b: ext.vector16()}
		h.schemes = schemes.list16()
		ext.bad = ext.bad || schemes.bad
	case extensionExtendedMaster:
		h.extended = true
	case extensionRenegotiation:
		h.secure = len(ext.vector8()) == 0
	default:
		ext.b = nil
	}
	if len(ext.b) > 0 {
		ext.bad = true
	}
}

// list16 reads 16-bit numbers to the end.
func (r *reader) list16() []uint16 {
	var list []uint16
	for len(r.b) > 0 && !r.bad {
		list = append(list, r.uint16())
	}
	return list
}
