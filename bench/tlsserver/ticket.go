package tlsserver

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
)

// nameBytes is the length of the name of a key that begins a ticket, RFC 5077 section 4.
const nameBytes = 16

// TicketKey is one server's private key for tickets. crypto/tls has dropped the key's name from its
// tickets in Go 1.21; this puts the layout back that nearly every other server sends: name, initial vector, ciphertext,
// MAC. The cipher is AES-CTR where OpenSSL takes CBC: nobody but the server can see the difference.
type TicketKey struct {
	name [nameBytes]byte
	key  [32]byte
}

// NewTicketKey draws a key and its name.
func NewTicketKey() *TicketKey {
	k := &TicketKey{}
	_, _ = rand.Read(k.name[:]) // it never fails
	_, _ = rand.Read(k.key[:])
	return k
}

// Configure makes a server's tickets wear the key's name and be opened by this key only.
func (k *TicketKey) Configure(cfg *tls.Config) {
	cfg.SetSessionTicketKeys([][32]byte{k.key})
	cfg.WrapSession = func(state tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		ticket, err := cfg.EncryptTicket(state, s)
		if err != nil {
			return nil, fmt.Errorf("encrypt ticket: %w", err)
		}
		return append(k.name[:], ticket...), nil
	}
	cfg.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		ticket, own := bytes.CutPrefix(ticket, k.name[:])
		if !own {
			return nil, nil // a foreign ticket means a full handshake, not an error
		}
		return cfg.DecryptTicket(ticket, state)
	}
}
