package tlscore

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"testing"

	"homing/bench/testkit"
)

// fakeServer is a server that says what real ones never say. It speaks one suite of each version over X25519, with a
// P-256 certificate.
type fakeServer struct {
	t    *testing.T
	key  crypto.Signer
	cert *x509.Certificate

	// edit changes the body of a message before it is sent and goes into the server's transcript; nil: as it is. What it
	// makes nil is not sent.
	edit func(kind byte, body []byte) []byte
	// records, when not nil, changes what the server sends in one go.
	records func(flight int, b []byte) []byte
	// resume makes the server resume this session.
	resume *Session
	// classic: TLS 1.2 is selected whatever is offered.
	classic bool
	// sentinel takes the place of the end of the server's random.
	sentinel string
	// plain: no extended master secret, ticket: a NewSessionTicket, group: what the key share says it is of.
	plain, ticket bool

	hello        []byte
	clientRandom []byte
	random       []byte
	messages     []byte // transcript
	out          []byte
	seal         *protector
	flights      int
}

// options trust the fake server.
func newFake(t *testing.T) (*fakeServer, Options) {
	t.Helper()
	key := testkit.ECDSA(t)
	cert, roots := certify(t, key)
	return &fakeServer{t: t, key: key, cert: cert}, Options{ServerName: serverName, Roots: roots}
}

// meet lets the client of the options meet the server, and returns it with the error of its handshake and the last bytes it had to say.
func (s *fakeServer) meet(o Options) (c *Conn, last []byte, err error) {
	s.t.Helper()
	c, err = New(&o)
	if err != nil {
		s.t.Fatal(err)
	}
	hello := c.Output()[:c.HelloLen()]
	s.hello = bytes.Clone(hello[headerBytes:])
	s.clientRandom = s.hello[6:38]
	s.random = bytes.Repeat([]byte{0x5e}, 32)
	s.messages = bytes.Clone(s.hello)
	copy(s.random[32-len(s.sentinel):], s.sentinel)
	if o.max() == tls.VersionTLS13 && !s.classic {
		err = s.meet13(c)
	} else {
		err = s.meet12(c)
	}
	return c, bytes.Clone(c.Output()), err
}

// say puts a message into the next flight.
func (s *fakeServer) say(kind byte, body []byte) {
	if s.edit != nil {
		if body = s.edit(kind, bytes.Clone(body)); body == nil {
			return
		}
	}
	msg := message(kind, body)
	s.messages = append(s.messages, msg...)
	s.record(recordHandshake, msg)
}

func (s *fakeServer) record(kind byte, body []byte) {
	if s.seal != nil {
		s.out = s.seal.seal(s.out, kind, body)
		return
	}
	s.out = appendVector16(append(s.out, kind, 3, 3), body)
}

// fly sends the flight.
func (s *fakeServer) fly(c *Conn) error {
	b := s.out
	s.out = nil
	if s.records != nil {
		b = s.records(s.flights, b)
	}
	s.flights++
	return c.Receive(b, func([]byte) {})
}

func (s *fakeServer) sum(hash crypto.Hash) []byte {
	h := hash.New()
	h.Write(s.messages)
	return h.Sum(nil)
}

func (s *fakeServer) sign(signed []byte) []byte {
	digest := sha256.Sum256(signed)
	signature, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		s.t.Fatal(err)
	}
	return appendVector16(uint16s(tls.ECDSAWithP256AndSHA256), signature)
}

func (s *fakeServer) share() *ecdh.PrivateKey {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// certificate is the body of a Certificate message.
func (s *fakeServer) certificate(modern bool) []byte {
	entry := append([]byte{0, byte(len(s.cert.Raw) >> 8), byte(len(s.cert.Raw))}, s.cert.Raw...)
	if modern {
		entry = append(entry, 0, 0)
	}
	body := append([]byte{0, byte(len(entry) >> 8), byte(len(entry))}, entry...)
	if modern {
		return append([]byte{0}, body...)
	}
	return body
}

func (s *fakeServer) meet12(c *Conn) error {
	suite := suiteOf(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	var ext []byte
	if !s.plain {
		ext = appendExtension(ext, extensionExtendedMaster, nil)
	}
	if s.ticket {
		ext = appendExtension(ext, extensionSessionTicket, nil)
	}
	id := []byte("session of the fake")
	if s.resume != nil {
		id = s.resume.ID
	}
	s.say(typeServerHello, s.serverHello(id, suite.id, ext))
	if s.resume != nil {
		return s.finish12(c, suite, s.resume.secret)
	}
	key := s.share()
	params := appendVector8(append([]byte{3}, uint16s(tls.X25519)...), key.PublicKey().Bytes())
	s.say(typeCertificate, s.certificate(false))
	s.say(typeServerKeyExchange, append(bytes.Clone(params), s.sign(join(s.clientRandom, s.random, params))...))
	s.say(typeServerHelloDone, []byte{})
	if err := s.fly(c); err != nil {
		return err
	}
	answer := c.Output()
	if len(answer) == 0 {
		return nil // the client waits for more
	}
	n := 4 + int(answer[headerBytes+3]) // ClientKeyExchange is shorter than 256 bytes
	exchange := answer[headerBytes : headerBytes+n]
	s.messages = append(s.messages, exchange...)
	public, err := ecdh.X25519().NewPublicKey(exchange[5:])
	if err != nil {
		s.t.Fatal(err)
	}
	premaster, err := key.ECDH(public)
	if err != nil {
		s.t.Fatal(err)
	}
	master := prf(sha256.New, premaster, "extended master secret", s.sum(crypto.SHA256), masterBytes)
	if s.plain {
		master = prf(sha256.New, premaster, "master secret", join(s.clientRandom, s.random), masterBytes)
	}
	verify := prf(sha256.New, master, "client finished", s.sum(crypto.SHA256), verifyBytes)
	s.messages = append(s.messages, message(typeFinished, verify)...)
	return s.finish12(c, suite, master)
}

func (s *fakeServer) finish12(c *Conn, suite *suite, master []byte) error {
	if s.ticket {
		s.say(typeNewSessionTicket, appendVector16([]byte{0, 0, 1, 0}, bytes.Repeat([]byte{9}, 64)))
	}
	s.record(recordChangeCipherSpec, []byte{1})
	_, s.seal = suite.protectors(master, s.clientRandom, s.random)
	s.say(typeFinished, prf(sha256.New, master, "server finished", s.sum(crypto.SHA256), verifyBytes))
	return s.fly(c)
}

func (s *fakeServer) serverHello(id []byte, suite uint16, ext []byte) []byte {
	body := join([]byte{3, 3}, s.random)
	body = appendVector8(body, id)
	body = binary.BigEndian.AppendUint16(body, suite)
	return appendVector16(append(body, 0), ext)
}

func (s *fakeServer) meet13(c *Conn) error {
	suite := suiteOf(tls.TLS_AES_128_GCM_SHA256)
	key := s.share()
	public, err := ecdh.X25519().NewPublicKey(s.clientShare())
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := key.ECDH(public)
	if err != nil {
		s.t.Fatal(err)
	}
	ext := appendExtension(nil, extensionSupportedVersions, []byte{3, 4})
	ext = appendExtension(ext, extensionKeyShare, appendVector16(uint16s(tls.X25519), key.PublicKey().Bytes()))
	var psk []byte
	if s.resume != nil {
		psk = s.resume.secret
		ext = appendExtension(ext, extensionPreSharedKey, []byte{0, 0})
	}
	s.say(typeServerHello, s.serverHello(s.hello[39:39+32], suite.id, ext))
	k := newSchedule(suite, psk)
	k.next(secret)
	base := k.derive("s hs traffic", s.sum(crypto.SHA256))
	s.seal = suite.traffic(base)
	s.say(typeEncryptedExtensions, []byte{0, 0})
	if s.resume == nil {
		s.say(typeCertificate, s.certificate(true))
		signed := join(bytes.Repeat([]byte{' '}, 64), []byte(serverContext), []byte{0}, s.sum(crypto.SHA256))
		s.say(typeCertificateVerify, s.sign(signed))
	}
	verify := suite.finished(base, s.sum(crypto.SHA256))
	s.say(typeFinished, verify)
	k.next(nil)
	traffic := k.derive("s ap traffic", s.sum(crypto.SHA256))
	if err := s.fly(c); err != nil {
		return err
	}
	s.seal = suite.traffic(traffic)
	return nil
}

// clientShare returns the client's key share over X25519.
func (s *fakeServer) clientShare() []byte {
	var share []byte
	body, _ := helloExtension(s.hello, extensionKeyShare)
	r := reader{b: body}
	list := reader{b: r.vector16()}
	for len(list.b) > 0 && !list.bad {
		if group, key := tls.CurveID(list.uint16()), list.vector16(); group == tls.X25519 {
			share = key
		}
	}
	return share
}

// helloExtension returns the body of an extension of a hello.
func helloExtension(msg []byte, id uint16) (found []byte, ok bool) {
	r := reader{b: msg[4:]}
	r.bytes(2 + 32)
	r.vector8()
	r.vector16()
	r.vector8()
	r.extensions(func(have uint16, body *reader) {
		if have == id {
			found, ok = bytes.Clone(body.b), true
		}
	})
	return found, ok
}
