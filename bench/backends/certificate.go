package backends

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// ServerName is the host name in every certificate made here; the second one is any name below it.
const ServerName = "bench.homing.test"

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

// NewCertificate makes a certificate that is valid for two days, for ServerName, all names below it, localhost and
// 127.0.0.1.
func NewCertificate(kind Key) (*Certificate, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case ECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return nil, fmt.Errorf("backends: key %q is neither rsa nor ecdsa", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("backends: make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, fmt.Errorf("backends: draw serial: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: ServerName},
		DNSNames:              []string{ServerName, "*." + ServerName, "localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(48 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("backends: sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("backends: encode key: %w", err)
	}
	return &Certificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
