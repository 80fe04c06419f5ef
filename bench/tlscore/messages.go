package tlscore

import (
	"bytes"
	"compress/zlib"
	"crypto/tls"
	"io"
	"time"
)

// serverHello is RFC 5246 section 7.4.1.3 and RFC 9846 section 4.1.3: what matters of it.
type serverHello struct {
	version   uint16 // selected, by whichever field says it
	random    []byte
	sessionID []byte
	suite     uint16

	// TLS 1.2
	extended bool   // the master secret is an extended one
	ticket   bool   // a NewSessionTicket will come
	secure   bool   // renegotiation_info came
	renegRaw []byte // what it says, empty in a first handshake
	alpn     string

	// TLS 1.3
	group    tls.CurveID
	share    []byte
	hasPSK   bool
	identity uint16
	cookie   []byte

	unasked uint16 // an extension that was not offered
	foreign bool   // there is one
}

// retryRandom is the random of a HelloRetryRequest, RFC 9846 section 4.1.3.
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// retry reports whether it is a HelloRetryRequest.
func (s *serverHello) retry() bool {
	return s.version == tls.VersionTLS13 && string(s.random) == retryRandom
}

func parseServerHello(body []byte) (*serverHello, error) {
	r := reader{b: body}
	s := &serverHello{version: r.uint16()}
	s.random = bytes.Clone(r.bytes(32))
	s.sessionID = bytes.Clone(r.vector8())
	s.suite = r.uint16()
	compression := r.uint8()
	retry := string(s.random) == retryRandom
	if len(r.b) > 0 { // RFC 5246 section 7.4.1.2: no extensions may mean no field
		if !r.extensions(func(id uint16, ext *reader) { s.extension(id, ext, retry) }) {
			return nil, malformed("ServerHello")
		}
	}
	switch {
	case !r.whole() || len(s.sessionID) > 32:
		return nil, malformed("ServerHello")
	case compression != 0:
		return nil, fail(alertIllegalParameter, "the server selected compression %d", compression)
	case s.foreign:
		return nil, fail(alertUnsupportedExtension, "the server answers extension %d, which was not offered", s.unasked)
	}
	return s, nil
}

func (s *serverHello) extension(id uint16, ext *reader, retry bool) {
	switch id {
	case extensionSupportedVersions:
		s.version = ext.uint16()
	case extensionKeyShare:
		s.group = tls.CurveID(ext.uint16())
		if !retry {
			s.share = bytes.Clone(ext.vector16())
		}
	case extensionPreSharedKey:
		s.hasPSK, s.identity = true, ext.uint16()
	case extensionCookie:
		s.cookie = bytes.Clone(ext.vector16())
	case extensionExtendedMaster:
		s.extended = true
	case extensionSessionTicket:
		s.ticket = true
	case extensionRenegotiation:
		s.secure, s.renegRaw = true, bytes.Clone(ext.vector8())
	case extensionALPN:
		s.alpn = selectedProtocol(ext)
	case extensionServerName, extensionPointFormats, extensionStatusRequest, extensionSCT, extensionEncryptThenMAC,
		extensionRecordSizeLimit, extensionDelegated:
		ext.b = nil // nothing in them is needed
	default:
		s.unasked, s.foreign = id, true
	}
	if len(ext.b) > 0 {
		ext.bad = true
	}
}

// selectedProtocol reads the answer to ALPN: a list of exactly one name, RFC 7301 section 3.1.
func selectedProtocol(ext *reader) string {
	list := reader{b: ext.vector16()}
	name := list.vector8()
	if !list.whole() || len(name) == 0 {
		ext.bad = true
	}
	return string(name)
}

// encryptedExtensions is RFC 9846 section 4.4.1.
type encryptedExtensions struct {
	alpn  string
	early bool
}

func parseEncryptedExtensions(body []byte) (*encryptedExtensions, error) {
	r, e := reader{b: body}, &encryptedExtensions{}
	ok := r.extensions(func(id uint16, ext *reader) {
		switch id {
		case extensionALPN:
			e.alpn = selectedProtocol(ext)
		case extensionEarlyData:
			e.early = true
		default:
			ext.b = nil // nothing in them is needed
		}
		if len(ext.b) > 0 {
			ext.bad = true
		}
	})
	if !ok || !r.whole() {
		return nil, malformed("EncryptedExtensions")
	}
	return e, nil
}

// parseCertificates returns the certificates of a Certificate message, each in DER and leaf first: RFC 5246 section
// 7.4.2, RFC 9846 section 4.5.1.
func parseCertificates(body []byte, modern bool) ([][]byte, error) {
	r := reader{b: body}
	if modern && len(r.vector8()) > 0 { // the context, which is for client certificates
		return nil, malformed("Certificate")
	}
	list := reader{b: r.vector24()}
	var chain [][]byte
	for len(list.b) > 0 && !list.bad {
		chain = append(chain, bytes.Clone(list.vector24()))
		if modern && !list.extensions(func(_ uint16, ext *reader) { ext.b = nil }) {
			return nil, malformed("Certificate")
		}
	}
	if !r.whole() || list.bad || len(chain) == 0 {
		return nil, malformed("Certificate")
	}
	return chain, nil
}

// zlibCertificates is the one algorithm of RFC 8879 section 3 that the standard library has.
const zlibCertificates = 1

// decompress returns the body of the Certificate message that is in a CompressedCertificate, RFC 8879 section 4.
func decompress(body []byte) ([]byte, error) {
	r := reader{b: body}
	algorithm, size := r.uint16(), r.bytes(3)
	packed := r.vector24()
	n := int(size[0])<<16 | int(size[1])<<8 | int(size[2])
	if !r.whole() || algorithm != zlibCertificates || n > maxMessage {
		return nil, malformed("CompressedCertificate")
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fail(alertBadCertificate, "unpack certificate: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, int64(n)+1))
	if err != nil || len(plain) != n {
		return nil, fail(alertBadCertificate, "unpack certificate: %d of %d bytes, error %w", len(plain), n, err)
	}
	return plain, nil
}

// parseSignature is the end of a ServerKeyExchange, and a CertificateVerify.
func parseSignature(r *reader) (scheme tls.SignatureScheme, signature []byte) {
	return tls.SignatureScheme(r.uint16()), bytes.Clone(r.vector16())
}

// keyExchange is RFC 8422 section 5.4.
type keyExchange struct {
	group     tls.CurveID
	share     []byte
	params    []byte // what the signature is over, behind the randoms
	scheme    tls.SignatureScheme
	signature []byte
}

func parseKeyExchange(body []byte) (*keyExchange, error) {
	r, k := reader{b: body}, &keyExchange{}
	const namedCurve = 3
	curveType := r.uint8()
	k.group = tls.CurveID(r.uint16())
	k.share = bytes.Clone(r.vector8())
	k.params = bytes.Clone(body[:len(body)-len(r.b)])
	k.scheme, k.signature = parseSignature(&r)
	if !r.whole() || curveType != namedCurve {
		return nil, malformed("ServerKeyExchange")
	}
	return k, nil
}

// ticket12 is a NewSessionTicket of TLS 1.2, RFC 5077 section 3.3.
type ticket12 struct {
	lifetime time.Duration // 0: unspecified
	ticket   []byte
}

func parseTicket12(body []byte) (*ticket12, error) {
	r := reader{b: body}
	t := &ticket12{lifetime: time.Duration(r.uint32()) * time.Second}
	t.ticket = bytes.Clone(r.vector16())
	if !r.whole() {
		return nil, malformed("NewSessionTicket")
	}
	return t, nil
}

// ticket13 is a NewSessionTicket of TLS 1.3, RFC 9846 section 4.7.1.
type ticket13 struct {
	lifetime      time.Duration
	ageAdd        uint32
	nonce, ticket []byte
	early         uint32
}

func parseTicket13(body []byte) (*ticket13, error) {
	r, t := reader{b: body}, &ticket13{}
	t.lifetime = time.Duration(r.uint32()) * time.Second
	t.ageAdd = r.uint32()
	t.nonce = bytes.Clone(r.vector8())
	t.ticket = bytes.Clone(r.vector16())
	ok := r.extensions(func(id uint16, ext *reader) {
		if id == extensionEarlyData {
			t.early = ext.uint32()
		} else {
			ext.b = nil // none is known
		}
		if len(ext.b) > 0 {
			ext.bad = true
		}
	})
	if !ok || !r.whole() || len(t.ticket) == 0 {
		return nil, malformed("NewSessionTicket")
	}
	return t, nil
}
