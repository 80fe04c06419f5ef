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
	h.schedule = newSchedule(h.suite, psk)
	h.schedule.next(secret)
	h.ours = h.schedule.derive("c hs traffic", h.sum())
	h.theirs = h.schedule.derive("s hs traffic", h.sum())
	h.await(typeEncryptedExtensions, (*Conn).extensions)
	c.in.open = h.suite.traffic(h.theirs)
	return nil
}

func (c *Conn) extensions(_ byte, body []byte) error {
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
	h.await(0, (*Conn).certificate13)
	if h.server.hasPSK {
		h.await(typeFinished, (*Conn).finished13)
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
	h.await(typeCertificateVerify, (*Conn).certificateVerify)
	return c.certificates(body)
}

const serverContext = "TLS 1.3, server CertificateVerify"

// certificateVerify is RFC 9846 section 4.5.2.
func (c *Conn) certificateVerify(_ byte, body []byte) error {
	r := reader{b: body}
	scheme, signature := parseSignature(&r)
	if !r.whole() {
		return malformed("CertificateVerify")
	}
	c.h.await(typeFinished, (*Conn).finished13)
	if c.o.Verify == VerifyNothing {
		return nil
	}
	signed := join(bytes.Repeat([]byte{' '}, 64), []byte(serverContext), []byte{0}, c.h.before)
	return c.verifySignature(scheme, signed, signature)
}

func (c *Conn) finished13(_ byte, body []byte) error {
	h := c.h
	if !hmac.Equal(body, h.suite.finished(h.theirs, h.before)) {
		return wrongFinished()
	}
	h.schedule.next(nil)
	c.writeSecret = h.schedule.derive("c ap traffic", h.sum())
	c.readSecret = h.schedule.derive("s ap traffic", h.sum())
	c.in.open = h.suite.traffic(c.readSecret)
	c.sendFlight()
	c.suite, c.shaken, c.h = h.suite, true, nil
	return nil
}

// sendFlight sends the client's last flight: the end of early data under its keys, then a Certificate that holds none if
// one was asked for, and Finished.
func (c *Conn) sendFlight() {
	h := c.h
	if h.early {
		c.send(message(typeEndOfEarlyData, nil))
	}
	if !h.hello.sendEarly && !c.state.Retried { // else it went out before: RFC 9846 appendix E.4
		c.sendChange()
	}
	c.out.seal = h.suite.traffic(h.ours)
	if h.asked {
		c.send(message(typeCertificate, append(appendVector8(nil, h.context), 0, 0, 0)))
	}
	c.send(message(typeFinished, h.suite.finished(h.ours, h.sum())))
	c.resumption = h.schedule.derive("res master", h.sum())
	c.out.seal = h.suite.traffic(c.writeSecret)
}

// sendEarlyData sends the early data behind the first hello, under a key that hangs on that alone: RFC 9846 section 2.3.
func (c *Conn) sendEarlyData() {
	early := c.h.hello.early
	sum := early.suite.hash()
	sum.Write(c.h.messages)
	c.sendChange()
	c.out.seal = early.suite.traffic(early.derive("c e traffic", sum.Sum(nil)))
	c.out.write(recordData, c.o.EarlyData)
}
