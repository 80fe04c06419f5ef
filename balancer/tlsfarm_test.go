//go:build linux

package balancer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// newCertificate is shared: making one costs more than a test.
var newCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.test", "b.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// serveTLS adds a TLS server that says its index and waits for the client's end. Each has its own ticket keys; names
// says whether its tickets begin, as OpenSSL's do, with a name of 16 bytes.
func (r *rig) serveTLS(names bool, edit ...func(*tls.Config)) *server {
	r.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{newCertificate()}}
	if names {
		nameTickets(r, cfg)
	}
	for _, f := range edit {
		f(cfg)
	}
	index := byte(len(r.servers))
	return r.serve(func(raw *net.TCPConn) {
		c := tls.Server(raw, cfg)
		if c.Handshake() != nil {
			return
		}
		if _, err := c.Write([]byte{index}); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c) // until the client closes
	})
}

// nameTickets lays tickets out as OpenSSL does: name, IV, ciphertext, MAC (RFC 5077, Section 4), under keys of its own.
func nameTickets(t testing.TB, cfg *tls.Config) {
	secret := make([]byte, 16+32+32)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	name, mac := secret[:16], secret[16:48]
	block, err := aes.NewCipher(secret[48:])
	if err != nil {
		t.Fatal(err)
	}
	sum := func(b []byte) []byte {
		h := hmac.New(sha256.New, mac)
		h.Write(b)
		return h.Sum(nil)
	}
	cfg.WrapSession = func(_ tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		state, err := s.Bytes()
		if err != nil {
			return nil, err
		}
		ticket := append([]byte(nil), name...)
		ticket = append(ticket, make([]byte, 16)...)
		if _, err := rand.Read(ticket[16:]); err != nil {
			return nil, err
		}
		cipher.NewCTR(block, ticket[16:32]).XORKeyStream(state, state)
		ticket = append(ticket, state...)
		return append(ticket, sum(ticket)...), nil
	}
	cfg.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		body := len(ticket) - 32
		if body < 32 || !hmac.Equal(sum(ticket[:body]), ticket[body:]) {
			return nil, nil // crypto/tls wants this for a foreign ticket
		}
		state := append([]byte(nil), ticket[32:body]...)
		cipher.NewCTR(block, ticket[16:32]).XORKeyStream(state, state)
		return tls.ParseSessionState(state)
	}
}

// browser is one TLS client with a session cache of its own.
type browser struct {
	rig *rig
	cfg *tls.Config
}

func (r *rig) browser(version uint16, edit ...func(*tls.Config)) *browser {
	cfg := &tls.Config{
		ServerName: "a.test", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for _, f := range edit {
		f(cfg)
	}
	return &browser{rig: r, cfg: cfg}
}

// visit makes one connection from an address and says which server answered and whether it resumed.
func (b *browser) visit(from netip.Addr) (server byte, resumed bool) {
	b.rig.Helper()
	raw := b.rig.dialFrom(from)
	defer raw.Close()
	c := tls.Client(raw, b.cfg)
	var index [1]byte
	if _, err := io.ReadFull(c, index[:]); err != nil {
		b.rig.Fatalf("visit: %v", err)
	}
	resumed = c.ConnectionState().DidResume
	if err := c.Close(); err != nil {
		b.rig.Errorf("visit: close: %v", err)
	}
	return index[0], resumed
}
