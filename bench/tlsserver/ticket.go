package tlsserver

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
)

// Sizes of a ticket as OpenSSL lays it out, RFC 5077 section 4: name, initial vector, ciphertext, MAC.
const (
	nameBytes = 16
	ivBytes   = aes.BlockSize
	macBytes  = sha256.Size
)

// TicketKey is one server's private key for tickets. crypto/tls has dropped the key's name from its
// tickets in Go 1.21; this puts the layout back that nearly every other server sends. The cipher is
// AES-CTR where OpenSSL takes CBC: nobody but the server can see the difference.
type TicketKey struct {
	name  [nameBytes]byte
	block cipher.Block
	mac   [macBytes]byte
}

// NewTicketKey draws a key and its name.
func NewTicketKey() (*TicketKey, error) {
	k := &TicketKey{}
	var secret [32]byte
	for _, b := range [][]byte{k.name[:], k.mac[:], secret[:]} {
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("draw ticket key: %w", err)
		}
	}
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, fmt.Errorf("make ticket cipher: %w", err)
	}
	k.block = block
	return k, nil
}

// Configure makes a server's tickets wear the key's name and be opened by this key only.
func (k *TicketKey) Configure(cfg *tls.Config) {
	cfg.WrapSession = func(_ tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		state, err := s.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode session: %w", err)
		}
		return k.seal(state)
	}
	cfg.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		state, ok := k.open(ticket)
		if !ok {
			return nil, nil // a foreign ticket means a full handshake, not an error
		}
		return tls.ParseSessionState(state)
	}
}

func (k *TicketKey) seal(state []byte) ([]byte, error) {
	ticket := make([]byte, nameBytes+ivBytes+len(state), nameBytes+ivBytes+len(state)+macBytes)
	copy(ticket, k.name[:])
	iv, sealed := ticket[nameBytes:nameBytes+ivBytes], ticket[nameBytes+ivBytes:]
	if _, err := rand.Read(iv); err != nil {
		return nil, fmt.Errorf("draw initial vector: %w", err)
	}
	cipher.NewCTR(k.block, iv).XORKeyStream(sealed, state)
	return append(ticket, k.sum(ticket)...), nil
}

// open returns the state in a ticket, and false when the ticket is not of this key.
func (k *TicketKey) open(ticket []byte) ([]byte, bool) {
	body := len(ticket) - macBytes
	if body < nameBytes+ivBytes || [nameBytes]byte(ticket[:nameBytes]) != k.name {
		return nil, false
	}
	if !hmac.Equal(ticket[body:], k.sum(ticket[:body])) {
		return nil, false
	}
	state := make([]byte, body-nameBytes-ivBytes)
	cipher.NewCTR(k.block, ticket[nameBytes:nameBytes+ivBytes]).XORKeyStream(state, ticket[nameBytes+ivBytes:body])
	return state, true
}

func (k *TicketKey) sum(b []byte) []byte {
	h := hmac.New(sha256.New, k.mac[:])
	h.Write(b)
	return h.Sum(nil)
}
