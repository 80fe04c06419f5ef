package tlscore

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"hash"
	"slices"
)

// handshake is what a handshake in progress holds beyond what its conn keeps.
type handshake struct {
	due    func(c *Conn, kind byte, body []byte) error // takes the next message; nil: a ChangeCipherSpec is due
	kind   byte                                        // that the next message must be of; 0: due decides
	change func(c *Conn) error                         // takes a ChangeCipherSpec of TLS 1.2; nil: none may come
	hello  *maker
	server *serverHello
	suite  *suite // selected

	// The transcript: the messages themselves until the suite tells which hash to take, RFC 5246 section 7.4.9 and RFC 9846
	// section 4.4.1.
	messages   []byte
	transcript hash.Hash
	before     []byte // hash of the transcript up to and without the Finished or CertificateVerify that just came

	leaf  *x509.Certificate
	asked bool // the server asked for a certificate

	// TLS 1.2
	exchange *keyExchange
	master   []byte
	renewed  *ticket12

	// TLS 1.3
	schedule     *schedule
	theirs, ours []byte // handshake traffic secrets
	early        bool   // the server takes the early data
	context      []byte // of its request for a certificate
}

// await says who takes the next message, and of which kind that must be; 0: take decides.
func (h *handshake) await(kind byte, take func(c *Conn, kind byte, body []byte) error) {
	h.kind, h.due = kind, take
}

// message takes one whole handshake message, header and all.
func (c *Conn) message(msg []byte) error {
	kind, body := msg[0], msg[4:]
	if c.shaken {
		return c.afterwards(kind, body)
	}
	h := c.h
	// RFC 5246 section 7.4.1.1: a HelloRequest amid a handshake is ignored, and no part of the transcript.
	if kind == typeHelloRequest && len(body) == 0 && h.server != nil && !c.in.modern {
		return nil
	}
	if kind == typeFinished || kind == typeCertificateVerify {
		if h.transcript == nil {
			return unexpected(kind)
		}
		h.before = h.sum()
	}
	h.record(msg)
	if h.due == nil || h.kind != 0 && kind != h.kind {
		return unexpected(kind)
	}
	return h.due(c, kind, body)
}

// changed takes a ChangeCipherSpec of TLS 1.2.
func (c *Conn) changed() error {
	if c.h == nil || c.h.change == nil {
		return outOfPlace()
	}
	return c.h.change(c)
}

// serverHello takes a ServerHello or HelloRetryRequest.
func (c *Conn) serverHello(_ byte, body []byte) error {
	h, first := c.h, c.h.server
	var err error
	if h.server, err = parseServerHello(body); err != nil {
		return err
	}
	if err := c.checkServerHello(); err != nil {
		return err
	}
	s := h.server
	if first != nil { // behind a HelloRetryRequest
		switch {
		case s.retry():
			return fail(alertUnexpectedMessage, "a second HelloRetryRequest")
		case s.version != first.version || s.suite != first.suite || first.group != 0 && s.group != first.group:
			return fail(alertIllegalParameter, "a ServerHello that says other than the HelloRetryRequest before it")
		}
	} else if s.retry() {
		return c.retry()
	}
	h.transcript = h.suite.hash()
	h.transcript.Write(h.messages)
	h.messages = nil
	if c.in.modern {
		return c.begin13()
	}
	return c.begin12()
}

// checkServerHello checks what both versions have in common.
func (c *Conn) checkServerHello() error {
	h, s := c.h, c.h.server
	c.state.Version, c.state.Suite, c.state.ServerID = s.version, s.suite, s.sessionID
	if s.version < c.o.min() || s.version > c.o.max() {
		return &violation{alertProtocolVersion, &VersionError{s.version}}
	}
	modern := s.version == tls.VersionTLS13
	c.in.modern, c.in.classic = modern, !modern
	h.suite = suiteOf(s.suite)
	if h.suite == nil || h.suite.modern != modern || !slices.Contains(h.hello.suites(), s.suite) {
		return &violation{alertIllegalParameter, &SuiteError{s.suite}}
	}
	if modern && !bytes.Equal(s.sessionID, h.hello.sessionID) {
		return fail(alertIllegalParameter, "the server does not echo the session ID, as TLS 1.3 has it")
	}
	// RFC 9846 section 4.1.3: somebody on the way took TLS 1.3 out of the hello.
	if !modern && c.o.modern() && bytes.HasPrefix(s.random[24:], []byte("DOWNGRD")) {
		return fail(alertIllegalParameter, "the server speaks TLS 1.3, and selects %s because the hello came changed", tls.VersionName(s.version))
	}
	return nil
}

// retry answers a HelloRetryRequest, RFC 9846 section 4.1.4.
func (c *Conn) retry() error {
	h, first := c.h, c.h.server
	fresh := slices.Contains(h.hello.groups(), first.group) && !slices.Contains(h.hello.sharedGroups(), first.group)
	if first.group != 0 && !fresh || first.group == 0 && len(first.cookie) == 0 {
		return fail(alertIllegalParameter, "a HelloRetryRequest that asks for nothing new (group %v)", first.group)
	}
	c.state.Retried = true
	// RFC 9846 section 4.4.1: the first hello goes into the transcript as its hash.
	n := 4 + int(h.messages[1])<<16 + int(h.messages[2])<<8 + int(h.messages[3])
	sum := h.suite.hash()
	sum.Write(h.messages[:n])
	h.messages = append(message(typeMessageHash, sum.Sum(nil)), h.messages[n:]...)
	h.hello.retried, h.hello.retryGroup, h.hello.cookie = true, first.group, first.cookie
	if h.hello.offered == OfferPSK && h.hello.early.suite.hash().Size() != h.suite.hash().Size() {
		h.hello.offered = OfferNone // RFC 9846 section 4.1.4: a PSK for another hash is of no use now
	}
	c.out.seal = nil
	if !h.hello.sendEarly { // else it went with the early data
		c.sendChange()
	}
	return c.sendHello(tls.VersionTLS12)
}

func (c *Conn) sendHello(version uint16) error {
	msg, err := c.h.hello.message(c.h.messages)
	if err != nil {
		return err
	}
	c.h.messages = append(c.h.messages, msg...)
	c.out.b = c.o.appendHello(c.out.room(), msg, version, c.h.hello.deviates().RecordBytes)
	return nil
}

// certificates reads and verifies the chain of a Certificate message.
func (c *Conn) certificates(body []byte) error {
	list, err := parseCertificates(body, c.in.modern)
	if err != nil {
		return err
	}
	chain, err := c.o.chain(list)
	if err != nil {
		return err
	}
	c.state.Certificates, c.h.leaf = chain, chain[0]
	return nil
}

// checkProtocol checks that the server selected a protocol that was offered.
func (c *Conn) checkProtocol(alpn string) error {
	if alpn != "" && !slices.Contains(c.o.ALPN, alpn) {
		return fail(alertIllegalParameter, "the server selected the protocol %q, which was not offered", alpn)
	}
	c.state.ALPN = alpn
	return nil
}

// sendChange sends a ChangeCipherSpec.
func (c *Conn) sendChange() { c.out.write(recordChangeCipherSpec, []byte{1}) }

// send sends a message and adds it to the transcript.
func (c *Conn) send(msg []byte) {
	c.h.record(msg)
	c.out.write(recordHandshake, msg)
}

// record adds a message to the transcript.
func (h *handshake) record(msg []byte) {
	if h.transcript == nil {
		h.messages = append(h.messages, msg...)
		return
	}
	h.transcript.Write(msg)
}

func (h *handshake) sum() []byte { return h.transcript.Sum(nil) }

func outOfPlace() error { return fail(alertUnexpectedMessage, "a ChangeCipherSpec out of place") }

func unexpected(kind byte) error {
	return fail(alertUnexpectedMessage, "handshake message %d out of place", kind)
}

// wrongFinished is how a wrong Finished is told.
func wrongFinished() error {
	return fail(alertDecryptError, "the server's Finished does not match the transcript")
}
