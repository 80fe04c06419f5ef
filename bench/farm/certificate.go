package farm

import (
	"crypto/x509"
	"fmt"

	"homing/bench/tlsserver"
)

// ServerName is the host name in every certificate of the farm.
const ServerName = "homing.test"

// Certificate is a self-signed certificate with its key, both in PEM.
type Certificate = tlsserver.Certificate

// NewRSA makes a certificate with an RSA key of 2,048 bits, the size most sites still serve.
func NewRSA() (*Certificate, error) { return newCertificate(tlsserver.RSA) }

// NewECDSA makes a certificate with a P-256 key.
func NewECDSA() (*Certificate, error) { return newCertificate(tlsserver.ECDSA) }

func newCertificate(key tlsserver.Key) (*Certificate, error) {
	c, err := tlsserver.New(key, ServerName, "localhost", "127.0.0.1")
	if err != nil {
		return nil, fmt.Errorf("farm: %w", err)
	}
	return c, nil
}

// Roots returns a pool that trusts the given certificates.
func Roots(certs ...*Certificate) *x509.CertPool { return tlsserver.Roots(certs...) }
