package tlscore

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Options says how a Conn shakes hands. New copies them, and what they point to is read only and may serve many conns at
// once.
type Options struct {
	// MinVersion and MaxVersion bound the versions offered: tls.VersionTLS12 and tls.VersionTLS13, which are what zero
	// means too.
	MinVersion, MaxVersion uint16

	// ServerName is sent as SNI unless it is empty or an IP address, and is the name that the certificate must be for.
	ServerName string
	// Roots are the authorities trusted; nil: the system's.
	Roots *x509.CertPool
	// Verify says how much of the server's identity is verified.
	Verify Verify
	// Verified, when not nil, spares conns that share it the work of reading and verifying the same chain again. They must
	// have the same Roots.
	Verified *CertificateCache

	// ALPN is the list of protocols offered, none: no such extension.
	ALPN []string

	// Tickets asks for TLS 1.2 tickets (RFC 5077). Without them a TLS 1.2 server gives a session ID, if anything.
	Tickets bool
	// Session is offered to be resumed; nil: none. One that does not fit the versions, or has a TLS 1.2 ticket alone where
	// Tickets is not set, is not offered.
	Session *Session
	// EarlyData is sent behind the hello as TLS 1.3 0-RTT data when Session allows that many bytes. Whether the server took it is in
	// State: data that it did not take has to be written again.
	EarlyData []byte

	// Suites are the cipher suites offered, of both versions; nil: those of Shape. OldSuites are offered only if they are named here.
	Suites []uint16
	// Groups are the groups of the key exchange, the first is the one whose share a TLS 1.3 hello carries; nil: those of
	// Shape, which may carry several shares.
	Groups []tls.CurveID
	// Shares are keys to be used again; nil: new ones for each conn.
	Shares *KeyShares

	// Shape is what the hello looks like; nil: Plain.
	Shape *Shape
	// PadTo makes the hello at least so many bytes long, 0 to 65,000, with a padding extension (RFC 7685).
	PadTo int
	// RecordBytes is the most that one record holds of the hello, 0: 16,384. Less cuts the hello over several records.
	RecordBytes int

	// First and Second are how the first hello, and the one that answers a HelloRetryRequest, break the rules; nil: they do not.
	First, Second *Deviation
}

const maxPad = 65000 // what an extension can hold, and room for the others

// check returns an error for options that no hello can be made of.
func (o *Options) check() error {
	switch {
	case o.min() < tls.VersionTLS12 || o.max() > tls.VersionTLS13 || o.min() > o.max():
		return fmt.Errorf("tlscore: offer %s to %s: only TLS 1.2 and 1.3 are spoken", tls.VersionName(o.min()), tls.VersionName(o.max()))
	case o.PadTo < 0 || o.PadTo > maxPad:
		return fmt.Errorf("tlscore: pad the hello to %d bytes: 0 to %d are possible", o.PadTo, maxPad)
	case o.RecordBytes < 0 || o.RecordBytes > maxPlaintext:
		return fmt.Errorf("tlscore: records of %d bytes: 0 to %d are possible", o.RecordBytes, maxPlaintext)
	case len(o.ServerName) > 255: // RFC 1035 section 2.3.4
		return fmt.Errorf("tlscore: a server name of %d bytes", len(o.ServerName))
	case o.Session != nil && len(o.Session.Ticket) > maxTicket:
		return fmt.Errorf("tlscore: a ticket of %d bytes does not fit into a hello", len(o.Session.Ticket))
	}
	for _, g := range o.Groups {
		if !speaks(g) {
			return fmt.Errorf("tlscore: no key exchange over %v", g)
		}
	}
	for _, s := range o.Suites {
		if suiteOf(s) == nil {
			return fmt.Errorf("tlscore: no cipher suite %s", suiteName(s))
		}
	}
	for _, p := range o.ALPN {
		if p == "" || len(p) > 255 {
			return fmt.Errorf("tlscore: an ALPN protocol of %d bytes", len(p))
		}
	}
	return nil
}

func (o *Options) min() uint16 { return orDefault(o.MinVersion, tls.VersionTLS12) }
func (o *Options) max() uint16 { return orDefault(o.MaxVersion, tls.VersionTLS13) }

// modern reports whether TLS 1.3 is offered, classic whether TLS 1.2 is.
func (o *Options) modern() bool  { return o.max() >= tls.VersionTLS13 }
func (o *Options) classic() bool { return o.min() <= tls.VersionTLS12 }

func (o *Options) shape() *Shape {
	if o.Shape == nil {
		return Plain()
	}
	return o.Shape
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
