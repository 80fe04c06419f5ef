package tlscore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1" // what old servers have
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is one cipher suite: what protects records, and the hash of the key schedule.
type suite struct {
	id       uint16
	hash     func() hash.Hash
	key      int                                   // bytes
	aead     func(key []byte) (cipher.AEAD, error) // nil: CBC
	explicit bool                                  // TLS 1.2 with AES-GCM: 8 bytes of the nonce travel with the record
	modern   bool                                  // of TLS 1.3
	mac      func() hash.Hash                      // with CBC
	rsa      bool                                  // the client sends the secret under the server's RSA key: no ECDHE
	name     string                                // where crypto/tls has none
}

// Cipher suites of TLS 1.2 that crypto/tls has no name for, RFC 5246 appendix A.5 and RFC 5289 section 3.
const (
	ecdheECDSA256CBCSHA384 = 0xc024
	ecdheRSA256CBCSHA384   = 0xc028
	rsa256CBCSHA256        = 0x003d
)

// suites are all that are spoken: those of TLS 1.3, those with an AEAD and ECDHE of TLS 1.2, then the old ones, the best
// first.
func suites() [23]suite {
	return [...]suite{
		{id: tls.TLS_AES_128_GCM_SHA256, hash: sha256.New, key: 16, aead: gcm, modern: true},
		{id: tls.TLS_AES_256_GCM_SHA384, hash: sha512.New384, key: 32, aead: gcm, modern: true},
		{id: tls.TLS_CHACHA20_POLY1305_SHA256, hash: sha256.New, key: 32, aead: chacha20poly1305.New, modern: true},
		{id: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, hash: sha256.New, key: 16, aead: gcm, explicit: true},
		{id: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, hash: sha256.New, key: 16, aead: gcm, explicit: true},
		{id: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, hash: sha512.New384, key: 32, aead: gcm, explicit: true},
		{id: tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, hash: sha512.New384, key: 32, aead: gcm, explicit: true},
		{id: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, hash: sha256.New, key: 32, aead: chacha20poly1305.New},
		{id: tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, hash: sha256.New, key: 32, aead: chacha20poly1305.New},

		{id: ecdheECDSA256CBCSHA384, hash: sha512.New384, key: 32, mac: sha512.New384, name: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"},
		{id: ecdheRSA256CBCSHA384, hash: sha512.New384, key: 32, mac: sha512.New384, name: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"},
		{id: tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, hash: sha256.New, key: 16, mac: sha256.New},
		{id: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, hash: sha256.New, key: 16, mac: sha256.New},
		{id: tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, hash: sha256.New, key: 32, mac: sha1.New},
		{id: tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, hash: sha256.New, key: 32, mac: sha1.New},
		{id: tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, hash: sha256.New, key: 16, mac: sha1.New},
		{id: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, hash: sha256.New, key: 16, mac: sha1.New},
		{id: tls.TLS_RSA_WITH_AES_128_GCM_SHA256, hash: sha256.New, key: 16, aead: gcm, explicit: true, rsa: true},
		{id: tls.TLS_RSA_WITH_AES_256_GCM_SHA384, hash: sha512.New384, key: 32, aead: gcm, explicit: true, rsa: true},
		{id: rsa256CBCSHA256, hash: sha256.New, key: 32, mac: sha256.New, rsa: true, name: "TLS_RSA_WITH_AES_256_CBC_SHA256"},
		{id: tls.TLS_RSA_WITH_AES_128_CBC_SHA256, hash: sha256.New, key: 16, mac: sha256.New, rsa: true},
		{id: tls.TLS_RSA_WITH_AES_256_CBC_SHA, hash: sha256.New, key: 32, mac: sha1.New, rsa: true},
		{id: tls.TLS_RSA_WITH_AES_128_CBC_SHA, hash: sha256.New, key: 16, mac: sha1.New, rsa: true},
	}
}

// suiteOf returns the cipher suite of that number, nil when the client does not speak it.
func suiteOf(id uint16) *suite {
	list := suites()
	for i := range list {
		if list[i].id == id {
			s := list[i] // the list stays on the stack
			return &s
		}
	}
	return nil
}

// OldSuites returns the cipher suites that are spoken, but offered only where Options name them: with AES-CBC, or without
// ECDHE. Servers that know nothing better are old; a client that is to find out about them all offers these last.
func OldSuites() []uint16 { return suitesThat(true) }

// suitesThat lists the old cipher suites, or the others.
func suitesThat(old bool) []uint16 {
	var list []uint16
	for _, s := range suites() {
		if old == (s.mac != nil || s.rsa) {
			list = append(list, s.id)
		}
	}
	return list
}

// suiteName names a suite for people.
func suiteName(id uint16) string {
	if s := suiteOf(id); s != nil && s.name != "" {
		return s.name
	}
	return tls.CipherSuiteName(id)
}

func gcm(key []byte) (cipher.AEAD, error) { return cipher.NewGCM(sure(aes.NewCipher(key))) }

// macBytes is the length of the key of the MAC, 0 with an AEAD.
func (s *suite) macBytes() int {
	if s.mac == nil {
		return 0
	}
	return s.mac().Size()
}

// ivBytes is what the key block or schedule gives for the nonce.
func (s *suite) ivBytes() int {
	switch {
	case s.aead == nil:
		return 0 // RFC 5246 section 6.2.3.2: it travels with the record
	case s.explicit:
		return implicitBytes
	default:
		return nonceBytes
	}
}
