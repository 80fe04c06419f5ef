package tlscore

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// begin12 goes on behind a TLS 1.2 ServerHello, RFC 5246 section 7.3.
func (c *Conn) begin12() error {
	s := c.h.server
	if s.secure && len(s.renegRaw) > 0 {
		return fail(alertHandshakeFailure, "renegotiation_info of a handshake that was not") // RFC 5746 section 3.4
	}
	if err := c.checkProtocol(s.alpn); err != nil {
		return err
	}
	c.h.await(typeCertificate, (*Conn).certificate12)
	if o := c.h.hello.offered; o == OfferID || o == OfferTicket {
		c.h.await(0, (*Conn).verdict)
		c.h.change = (*Conn).changeAtOnce
	}
	return nil
}

// verdict takes the message behind the ServerHello, which tells whether the server resumes: a ChangeCipherSpec or a
// NewSessionTicket is of an abbreviated handshake (RFC 5246 section 7.3, RFC 5077 section 3.1), a Certificate of a full
// one. The echo of the session ID tells less: it is the session's only when it was offered by ID.
func (c *Conn) verdict(kind byte, body []byte) error {
	switch kind {
	case typeCertificate:
		c.h.change = nil
		return c.certificate12(kind, body)
	case typeNewSessionTicket:
		if err := c.resumed(); err != nil {
			return err
		}
		return c.ticket12(kind, body)
	}
	return unexpected(kind)
}

// changeAtOnce takes a ChangeCipherSpec behind the ServerHello, RFC 5246 section 7.3.
func (c *Conn) changeAtOnce() error {
	if err := c.resumed(); err != nil {
		return err
	}
	if c.h.server.ticket {
		return fail(alertUnexpectedMessage, "ChangeCipherSpec where a NewSessionTicket was due")
	}
	return c.openFinished()
}

// resumed goes on with an abbreviated handshake.
func (c *Conn) resumed() error {
	s, server := c.o.Session, c.h.server
	switch {
	case c.h.hello.offered == OfferID && !bytes.Equal(server.sessionID, s.ID):
		return fail(alertIllegalParameter, "the server resumes without an echo of the session ID")
	case server.extended != s.extended: // RFC 7627 section 5.3
		return fail(alertHandshakeFailure, "the server resumes with another kind of master secret")
	case server.suite != s.Suite: // RFC 5246 section 7.4.1.3
		return fail(alertIllegalParameter, "the server resumes with another cipher suite")
	}
	c.h.master = s.secret
	c.state.Resumed, c.state.Certificates = true, s.Certificates
	c.dueFinish()
	return nil
}

// dueFinish waits for what comes before the server's Finished.
func (c *Conn) dueFinish() {
	c.h.due, c.h.change = nil, (*Conn).openFinished
	if c.h.server.ticket {
		c.h.await(typeNewSessionTicket, (*Conn).ticket12)
		c.h.change = nil
	}
}

func (c *Conn) certificate12(_ byte, body []byte) error {
	c.h.await(0, (*Conn).keyExchange)
	return c.certificates(body)
}

func (c *Conn) keyExchange(kind byte, body []byte) error {
	if kind == typeCertificateStatus { // RFC 6066 section 8: it is not looked at
		return nil
	}
	if c.h.suite.rsa { // RFC 5246 section 7.4.3: there is no such message then
		c.h.due = (*Conn).helloDone
		return c.helloDone(kind, body)
	}
	if kind != typeServerKeyExchange {
		return unexpected(kind)
	}
	k, err := parseKeyExchange(body)
	if err != nil {
		return err
	}
	if curveOf(k.group) == nil || !slices.Contains(c.h.hello.groups(), k.group) {
		return fail(alertIllegalParameter, "the server selected the group %v, which was not offered", k.group)
	}
	c.h.exchange, c.h.due = k, (*Conn).helloDone
	if c.o.Verify == VerifyNothing {
		return nil
	}
	signed := join(c.h.hello.random, c.h.server.random, k.params)
	return c.verifySignature(k.scheme, signed, k.signature)
}

func (c *Conn) helloDone(kind byte, body []byte) error {
	switch {
	case kind == typeCertificateRequest && !c.h.asked:
		c.h.asked, c.state.Asked = true, true
		return nil
	case kind != typeServerHelloDone || len(body) > 0:
		return unexpected(kind)
	}
	if c.h.asked { // RFC 5246 section 7.4.6: there is none
		c.send(message(typeCertificate, []byte{0, 0, 0}))
	}
	if err := c.exchangeKeys(); err != nil {
		return err
	}
	c.dueFinish()
	c.sendFinished12()
	return nil
}

// exchangeKeys answers the server's share with ours and derives the master secret.
func (c *Conn) exchangeKeys() error {
	h := c.h
	exchange := c.ecdhe
	if h.suite.rsa {
		exchange = c.encryptSecret
	}
	premaster, answer, err := exchange()
	if err != nil {
		return err
	}
	c.send(message(typeClientKeyExchange, answer))
	var session []byte
	if h.server.extended {
		session = h.sum()
	}
	h.master = h.suite.master(premaster, h.hello.random, h.server.random, session)
	return nil
}

// ecdhe is RFC 8422 section 5.7.
func (c *Conn) ecdhe() (premaster, answer []byte, err error) {
	k, shares := c.h.exchange, c.h.hello.shares
	c.state.Group = k.group
	premaster, err = shares.agree(k.group, k.share)
	return premaster, appendVector8(nil, shares.public(k.group)), err
}

// encryptSecret is RFC 5246 section 7.4.7.1.
func (c *Conn) encryptSecret() (premaster, answer []byte, err error) {
	key, ok := c.h.leaf.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, nil, fail(alertIllegalParameter, "a key of type %T with an RSA key exchange", c.h.leaf.PublicKey)
	}
	premaster = make([]byte, masterBytes)
	_, _ = rand.Read(premaster) // it never fails
	binary.BigEndian.PutUint16(premaster, tls.VersionTLS12)
	sealed, err := rsa.EncryptPKCS1v15(rand.Reader, key, premaster) //nolint:staticcheck // what the protocol of old servers asks for
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt the secret: %w", err)
	}
	return premaster, appendVector16(nil, sealed), nil
}

// sendFinished12 sends ChangeCipherSpec and Finished.
func (c *Conn) sendFinished12() {
	h := c.h
	verify := prf(h.suite.hash, h.master, "client finished", h.sum(), verifyBytes)
	c.sendChange()
	c.out.seal, _ = h.suite.protectors(h.master, h.hello.random, h.server.random)
	c.send(message(typeFinished, verify))
}

// ticket12 takes the NewSessionTicket that the ServerHello promised, RFC 5077 section 3.3.
func (c *Conn) ticket12(_ byte, body []byte) error {
	if !c.h.server.ticket {
		return fail(alertUnexpectedMessage, "a NewSessionTicket that the ServerHello did not promise")
	}
	c.h.due, c.h.change = nil, (*Conn).openFinished
	var err error
	c.h.renewed, err = parseTicket12(body)
	return err
}

// openFinished sets the keys under which the server's Finished comes.
func (c *Conn) openFinished() error {
	h := c.h
	_, c.in.open = h.suite.protectors(h.master, h.hello.random, h.server.random)
	h.await(typeFinished, (*Conn).finished12)
	h.change = nil
	return nil
}

func (c *Conn) finished12(_ byte, body []byte) error {
	h := c.h
	if !hmac.Equal(body, prf(h.suite.hash, h.master, "server finished", h.before, verifyBytes)) {
		return wrongFinished()
	}
	if c.state.Resumed {
		c.sendFinished12()
	}
	c.keep12()
	c.shaken, c.h = true, nil
	return nil
}

// keep12 keeps the session under its master secret. An empty ticket says that the server gives none after all (RFC 5077
// section 3.3).
func (c *Conn) keep12() {
	h, id := c.h, c.h.server.sessionID
	if c.state.Resumed {
		if h.renewed == nil {
			c.addSession(c.o.Session)
			return
		}
		id = c.o.Session.ID // beside a ticket the server's is an echo of what was drawn at random
	}
	s := &Session{
		Version: tls.VersionTLS12, Suite: h.server.suite, ALPN: h.server.alpn, ID: id,
		Received: time.Now(), Certificates: c.state.Certificates, secret: h.master, extended: h.server.extended,
	}
	if h.renewed != nil && len(h.renewed.ticket) <= maxTicket {
		s.Ticket, s.Lifetime = h.renewed.ticket, h.renewed.lifetime
	}
	if len(s.ID) > 0 || len(s.Ticket) > 0 {
		c.addSession(s)
	}
}
