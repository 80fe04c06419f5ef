package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"homing/bench/tlsserver"
)

// ECDSA makes a key on P-256.
func ECDSA(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Check(tb, err)
	return key
}

// RSA makes a key of 2,048 bits.
func RSA(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	Check(tb, err)
	return key
}

// Certificate makes a certificate of a key for names, and roots that trust it.
func Certificate(tb testing.TB, key crypto.Signer, names ...string) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	now := time.Now()
	own, err := tlsserver.SelfSign(key, now.Add(-time.Hour), now.Add(time.Hour), names...)
	Check(tb, err)
	return Pair(tb, own), tlsserver.Roots(own)
}

// Pair is a certificate as crypto/tls wants it.
func Pair(tb testing.TB, own *tlsserver.Certificate) tls.Certificate {
	tb.Helper()
	pair, err := own.TLS()
	Check(tb, err)
	return pair
}
