package tlscore

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Conn is the client's side of one TLS conn, without the conn itself: Receive takes what came from the server, Output
// gives what is to be sent to it. It is not safe for concurrent use.
type Conn struct {
	side
	o     Options
	h     *handshake // nil behind the handshake
	hello int        // bytes of the first hello with the headers of its records
	state State

	// TLS 1.3, behind the handshake
	suite       *suite
	resumption  []byte // resumption secret, RFC 9846 section 7.1
	readSecret  []byte
	writeSecret []byte

	sessions []*Session // that the server gave, oldest first
}

// maxSessions bounds the sessions that one conn keeps: servers give one to three at a time.
const maxSessions = 16

// State is what a handshake came to. After one that failed it holds what was seen until then.
type State struct {
	// Version, Suite, Group and ALPN as negotiated; Group is 0 in a resumed TLS 1.2 handshake.
	Version, Suite uint16
	Group          tls.CurveID
	ALPN           string
	// Offered is how a session was offered, and Resumed whether the server took it.
	Offered Kind
	Resumed bool
	// EarlyOffered and EarlyAccepted say what became of 0-RTT data.
	EarlyOffered, EarlyAccepted bool
	// Retried says that the server asked for a second hello.
	Retried bool
	// Asked says that the server asked for a client certificate.
	Asked bool
	// ServerID is the session ID in the ServerHello: in TLS 1.3 but an echo.
	ServerID []byte
	// Certificates that the server showed, leaf first; in a resumed handshake those of the session.
	Certificates []*x509.Certificate
}

// New returns a conn whose Output begins with the hello, and the early data behind it. An error is one of the options.
func New(o *Options) (*Conn, error) {
	c := &Conn{o: *o}
	if err := c.o.check(); err != nil {
		return nil, err
	}
	m, err := newMaker(&c.o)
	if err != nil {
		return nil, fmt.Errorf("tlscore: make hello: %w", err)
	}
	c.h = &handshake{hello: m}
	c.h.await(typeServerHello, (*Conn).serverHello)
	c.state.Offered = m.offered
	if err := c.sendHello(firstVersion); err != nil {
		return nil, fmt.Errorf("tlscore: make hello: %w", err)
	}
	c.hello = len(c.out.b)
	if m.sendEarly {
		c.state.EarlyOffered = true
		c.sendEarlyData()
	}
	return c, nil
}

// HelloLen returns how many bytes of the first Output are the hello, records and all.
func (c *Conn) HelloLen() int { return c.hello }

// Receive takes bytes that came from the server, in any chunking, and calls data with the application data in them, which
// is valid until data returns. b may be written over. On an error the conn has ended, and Output holds what the server is
// to be told of it: *NotTLSError, *VersionError, *SuiteError, *CertificateError, tls.AlertError for an alert of the
// server's, all wrapped.
func (c *Conn) Receive(b []byte, data func(plain []byte)) error {
	if c.err != nil {
		return c.err
	}
	err := c.receive(b, data, c)
	if err == nil {
		return nil
	}
	if c.shaken {
		c.err = fmt.Errorf("tlscore: %w", err)
	} else {
		c.err = fmt.Errorf("tlscore: handshake: %w", err)
	}
	c.h = nil
	return c.err
}

// State returns what the handshake came to.
func (c *Conn) State() State { return c.state }

// Received returns how many bytes came, records and all.
func (c *Conn) Received() int64 { return c.in.bytes }

// Session returns the newest session that the server gave, nil without one. In TLS 1.3 sessions come behind the
// handshake.
func (c *Conn) Session() *Session {
	if len(c.sessions) == 0 {
		return nil
	}
	return c.sessions[len(c.sessions)-1]
}

// Sessions returns all sessions that the server gave, oldest first. In TLS 1.2 that is one: the one resumed, unless the
// server renewed it.
func (c *Conn) Sessions() []*Session { return c.sessions }

func (c *Conn) addSession(s *Session) {
	if len(c.sessions) == maxSessions {
		c.sessions = append(c.sessions[:0], c.sessions[1:]...)
	}
	c.sessions = append(c.sessions, s)
}

// afterwards takes a message that came after the handshake.
func (c *Conn) afterwards(kind byte, body []byte) error {
	switch {
	case kind == typeHelloRequest && !c.in.modern && len(body) == 0: // RFC 5246 section 7.4.1.1: it may be refused
		c.out.write(recordAlert, []byte{alertWarning, alertNoRenegotiation})
		return nil
	case kind == typeNewSessionTicket && c.in.modern:
		return c.keepTicket(body)
	case kind == typeKeyUpdate && c.in.modern:
		return c.updateKeys(body)
	default:
		return fail(alertUnexpectedMessage, "handshake message %d after the handshake", kind)
	}
}

// keepTicket keeps a session of TLS 1.3.
func (c *Conn) keepTicket(body []byte) error {
	t, err := parseTicket13(body)
	if err != nil {
		return err
	}
	if len(t.ticket) > maxTicket {
		return nil // it could not be offered
	}
	psk := c.suite.expand(c.resumption, "resumption", t.nonce, c.suite.hash().Size())
	c.addSession(&Session{
		Version: tls.VersionTLS13, Suite: c.suite.id, ALPN: c.state.ALPN, Ticket: t.ticket, Lifetime: t.lifetime,
		Received: time.Now(), MaxEarlyData: t.early, Certificates: c.state.Certificates, secret: psk, ageAdd: t.ageAdd,
	})
	return nil
}

// updateKeys is RFC 9846 section 4.7.3.
func (c *Conn) updateKeys(body []byte) error {
	if len(body) != 1 || body[0] > 1 {
		return malformed("KeyUpdate")
	}
	c.readSecret, c.in.open = c.suite.update(c.readSecret)
	if requested := body[0] == 1; requested {
		c.out.write(recordHandshake, message(typeKeyUpdate, []byte{0}))
		c.writeSecret, c.out.seal = c.suite.update(c.writeSecret)
	}
	return nil
}
