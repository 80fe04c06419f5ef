package tlscore

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Kind is the way a session is offered to be resumed.
type Kind uint8

// The ways to offer a session.
const (
	OfferNone   Kind = iota // a fresh handshake
	OfferID                 // by TLS 1.2 session ID, RFC 5246
	OfferTicket             // by TLS 1.2 session ticket, RFC 5077
	OfferPSK                // by TLS 1.3 pre-shared key, RFC 9846
)

func (k Kind) String() string { return [...]string{"none", "session ID", "ticket", "PSK"}[k] }

// maxTicket is the longest ticket that is kept: the longest that servers are known to issue, JSSE's, have 1.1 kB, with a chain
// of client certificates inside some 10 kB.
const maxTicket = 32 << 10

// Session is what a client keeps of a TLS session. It does not change, may be offered any number of times, and be shared.
type Session struct {
	// Version, Suite and ALPN are what was negotiated.
	Version, Suite uint16
	ALPN           string
	// ID is the session ID that a TLS 1.2 server gave, empty without.
	ID []byte
	// Ticket is the TLS 1.2 ticket or TLS 1.3 identity, empty without.
	Ticket []byte
	// Lifetime is the server's hint how long the ticket is good for; 0: it gave none (TLS 1.2), or said that it is good
	// for nothing (TLS 1.3).
	Lifetime time.Duration
	// Received is when the session came.
	Received time.Time
	// MaxEarlyData is how many bytes of 0-RTT data the server takes, 0: none.
	MaxEarlyData uint32
	// Certificates is the chain that the server showed, leaf first.
	Certificates []*x509.Certificate

	secret   []byte // TLS 1.2: the master secret; TLS 1.3: the PSK
	extended bool   // the master secret is an extended one: a resumption must say the same
	ageAdd   uint32 // TLS 1.3: what hides the age of the ticket
}

// age is the obfuscated_ticket_age of RFC 9846 section 4.3.11.
func (s *Session) age() uint32 {
	return uint32(time.Since(s.Received).Milliseconds()) + s.ageAdd
}

// Kind returns the way in which the session is offered to a client that offers what o says.
func (o *Options) kind() Kind {
	s := o.Session
	switch {
	case s == nil:
	case s.Version == tls.VersionTLS13:
		if o.modern() {
			return OfferPSK
		}
	case o.classic() && o.Tickets && len(s.Ticket) > 0:
		return OfferTicket
	case o.classic() && len(s.ID) > 0:
		return OfferID
	}
	return OfferNone
}
