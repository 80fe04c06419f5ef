package replica

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// minNodeKey is the least length of a node key, in bytes.
const minNodeKey = 16

// nodeKeyInfo separates this use of the node key from all others (RFC 5869, 3.2).
const nodeKeyInfo = "homing node key 1, replication, ed25519"

// errNodeKey ends the handshake with a peer that has none of our keys.
var errNodeKey = errors.New("the peer has another node key")

// credentials is what the node key makes of this node: who holds the key derives the same certificate, and shows that
// it does by signing with it. Both sides of a stream verify that the other's public key is one derived from a key they
// trust; names and dates of certificates mean nothing here.
type credentials struct {
	own     tls.Certificate
	trusted []ed25519.PublicKey
}

// newCredentials derives them. The first key is the one this node shows; all are trusted, so that a key can be replaced
// while nodes hold different ones.
func newCredentials(keys [][]byte) (*credentials, error) {
	if len(keys) == 0 {
		return nil, errors.New("cluster: replication needs a node key")
	}
	c := new(credentials)
	for i, key := range keys {
		private, err := derive(key)
		if err != nil {
			return nil, err
		}
		public := private.Public().(ed25519.PublicKey)
		c.trusted = append(c.trusted, public)
		if i > 0 {
			continue
		}
		der, err := certify(private, public)
		if err != nil {
			return nil, fmt.Errorf("cluster: certificate of the node key: %w", err)
		}
		c.own = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	}
	return c, nil
}

func derive(key []byte) (ed25519.PrivateKey, error) {
	if len(key) < minNodeKey {
		return nil, fmt.Errorf("cluster: a node key of %d bytes: want %d at least", len(key), minNodeKey)
	}
	seed, err := hkdf.Key(sha256.New, key, nil, nodeKeyInfo, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("cluster: derive from the node key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// certify signs a certificate that is the same for every holder of the key.
func certify(private ed25519.PrivateKey, public ed25519.PublicKey) ([]byte, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "homing node"},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no expiry
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	return x509.CreateCertificate(rand.Reader, t, t, public, private)
}

// config is for either side of a stream: TLS 1.3, both sides show their keys, and no sessions are kept, for a resumed
// one would outlive a key that is removed.
func (c *credentials) config() *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{c.own},
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true, // VerifyConnection is stricter: one of a few keys
		VerifyConnection:            c.verify,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
}

func (c *credentials) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) != 1 || !c.trusts(s.PeerCertificates[0]) {
		return errNodeKey
	}
	return nil
}

func (c *credentials) trusts(cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	return ok && c.trustsKey(public)
}

func (c *credentials) trustsKey(key ed25519.PublicKey) bool {
	return slices.ContainsFunc(c.trusted, func(t ed25519.PublicKey) bool { return t.Equal(key) })
}
