package tlscore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// Verify says how much of a server's identity is verified.
type Verify uint8

const (
	// VerifyAll verifies the chain, the name and the signature of the handshake.
	VerifyAll Verify = iota
	// VerifySignature verifies only that the server has the key of the certificate it shows.
	VerifySignature
	// VerifyNothing reads the certificate and believes it: the cheapest for a client that makes load.
	VerifyNothing
)

// CertificateCache remembers chains that were read and verified, so that conns which share it do both once for each
// chain. It is safe for concurrent use. The zero value is ready.
type CertificateCache struct {
	mu     sync.Mutex
	chains map[[sha256.Size]byte][]*x509.Certificate // guarded by mu
}

// maxChains bounds a cache: a site has a few chains, and a farm with one for each name has some hundreds.
const maxChains = 4096

func (c *CertificateCache) get(key [sha256.Size]byte) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chains[key]
}

func (c *CertificateCache) put(key [sha256.Size]byte, chain []*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chains == nil || len(c.chains) >= maxChains {
		c.chains = map[[sha256.Size]byte][]*x509.Certificate{}
	}
	c.chains[key] = chain
}

// chain reads and verifies the certificates, each in DER and leaf first.
func (o *Options) chain(list [][]byte) ([]*x509.Certificate, error) {
	var key [sha256.Size]byte
	if o.Verified != nil {
		h := sha256.New()
		h.Write(appendVector16([]byte{byte(o.Verify)}, []byte(o.ServerName)))
		for _, der := range list {
			h.Write(appendVector16(nil, der))
		}
		h.Sum(key[:0])
		if chain := o.Verified.get(key); chain != nil {
			return chain, nil
		}
	}
	chain := make([]*x509.Certificate, len(list))
	for i, der := range list {
		var err error
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, &violation{alertBadCertificate, &CertificateError{Err: fmt.Errorf("read certificate: %w", err)}}
		}
	}
	if o.Verify == VerifyAll {
		opts := x509.VerifyOptions{Roots: o.Roots, DNSName: o.ServerName, Intermediates: x509.NewCertPool()}
		for _, cert := range chain[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := chain[0].Verify(opts); err != nil {
			return nil, &violation{alertBadCertificate, &CertificateError{Chain: chain, Err: err}}
		}
	}
	if o.Verified != nil {
		o.Verified.put(key, chain)
	}
	return chain, nil
}

// verifySignature checks a signature over message by the key of the server's certificate. In TLS 1.3 a scheme fixes the
// curve too, and PKCS #1 v1.5 is no more (RFC 9846 section 4.3.3).
func (c *Conn) verifySignature(scheme tls.SignatureScheme, message, signature []byte) error {
	modern := c.in.modern
	sum, digest := crypto.Hash(0), message
	//nolint:exhaustive // SHA-1 is not offered
	switch scheme {
	case tls.PKCS1WithSHA256, tls.PSSWithSHA256, tls.ECDSAWithP256AndSHA256:
		sum = crypto.SHA256
	case tls.PKCS1WithSHA384, tls.PSSWithSHA384, tls.ECDSAWithP384AndSHA384:
		sum = crypto.SHA384
	case tls.PKCS1WithSHA512, tls.PSSWithSHA512, tls.ECDSAWithP521AndSHA512:
		sum = crypto.SHA512
	case tls.Ed25519:
	default:
		return fail(alertIllegalParameter, "a signature scheme that was not offered: %v", scheme)
	}
	if sum != 0 {
		h := sum.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	err := errors.New("it is wrong")
	switch key := c.h.leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		switch {
		case !isECDSA(scheme), modern && curveBits(scheme) != key.Curve.Params().BitSize:
			err = fmt.Errorf("a key on %s with %v", key.Curve.Params().Name, scheme)
		case ecdsa.VerifyASN1(key, digest, signature):
			err = nil
		}
	case *rsa.PublicKey:
		switch {
		case isPSS(scheme):
			err = rsa.VerifyPSS(key, sum, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		case isPKCS1(scheme) && !modern:
			err = rsa.VerifyPKCS1v15(key, sum, digest, signature)
		default:
			err = fmt.Errorf("an RSA key with %v", scheme)
		}
	case ed25519.PublicKey:
		if scheme == tls.Ed25519 && ed25519.Verify(key, message, signature) {
			err = nil
		}
	default:
		err = fmt.Errorf("a key of type %T", key)
	}
	if err != nil {
		return fail(alertDecryptError, "the server's signature: %w", err)
	}
	return nil
}

func isECDSA(s tls.SignatureScheme) bool { return curveBits(s) != 0 }

func curveBits(s tls.SignatureScheme) int {
	//nolint:exhaustive // the others have no curve
	switch s {
	case tls.ECDSAWithP256AndSHA256:
		return 256
	case tls.ECDSAWithP384AndSHA384:
		return 384
	case tls.ECDSAWithP521AndSHA512:
		return 521
	default:
		return 0
	}
}

func isPSS(s tls.SignatureScheme) bool {
	return s == tls.PSSWithSHA256 || s == tls.PSSWithSHA384 || s == tls.PSSWithSHA512
}

func isPKCS1(s tls.SignatureScheme) bool {
	return s == tls.PKCS1WithSHA256 || s == tls.PKCS1WithSHA384 || s == tls.PKCS1WithSHA512
}
