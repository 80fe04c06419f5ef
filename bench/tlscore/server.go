package tlscore

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"slices"

	lru "github.com/hashicorp/golang-lru"
)

// ErrNotForID says that a hello can do better than resume by session ID: it offers TLS 1.3 or tickets. Nothing was sent, and
// another server may answer the same bytes.
var ErrNotForID = errors.New("tlscore: the hello offers TLS 1.3 or tickets")

// Server is the server's side of TLS 1.2 with session IDs (RFC 5246 section 7.3), for clients that offer neither tickets nor
// TLS 1.3: ECDHE over P-256 or X25519, AES-128-GCM.
type Server struct {
	certificate tls.Certificate
	sessions    *lru.Cache // of serverSession by [32]byte
}

// maxServerSessions bounds the sessions of a Server; those longest not asked for go first.
const maxServerSessions = 100_000

// serverSession is what a server keeps of a session.
type serverSession struct {
	suite    uint16
	master   []byte
	extended bool
}

// NewServer returns a server with the certificate, which has an RSA or a P-256 key, and no sessions.
func NewServer(certificate tls.Certificate) *Server {
	return &Server{certificate, sure(lru.New(maxServerSessions))}
}

// session returns a session that the server keeps.
func (s *Server) session(id []byte) (serverSession, bool) {
	if len(id) != 32 {
		return serverSession{}, false
	}
	kept, _ := s.sessions.Get([32]byte(id))
	session, ok := kept.(serverSession)
	return session, ok
}

// ServerConn is one conn of a Server, without the conn itself, as Conn is: what a client sends goes to Receive, what it is to be sent
// comes from Output.
type ServerConn struct {
	side
	s    *Server
	due  func(body []byte) error // takes the next message; nil: a ChangeCipherSpec, or data
	kind byte                    // of the next message

	hello      *offeredHello
	random     []byte
	id         [32]byte
	suite      *suite
	shares     shares
	group      tls.CurveID
	master     []byte
	resumed    bool
	transcript hash.Hash
	theirs     *protector // what the client seals with, once its ChangeCipherSpec has come
}

// New returns a conn that waits for a hello.
func (s *Server) New() *ServerConn {
	c := &ServerConn{s: s, transcript: sha256.New()}
	c.kind, c.due = typeClientHello, c.clientHello
	return c
}

// Resumed reports whether the client's session was taken up again.
func (c *ServerConn) Resumed() bool { return c.resumed }

// Receive takes bytes that came from the client, in any chunking, and calls data with the application data in them. b may be
// written over, unless the error is ErrNotForID. On any other error Output holds what the client is to be told of it.
func (c *ServerConn) Receive(b []byte, data func(plain []byte)) error {
	if c.err != nil {
		return c.err
	}
	c.err = c.receive(b, data, c)
	return c.err
}

// changed takes the client's ChangeCipherSpec.
func (c *ServerConn) changed() error {
	if c.due != nil || c.theirs == nil || c.shaken {
		return outOfPlace()
	}
	c.in.open, c.kind, c.due = c.theirs, typeFinished, c.finished
	return nil
}

// message takes one whole handshake message, header and all.
func (c *ServerConn) message(msg []byte) error {
	if c.due == nil {
		return fail(alertUnexpectedMessage, "handshake message %d where none was due", msg[0])
	}
	if msg[0] != typeFinished { // that one is checked against what came before it
		c.transcript.Write(msg)
	}
	if msg[0] != c.kind {
		return unexpected(msg[0])
	}
	return c.due(msg[4:])
}

// send sends a message, which is in the transcript then.
func (c *ServerConn) send(kind byte, body []byte) {
	msg := message(kind, body)
	c.transcript.Write(msg)
	c.out.write(recordHandshake, msg)
}

// clientHello answers the hello: by the end of a handshake that resumes, or by the first flight of a full one.
func (c *ServerConn) clientHello(body []byte) error {
	var err error
	if c.hello, err = parseClientHello(body); err != nil {
		return err
	}
	if c.hello.better {
		return ErrNotForID
	}
	c.in.classic = true
	c.random = make([]byte, 32)
	_, _ = rand.Read(c.random) // it never fails
	if s, ok := c.s.session(c.hello.sessionID); ok && s.extended == c.hello.extended && slices.Contains(c.hello.suites, s.suite) {
		c.resumed, c.id, c.suite, c.master = true, [32]byte(c.hello.sessionID), suiteOf(s.suite), s.master
		c.serverHello()
		c.finish()
		return nil
	}
	_, _ = rand.Read(c.id[:]) // it never fails
	id := tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	signer, _ := c.s.certificate.PrivateKey.(crypto.Signer)
	if signer == nil {
		return fail(alertInternalError, "the server's key cannot sign")
	}
	_, isRSA := signer.Public().(*rsa.PublicKey)
	if !isRSA {
		id = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	}
	if !slices.Contains(c.hello.suites, id) {
		return fail(alertHandshakeFailure, "the client does not offer %s", tls.CipherSuiteName(id))
	}
	c.suite = suiteOf(id)
	c.serverHello()
	var list []byte
	for _, der := range c.s.certificate.Certificate {
		list = append(append(list, byte(len(der)>>16), byte(len(der)>>8), byte(len(der))), der...)
	}
	c.send(typeCertificate, append([]byte{byte(len(list) >> 16), byte(len(list) >> 8), byte(len(list))}, list...))
	if err := c.keyExchange(signer, isRSA); err != nil {
		return err
	}
	c.send(typeServerHelloDone, nil)
	c.kind, c.due = typeClientKeyExchange, c.clientKeyExchange
	return nil
}

func (c *ServerConn) serverHello() {
	b := append([]byte{3, 3}, c.random...)
	b = appendVector8(b, c.id[:])
	b = append(b, byte(c.suite.id>>8), byte(c.suite.id), 0)
	var ext []byte
	if c.hello.secure { // RFC 5746 section 3.6
		ext = appendExtension(ext, extensionRenegotiation, []byte{0})
	}
	if c.hello.extended { // RFC 7627 section 5.2
		ext = appendExtension(ext, extensionExtendedMaster, nil)
	}
	if len(ext) > 0 {
		b = appendVector16(b, ext)
	}
	c.send(typeServerHello, b)
}

// keyExchange sends our share and signs it, RFC 8422 section 5.4.
func (c *ServerConn) keyExchange(signer crypto.Signer, isRSA bool) error {
	c.group = tls.X25519
	if !slices.Contains(c.hello.groups, uint16(c.group)) {
		c.group = tls.CurveP256
	}
	params := appendVector8([]byte{3, byte(c.group >> 8), byte(c.group)}, c.shares.public(c.group)) // 3: named_curve
	scheme, opts := tls.ECDSAWithP256AndSHA256, crypto.SignerOpts(crypto.SHA256)
	if isRSA {
		scheme = tls.PKCS1WithSHA256
		if slices.Contains(c.hello.schemes, uint16(tls.PSSWithSHA256)) {
			scheme, opts = tls.PSSWithSHA256, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		}
	}
	digest := sha256.Sum256(join(c.hello.random, c.random, params))
	signature, err := signer.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		return fmt.Errorf("sign key exchange: %w", err)
	}
	c.send(typeServerKeyExchange, appendVector16(append(params, byte(scheme>>8), byte(scheme)), signature))
	return nil
}

// clientKeyExchange agrees on the master secret.
func (c *ServerConn) clientKeyExchange(body []byte) error {
	r := reader{b: body}
	point := r.vector8()
	if !r.whole() {
		return malformed("ClientKeyExchange")
	}
	premaster, err := c.shares.agree(c.group, point)
	if err != nil {
		return err
	}
	var session []byte
	if c.hello.extended {
		session = c.transcript.Sum(nil)
	}
	c.master = c.suite.master(premaster, c.hello.random, c.random, session)
	c.expect()
	return nil
}

// expect waits for the client's ChangeCipherSpec.
func (c *ServerConn) expect() {
	c.due = nil
	c.theirs, _ = c.suite.protectors(c.master, c.hello.random, c.random)
}

// finish sends ChangeCipherSpec and Finished.
func (c *ServerConn) finish() {
	_, ours := c.suite.protectors(c.master, c.hello.random, c.random)
	verify := prf(c.suite.hash, c.master, "server finished", c.transcript.Sum(nil), verifyBytes)
	c.out.write(recordChangeCipherSpec, []byte{1})
	c.out.seal = ours
	c.send(typeFinished, verify)
	if c.resumed {
		c.expect()
	}
}

// finished checks the client's Finished; the session is good from then on.
func (c *ServerConn) finished(body []byte) error {
	if !hmac.Equal(body, prf(c.suite.hash, c.master, "client finished", c.transcript.Sum(nil), verifyBytes)) {
		return fail(alertDecryptError, "the client's Finished does not match the transcript")
	}
	c.due, c.shaken = nil, true
	if c.resumed {
		return nil
	}
	c.transcript.Write(message(typeFinished, body))
	c.finish()
	c.s.sessions.Add(c.id, serverSession{suite: c.suite.id, master: c.master, extended: c.hello.extended})
	return nil
}
