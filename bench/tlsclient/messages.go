package tlsclient

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
)

// Handshake message types, RFC 5246 section 7.4.
const (
	typeClientHello       = 1
	typeServerHello       = 2
	typeCertificate       = 11
	typeServerKeyExchange = 12
	typeServerHelloDone   = 14
	typeClientKeyExchange = 16
	typeFinished          = 20
)

// Extensions of the hellos.
const (
	extensionServerName     = 0      // RFC 6066 section 3
	extensionGroups         = 10     // RFC 8422 section 5.1.1
	extensionPointFormats   = 11     // RFC 8422 section 5.1.2
	extensionSignatures     = 13     // RFC 5246 section 7.4.1.4.1
	extensionExtendedMaster = 23     // RFC 7627 section 5.1
	extensionRenegotiation  = 0xff01 // RFC 5746 section 3.2
)

var errMalformed = errors.New("malformed message from the server")

// clientHello is RFC 5246 section 7.4.1.2, as bare as a server takes it.
func clientHello(random, id []byte, serverName string) []byte {
	b := binary.BigEndian.AppendUint16(nil, tls.VersionTLS12)
	b = append(b, random...)
	b = appendVector8(b, id)
	b = appendVector16(b, uint16s(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256))
	b = appendVector8(b, []byte{0}) // no compression
	var ext []byte
	if serverName != "" {
		ext = appendExtension(ext, extensionServerName, appendVector16(nil, appendVector16([]byte{0}, []byte(serverName))))
	}
	ext = appendExtension(ext, extensionGroups, appendVector16(nil, uint16s(uint16(tls.CurveP256))))
	ext = appendExtension(ext, extensionPointFormats, appendVector8(nil, []byte{0}))
	ext = appendExtension(ext, extensionSignatures, appendVector16(nil,
		uint16s(uint16(tls.ECDSAWithP256AndSHA256), uint16(tls.PSSWithSHA256), uint16(tls.PKCS1WithSHA256))))
	ext = appendExtension(ext, extensionExtendedMaster, nil)
	ext = appendExtension(ext, extensionRenegotiation, []byte{0})
	return message(typeClientHello, appendVector16(b, ext))
}

// serverHello is what matters of RFC 5246 section 7.4.1.3.
type serverHello struct {
	random    []byte
	sessionID []byte
	extended  bool // the master secret is an extended one
}

func (s *serverHello) parse(body []byte) error {
	r := reader{b: body}
	version := r.uint16()
	s.random = r.bytes(32)
	s.sessionID = r.vector8()
	suite := r.uint16()
	r.bytes(1) // compression
	var ext reader
	if len(r.b) > 0 { // RFC 5246 section 7.4.1.2: no extensions may mean no field
		ext.b = r.vector16()
	}
	for len(ext.b) > 0 && !ext.bad {
		if id, _ := ext.uint16(), ext.vector16(); id == extensionExtendedMaster {
			s.extended = true
		}
	}
	switch {
	case r.bad || ext.bad:
		return errMalformed
	case version != tls.VersionTLS12:
		return fmt.Errorf("the server selected %s", tls.VersionName(version))
	case suite != tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 && suite != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return fmt.Errorf("the server selected %s", tls.CipherSuiteName(suite))
	}
	return nil
}

// verifyChain reads a Certificate message, RFC 5246 section 7.4.2, and returns its leaf.
func verifyChain(body []byte, roots *x509.CertPool, serverName string) (*x509.Certificate, error) {
	r := reader{b: body}
	list := reader{b: r.vector24()}
	var leaf *x509.Certificate
	opts := x509.VerifyOptions{Roots: roots, DNSName: serverName, Intermediates: x509.NewCertPool()}
	for len(list.b) > 0 && !list.bad {
		cert, err := x509.ParseCertificate(list.vector24())
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		if leaf == nil {
			leaf = cert
		} else {
			opts.Intermediates.AddCert(cert)
		}
	}
	if r.bad || list.bad || leaf == nil {
		return nil, errMalformed
	}
	if _, err := leaf.Verify(opts); err != nil {
		return nil, fmt.Errorf("verify certificate: %w", err)
	}
	return leaf, nil
}

// verifyKeyExchange reads a ServerKeyExchange, RFC 8422 section 5.4, checks its signature and returns
// the server's point on P-256.
func verifyKeyExchange(body []byte, leaf *x509.Certificate, clientRandom, serverRandom []byte) ([]byte, error) {
	r := reader{b: body}
	curveType, group := r.bytes(1), r.uint16()
	share := r.vector8()
	if r.bad || curveType[0] != 3 || group != uint16(tls.CurveP256) { // 3: named_curve
		return nil, errMalformed
	}
	params := body[:len(body)-len(r.b)]
	scheme, signature := tls.SignatureScheme(r.uint16()), r.vector16()
	if r.bad {
		return nil, errMalformed
	}
	digest := sha256.Sum256(join(clientRandom, serverRandom, params))
	var err error
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if scheme != tls.ECDSAWithP256AndSHA256 || !ecdsa.VerifyASN1(key, digest[:], signature) {
			err = errors.New("wrong ECDSA signature")
		}
	case *rsa.PublicKey:
		if scheme == tls.PSSWithSHA256 {
			err = rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			err = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
		}
	default:
		err = fmt.Errorf("a key of type %T", key)
	}
	if err != nil {
		return nil, fmt.Errorf("verify the server's key exchange: %w", err)
	}
	return share, nil
}

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

func uint16s(list ...uint16) []byte {
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, v)
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
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint16() uint16   { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *reader) vector8() []byte  { return r.bytes(int(r.bytes(1)[0])) }
func (r *reader) vector16() []byte { return r.bytes(int(r.uint16())) }
func (r *reader) vector24() []byte {
	n := r.bytes(3)
	return r.bytes(int(n[0])<<16 | int(n[1])<<8 | int(n[2]))
}
