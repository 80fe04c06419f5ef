package tlscore

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Handshake message types, RFC 5246 section 7.4 and RFC 9846 section 4.
const (
	typeHelloRequest        = 0
	typeClientHello         = 1
	typeServerHello         = 2
	typeNewSessionTicket    = 4
	typeEndOfEarlyData      = 5
	typeEncryptedExtensions = 8
	typeCertificate         = 11
	typeServerKeyExchange   = 12
	typeCertificateRequest  = 13
	typeServerHelloDone     = 14
	typeCertificateVerify   = 15
	typeClientKeyExchange   = 16
	typeFinished            = 20
	typeCertificateStatus   = 22
	typeKeyUpdate           = 24
	typeCompressedCert      = 25  // RFC 8879 section 4
	typeMessageHash         = 254 // stands for the first hello in a transcript with HelloRetryRequest
)

// Extensions of the hellos.
const (
	extensionServerName        = 0      // RFC 6066 section 3
	extensionStatusRequest     = 5      // RFC 6066 section 8
	extensionGroups            = 10     // RFC 8422 section 5.1.1
	extensionPointFormats      = 11     // RFC 8422 section 5.1.2
	extensionSignatures        = 13     // RFC 5246 section 7.4.1.4.1
	extensionALPN              = 16     // RFC 7301 section 3.1
	extensionSCT               = 18     // RFC 6962 section 3.3.1
	extensionPadding           = 21     // RFC 7685 section 3
	extensionEncryptThenMAC    = 22     // RFC 7366 section 2: for CBC suites, which are not offered
	extensionExtendedMaster    = 23     // RFC 7627 section 5.1
	extensionCompressCert      = 27     // RFC 8879 section 3
	extensionRecordSizeLimit   = 28     // RFC 8449 section 4
	extensionDelegated         = 34     // RFC 9345 section 4.1.1
	extensionSessionTicket     = 35     // RFC 5077 section 3.2
	extensionPreSharedKey      = 41     // RFC 9846 section 4.3.11
	extensionEarlyData         = 42     // RFC 9846 section 4.3.10
	extensionSupportedVersions = 43     // RFC 9846 section 4.3.1
	extensionCookie            = 44     // RFC 9846 section 4.3.2
	extensionPSKModes          = 45     // RFC 9846 section 4.3.9
	extensionKeyShare          = 51     // RFC 9846 section 4.3.8
	extensionApplication       = 0x44cd // ALPS of Chromium, draft-vvv-tls-alps
	extensionECH               = 0xfe0d // RFC 9849 section 5
	extensionRenegotiation     = 0xff01 // RFC 5746 section 3.2
)

// Alerts that the client sends, RFC 5246 section 7.2 and RFC 9846 section 6.
const (
	alertUnexpectedMessage    = 10
	alertBadRecordMAC         = 20
	alertRecordOverflow       = 22
	alertHandshakeFailure     = 40
	alertBadCertificate       = 42
	alertIllegalParameter     = 47
	alertDecodeError          = 50
	alertDecryptError         = 51
	alertProtocolVersion      = 70
	alertInternalError        = 80
	alertNoRenegotiation      = 100
	alertUnsupportedExtension = 110
)

const (
	alertWarning = 1 // level
	alertFatal   = 2 // level
	closeNotify  = 0 // alert, RFC 5246 section 7.2.1
)

var errMalformed = errors.New("malformed message from the server")

// message puts the header of a handshake message before its body.
func message(kind byte, body []byte) []byte {
	n := len(body)
	return append([]byte{kind, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func appendExtension(b []byte, id uint16, body []byte) []byte {
	return appendVector16(binary.BigEndian.AppendUint16(b, id), body)
}

func appendVector8(b, v []byte) []byte { return append(append(b, byte(len(v))), v...) }

func appendVector16(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

func uint16s[T ~uint16](list ...T) []byte {
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(v))
	}
	return b
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// reader takes a message apart. Bounds are checked in bytes alone; once bad, it returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 32))
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint8() uint8     { return r.bytes(1)[0] }
func (r *reader) uint16() uint16   { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *reader) uint32() uint32   { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *reader) vector8() []byte  { return r.bytes(int(r.uint8())) }
func (r *reader) vector16() []byte { return r.bytes(int(r.uint16())) }
func (r *reader) vector24() []byte {
	n := r.bytes(3)
	return r.bytes(int(n[0])<<16 | int(n[1])<<8 | int(n[2]))
}

// whole reports whether the message was read to its end, and no further.
func (r *reader) whole() bool { return !r.bad && len(r.b) == 0 }

// extensions calls f for each extension of a list with its length before it, and reports whether the list was well
// formed: no extension twice (RFC 9846 section 4.3), nothing left over.
func (r *reader) extensions(f func(id uint16, body *reader)) bool {
	list := reader{b: r.vector16()}
	seen := make([]uint16, 0, 16)
	for len(list.b) > 0 && !list.bad {
		id := list.uint16()
		body := reader{b: list.vector16()}
		if list.bad || slices.Contains(seen, id) {
			return false
		}
		seen = append(seen, id)
		f(id, &body)
		if body.bad {
			return false
		}
	}
	return !r.bad && list.whole()
}
