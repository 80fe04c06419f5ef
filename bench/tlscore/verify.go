package tlscore

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
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

// notModern stands for the bits of a curve where TLS 1.3 has the scheme for certificates alone, RFC 9846 section 4.3.3.
const notModern = -1

// signature is a signature scheme, as x509 calls it, and the bits of the curve that it fixes in TLS 1.3; 0: none.
type signature struct {
	scheme    tls.SignatureScheme
	algorithm x509.SignatureAlgorithm
	bits      int
}

// signatures are those that shapes offer.
func signatures() []signature {
	return []signature{
		{tls.PKCS1WithSHA256, x509.SHA256WithRSA, notModern},
		{tls.PKCS1WithSHA384, x509.SHA384WithRSA, notModern},
		{tls.PKCS1WithSHA512, x509.SHA512WithRSA, notModern},
		{tls.PSSWithSHA256, x509.SHA256WithRSAPSS, 0},
		{tls.PSSWithSHA384, x509.SHA384WithRSAPSS, 0},
		{tls.PSSWithSHA512, x509.SHA512WithRSAPSS, 0},
		{tls.ECDSAWithP256AndSHA256, x509.ECDSAWithSHA256, 256},
		{tls.ECDSAWithP384AndSHA384, x509.ECDSAWithSHA384, 384},
		{tls.ECDSAWithP521AndSHA512, x509.ECDSAWithSHA512, 521},
		{tls.Ed25519, x509.PureEd25519, 0},
	}
}

// verifySignature checks a signature over message by the key of the server's certificate.
func (c *Conn) verifySignature(scheme tls.SignatureScheme, message, sum []byte) error {
	list := signatures()
	at := slices.IndexFunc(list, func(s signature) bool { return s.scheme == scheme })
	if at < 0 {
		return fail(alertIllegalParameter, "a signature scheme that was not offered: %v", scheme)
	}
	err := c.h.leaf.CheckSignature(list[at].algorithm, message, sum)
	key, onCurve := c.h.leaf.PublicKey.(*ecdsa.PublicKey)
	switch bits := list[at].bits; {
	case !c.in.modern:
	case bits == notModern:
		err = fmt.Errorf("%v is not for TLS 1.3", scheme)
	case onCurve && key.Curve.Params().BitSize != bits:
		err = fmt.Errorf("a key on %s with %v", key.Curve.Params().Name, scheme)
	}
	if err != nil {
		return fail(alertDecryptError, "the server's signature: %w", err)
	}
	return nil
}
