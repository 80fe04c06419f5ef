package tlscore

import (
	"bytes"
	"crypto/hmac"
	"slices"
)

// begin13 goes on behind a TLS 1.3 ServerHello: RFC 9846 section 2.
func (c *Conn) begin13() error {
	h, s := c.h, c.h.server
	var psk []byte
	if s.hasPSK {
		own := -1
		if h.hello.offered == OfferPSK {
			_, own = h.hello.identities()
		}
		if own < 0 || int(s.identity) != own {
			return fail(alertIllegalParameter, "the server selected PSK %d, which was not offered", s.identity)
		}
		if h.hello.early.suite.hash().Size() != h.suite.hash().Size() { // RFC 9846 section 4.3.11
			return fail(alertIllegalParameter, "the server resumes with a cipher suite of another hash")
		}
		psk = c.o.Session.secret
		c.state.Resumed, c.state.Certificates = true, c.o.Session.Certificates
	}
	if !slices.Contains(h.hello.sharedGroups(), s.group) {
		return fail(alertIllegalParameter, "a key share over %v, which was not offered", s.group)
	}
	c.state.Group = s.group
	secret, err := h.hello.shares.agree(s.group, s.share)
	if err != nil {
		return err
	}
	if h.schedule, err = newSchedule(h.suite, psk); err != nil {
		return err
	}
	if err := h.schedule.next(secret); err != nil {
		return err
	}
	if h.ours, err = h.schedule.derive("c hs traffic", h.sum()); err != nil {
		return err
	}
	if h.theirs, err = h.schedule.derive("s hs traffic", h.sum()); err != nil {
		return err
	}
	h.due = (*Conn).extensions
	c.in.open, err = h.suite.traffic(h.theirs)
	return err
}

func (c *Conn) extensions(kind byte, body []byte) error {
	if kind != typeEncryptedExtensions {
		return unexpected(kind)
	}
	e, err := parseEncryptedExtensions(body)
	if err != nil {
		return err
	}
	if err := c.checkProtocol(e.alpn); err != nil {
		return err
	}
	h := c.h
	if e.early && (!h.hello.sendEarly || !h.server.hasPSK || c.state.Retried) {
		return fail(alertUnsupportedExtension, "the server accepts early data that was not offered")
	}
	h.early, c.state.EarlyAccepted = e.early, e.early
	h.due = (*Conn).certificate13
	if h.server.hasPSK {
		h.due = (*Conn).finished13
	}
	return nil
}

// certificate13 takes what tells who the server is, and before it the question who the client is.
func (c *Conn) certificate13(kind byte, body []byte) error {
	h := c.h
	switch {
	case kind == typeCertificateRequest && !h.asked: // RFC 9846 section 4.4.2
		r := reader{b: body}
		h.asked, h.context = true, bytes.Clone(r.vector8())
		c.state.Asked = true
		if r.bad {
			return malformed("CertificateRequest")
		}
		return nil
	case kind == typeCompressedCert && h.hello.compressed():
		var err error
		if body, err = decompress(body); err != nil {
			return err
		}
	case kind != typeCertificate:
		return unexpected(kind)
	}
	h.due = (*Conn).certificateVerify
	return c.certificates(body)
}

const serverContext = "TLS 1.3, server CertificateVerify"

// certificateVerify is RFC 9846 section 4.5.2.
func (c *Conn) certificateVerify(kind byte, body []byte) error {
	if kind != typeCertificateVerify {
		return unexpected(kind)
	}
	r := reader{b: body}
	scheme, signature := parseSignature(&r)
	if !r.whole() {
		return malformed("CertificateVerify")
	}
	c.h.due = (*Conn).finished13
	if c.o.Verify == VerifyNothing {
		return nil
	}
	signed := join(bytes.Repeat([]byte{' '}, 64), []byte(serverContext), []byte{0}, c.h.before)
	return c.verifySignature(scheme, signed, signature)
}

func (c *Conn) finished13(kind byte, body []byte) error {
	if kind != typeFinished {
		return unexpected(kind)
	}
	h := c.h
	want, err := h.suite.finished(h.theirs, h.before)
	if err != nil {
		return err
	}
	if !hmac.Equal(body, want) {
		return wrongFinished()
	}
	if err := h.schedule.next(nil); err != nil {
		return err
	}
	if c.writeSecret, err = h.schedule.derive("c ap traffic", h.sum()); err != nil {
		return err
	}
	if c.readSecret, err = h.schedule.derive("s ap traffic", h.sum()); err != nil {
		return err
	}
	if c.in.open, err = h.suite.traffic(c.readSecret); err != nil {
		return err
	}
	if err := c.sendFlight(); err != nil {
		return err
	}
	c.suite, c.shaken, c.h = h.suite, true, nil
	return nil
}

// sendFlight sends the client's last flight: the end of early data under its keys, then a Certificate that holds none if
// one was asked for, and Finished.
func (c *Conn) sendFlight() error {
	h := c.h
	if h.early {
		c.send(message(typeEndOfEarlyData, nil))
	}
	if !h.hello.sendEarly && !c.state.Retried { // else it went out before: RFC 9846 appendix E.4
		c.sendChange()
	}
	p, err := h.suite.traffic(h.ours)
	if err != nil {
		return err
	}
	c.out.seal = p
	if h.asked {
		c.send(message(typeCertificate, append(appendVector8(nil, h.context), 0, 0, 0)))
	}
	verify, err := h.suite.finished(h.ours, h.sum())
	if err != nil {
		return err
	}
	c.send(message(typeFinished, verify))
	if c.resumption, err = h.schedule.derive("res master", h.sum()); err != nil {
		return err
	}
	c.out.seal, err = h.suite.traffic(c.writeSecret)
	return err
}

// sendEarlyData sends the early data behind the first hello, under a key that hangs on that alone: RFC 9846 section 2.3.
func (c *Conn) sendEarlyData() error {
	early := c.h.hello.early
	sum := early.suite.hash()
	sum.Write(c.h.messages)
	secret, err := early.derive("c e traffic", sum.Sum(nil))
	if err != nil {
		return err
	}
	p, err := early.suite.traffic(secret)
	if err != nil {
		return err
	}
	c.sendChange()
	c.out.seal = p
	c.out.write(recordData, c.o.EarlyData)
	return nil
}
