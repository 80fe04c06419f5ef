package tlsserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Key is the kind of key of a certificate.
type Key string

// The kinds of keys. RSA of 2,048 bits is what most sites serve, and a full handshake with it costs a server most.
const (
	RSA   Key = "rsa"
	ECDSA Key = "ecdsa" // P-256
)

// Certificate is a self-signed certificate with its key, both in PEM.
type Certificate struct {
	Chain []byte
	Key   []byte
}

// New makes a key and a certificate for the names, IP addresses among them, that is valid for two days. A key that is
// neither RSA nor ECDSA is an error.
func New(kind Key, names ...string) (*Certificate, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case ECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return nil, fmt.Errorf("key %q is neither rsa nor ecdsa", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	return SelfSign(key, now.Add(-time.Hour), now.Add(48*time.Hour), names...)
}

// SelfSign makes a certificate of the key for the names, IP addresses among them, that is valid between the two times.
// Without names it is nobody's.
func SelfSign(key crypto.Signer, from, until time.Time, names ...string) (*Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, fmt.Errorf("draw serial: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             from,
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(names) > 0 {
		template.Subject = pkix.Name{CommonName: names[0]}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return &Certificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// TLS returns the certificate as crypto/tls wants it.
func (c *Certificate) TLS() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate: %w", err)
	}
	return pair, nil
}

// Roots returns a pool that trusts the given certificates.
func Roots(certs ...*Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AppendCertsFromPEM(c.Chain)
	}
	return pool
}
