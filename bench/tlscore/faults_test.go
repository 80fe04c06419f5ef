package tlscore

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// flip changes one bit of messages of a kind: bit 0 of the byte at that offset, from the end when it is below 0.
func flip(kind byte, at int) func(byte, []byte) []byte {
	return func(k byte, body []byte) []byte {
		if k == kind {
			i := at
			if i < 0 {
				i += len(body)
			}
			body[i] ^= 1
		}
		return body
	}
}

// drop leaves messages of a kind out.
func drop(kind byte) func(byte, []byte) []byte {
	return func(k byte, body []byte) []byte {
		if k == kind {
			return nil
		}
		return body
	}
}

// with adds an extension to ServerHellos, or EncryptedExtensions.
func with(kind byte, id uint16, value []byte) func(byte, []byte) []byte {
	return func(k byte, body []byte) []byte {
		if k != kind {
			return body
		}
		at := 2 + 32 + 1 + int(body[min(34, len(body)-1)]) + 3
		if kind == typeEncryptedExtensions {
			at = 0
		}
		return appendVector16(bytes.Clone(body[:at]), appendExtension(bytes.Clone(body[at+2:]), id, value))
	}
}

// Without an edit the fake server is a right one.
func TestFakeServerIsUnderstood(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s, o := newFake(t)
		s.ticket = version == tls.VersionTLS12
		c, _, err := s.meet(only(o, version))
		if err != nil || !c.Shaken() {
			t.Errorf("%s: shaken %v, %v", tls.VersionName(version), c.Shaken(), err)
		}
	}
	s, o := newFake(t)
	s.plain = true
	c, _, err := s.meet(only(o, tls.VersionTLS12))
	if err != nil || !c.Shaken() || c.Session().extended {
		t.Errorf("without the extended master secret: %v", err)
	}
}

func TestConnDetectsFaults(t *testing.T) {
	const v12, v13 = tls.VersionTLS12, tls.VersionTLS13
	for _, tt := range []struct {
		what    string
		version uint16
		edit    func(byte, []byte) []byte
		alert   uint8
		want    string
	}{
		{"a wrong Finished", v12, flip(typeFinished, 0), alertDecryptError, "Finished does not match"},
		{"a wrong Finished", v13, flip(typeFinished, -1), alertDecryptError, "Finished does not match"},
		{"a Finished too short", v12, func(k byte, b []byte) []byte {
			if k == typeFinished {
				return b[:11]
			}
			return b
		}, alertDecryptError, "Finished does not match"},
		{"a signature over other parameters", v12, flip(typeServerKeyExchange, 5), alertDecryptError, "the server's signature"},
		{"a wrong signature", v12, flip(typeServerKeyExchange, -1), alertDecryptError, "the server's signature"},
		{"a wrong signature", v13, flip(typeCertificateVerify, -1), alertDecryptError, "the server's signature"},
		{"a group that was not offered", v12, flip(typeServerKeyExchange, 1), alertIllegalParameter, "group"},
		{"a signature scheme of another curve", v13, flip(typeCertificateVerify, 0), alertDecryptError, "a key on P-256"},
		{"a signature scheme that was not offered", v13, func(k byte, b []byte) []byte {
			if k == typeCertificateVerify {
				copy(b, uint16s(tls.ECDSAWithSHA1))
			}
			return b
		}, alertIllegalParameter, "scheme"},
		{"another certificate", v12, flip(typeCertificate, 200), alertBadCertificate, "certificate"},
		{"another certificate", v13, flip(typeCertificate, 200), alertBadCertificate, "certificate"},
		{"no certificate", v12, drop(typeCertificate), alertUnexpectedMessage, "out of place"},
		{"no key exchange", v12, drop(typeServerKeyExchange), alertUnexpectedMessage, "out of place"},
		{"no certificate", v13, drop(typeCertificate), alertUnexpectedMessage, "out of place"},
		{"no signature", v13, drop(typeCertificateVerify), alertUnexpectedMessage, "out of place"},
		{"no encrypted extensions", v13, drop(typeEncryptedExtensions), alertUnexpectedMessage, "out of place"},
		{"a cipher suite that was not offered", v12, flip(typeServerHello, 34+1+19), alertIllegalParameter, "selected"},
		{"a compression", v12, flip(typeServerHello, 34+1+19+2), alertIllegalParameter, "compression"},
		{"TLS 1.2 by another number", v12, flip(typeServerHello, 1), alertProtocolVersion, "selected TLS 1.1"},
		{"a session ID that is no echo", v13, flip(typeServerHello, 40), alertIllegalParameter, "echo"},
		{"an extension that was not offered", v12, with(typeServerHello, 0x1234, nil), alertUnsupportedExtension, "extension 4660"},
		{"renegotiation of a first handshake", v12, with(typeServerHello, extensionRenegotiation, []byte{1, 7}), alertHandshakeFailure, "renegotiation_info"},
		{"a protocol that was not offered", v12, with(typeServerHello, extensionALPN, []byte{0, 3, 2, 'h', '3'}), alertIllegalParameter, "protocol \"h3\""},
		{"a protocol that was not offered", v13, with(typeEncryptedExtensions, extensionALPN, []byte{0, 3, 2, 'h', '3'}), alertIllegalParameter, "protocol \"h3\""},
		{"two protocols", v13, with(typeEncryptedExtensions, extensionALPN, []byte{0, 4, 1, 'a', 1, 'b'}), alertDecodeError, "malformed"},
		{"early data that was not offered", v13, with(typeEncryptedExtensions, extensionEarlyData, nil), alertUnsupportedExtension, "early data"},
		{"a PSK that was not offered", v13, with(typeServerHello, extensionPreSharedKey, []byte{0, 0}), alertIllegalParameter, "PSK 0"},
		{"an extension twice", v13, with(typeServerHello, extensionSupportedVersions, []byte{3, 4}), alertDecodeError, "malformed"},
		{"a promise of a ticket", v12, with(typeServerHello, extensionSessionTicket, nil), alertUnexpectedMessage, "out of place"},
	} {
		t.Run(tls.VersionName(tt.version)+" "+tt.what, func(t *testing.T) {
			s, o := newFake(t)
			s.edit = tt.edit
			c, last, err := s.meet(only(o, tt.version))
			if err == nil || !strings.Contains(err.Error(), tt.want) || c.Shaken() && tt.version == v13 {
				t.Fatalf("shaken %v, error %v, want %q in it", c.Shaken(), err, tt.want)
			}
			if tt.version == v12 && !bytes.HasSuffix(last, []byte{recordAlert, 3, 3, 0, 2, alertFatal, tt.alert}) && c.out.seal == nil {
				t.Errorf("the client's last words are %x, want alert %d", last, tt.alert)
			}
			if v := (*violation)(nil); !errors.As(err, &v) || v.alert != tt.alert {
				t.Errorf("alert in %v, want %d", err, tt.alert)
			}
			if err := c.Write([]byte("data")); err == nil && !c.Shaken() {
				t.Error("data is taken behind a failed handshake")
			}
		})
	}
}

// A server that speaks TLS 1.3 says so in the random of TLS 1.2: then somebody changed the hello on its way.
func TestConnDetectsADowngrade(t *testing.T) {
	for _, sentinel := range []string{"", "DOWNGRD\x00", "DOWNGRD\x01"} {
		s, o := newFake(t)
		s.classic, s.sentinel = true, sentinel
		if _, _, err := s.meet(o); (err == nil) != (sentinel == "") {
			t.Errorf("sentinel %q, TLS 1.3 offered: error %v", sentinel, err)
		}
		s, o = newFake(t)
		s.classic, s.sentinel = true, sentinel
		if _, _, err := s.meet(only(o, tls.VersionTLS12)); err != nil {
			t.Errorf("sentinel %q, TLS 1.3 not offered: error %v", sentinel, err)
		}
	}
}

// The second hello is the first but for what RFC 9846 section 4.1.2 lets it change.
func TestConnSecondHello(t *testing.T) {
	session := resumable(tls.VersionTLS13, false)
	session.MaxEarlyData = 100
	for _, shape := range []*Shape{Plain(), Chrome()} {
		o := Options{ServerName: serverName, Shape: shape, Session: session, EarlyData: []byte("early"), MinVersion: tls.VersionTLS13}
		c, err := New(&o)
		if err != nil {
			t.Fatal(err)
		}
		first := unwrap(t, c.Output()[:c.HelloLen()])
		ext := appendExtension(nil, extensionSupportedVersions, []byte{3, 4})
		ext = appendExtension(ext, extensionKeyShare, uint16s(tls.CurveP384))
		ext = appendExtension(ext, extensionCookie, appendVector16(nil, []byte("cookie")))
		body := appendVector8(join([]byte{3, 3}, []byte(retryRandom)), first[39:39+32])
		body = appendVector16(append(body, 0x13, 1, 0), ext)
		if err := c.Receive(appendVector16([]byte{recordHandshake, 3, 3}, message(typeServerHello, body)), nil); err != nil {
			t.Fatal(err)
		}
		second := unwrap(t, c.Output())
		if !bytes.Equal(first[4:4+2+32+1+32], second[4:4+2+32+1+32]) {
			t.Errorf("%s: another random or session ID", shape.Name)
		}
		for _, want := range []struct {
			id            uint16
			first, second bool
		}{{extensionEarlyData, true, false}, {extensionCookie, false, true}, {extensionPreSharedKey, true, true}} {
			_, in1 := helloExtension(first, want.id)
			_, in2 := helloExtension(second, want.id)
			if in1 != want.first || in2 != want.second {
				t.Errorf("%s: extension %d is in the first %v, in the second %v", shape.Name, want.id, in1, in2)
			}
		}
		share, _ := helloExtension(second, extensionKeyShare)
		if r := (reader{b: share[2:]}); tls.CurveID(r.uint16()) != tls.CurveP384 || len(r.vector16()) != 97 || !r.whole() {
			t.Errorf("%s: the key share is %x", shape.Name, share)
		}
		binder, _ := helloExtension(second, extensionPreSharedKey)
		if old, _ := helloExtension(first, extensionPreSharedKey); bytes.Equal(old, binder) {
			t.Errorf("%s: the binder is that of the first hello", shape.Name)
		}
		again := appendVector16([]byte{recordHandshake, 3, 3}, message(typeServerHello, body))
		if err := c.Receive(again, nil); err == nil || !strings.Contains(err.Error(), "a second HelloRetryRequest") {
			t.Errorf("%s, asked a second time: %v", shape.Name, err)
		}
		_, ids := outline(t, first)
		for _, id := range ids {
			one, _ := helloExtension(first, id)
			two, ok := helloExtension(second, id)
			changes := id == extensionEarlyData || id == extensionPreSharedKey || id == extensionKeyShare || id == 0x0a0a
			if !changes && (!ok || !bytes.Equal(one, two)) {
				t.Errorf("%s: extension %d changed", shape.Name, id)
			}
		}
	}
}

// resumable is a session that the fake server can resume.
func resumable(version uint16, extended bool) *Session {
	s := &Session{Version: version, ID: []byte("session of the fake"), secret: bytes.Repeat([]byte{3}, 48), extended: extended, Received: time.Now()}
	s.Suite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	if version == tls.VersionTLS13 {
		s.Suite, s.secret, s.Ticket = tls.TLS_AES_128_GCM_SHA256, s.secret[:32], []byte("identity")
	}
	return s
}

func TestConnDetectsFaultsOfResumption(t *testing.T) {
	for _, tt := range []struct {
		what string
		s    *Session
		set  func(*fakeServer, *Options)
		want string // error; empty: it is resumed
	}{
		{"by ID", resumable(tls.VersionTLS12, true), func(*fakeServer, *Options) {}, ""},
		{"by ID with a new ticket", resumable(tls.VersionTLS12, true), func(s *fakeServer, o *Options) { s.ticket, o.Tickets = true, true }, ""},
		{"by PSK", resumable(tls.VersionTLS13, false), func(*fakeServer, *Options) {}, ""},
		{
			"another master secret", resumable(tls.VersionTLS12, true),
			func(s *fakeServer, _ *Options) { s.resume.secret = bytes.Repeat([]byte{4}, 48) }, "does not open",
		},
		{"another PSK", resumable(tls.VersionTLS13, false), func(s *fakeServer, _ *Options) { s.resume.secret = bytes.Repeat([]byte{4}, 32) }, "does not open"},
		{"a wrong Finished", resumable(tls.VersionTLS12, true), func(s *fakeServer, _ *Options) { s.edit = flip(typeFinished, 0) }, "Finished does not match"},
		{"a wrong Finished by PSK", resumable(tls.VersionTLS13, false), func(s *fakeServer, _ *Options) { s.edit = flip(typeFinished, 0) }, "Finished does not match"},
		{"without the extended master secret", resumable(tls.VersionTLS12, true), func(s *fakeServer, _ *Options) { s.plain = true }, "another kind of master secret"},
		{"with it where there was none", resumable(tls.VersionTLS12, false), func(*fakeServer, *Options) {}, "another kind of master secret"},
		{"without an echo", resumable(tls.VersionTLS12, true), func(s *fakeServer, _ *Options) { s.resume.ID = []byte("other") }, "without an echo"},
		{"another suite", resumable(tls.VersionTLS12, true), func(_ *fakeServer, o *Options) {
			o.Session.Suite = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		}, "another cipher suite"},
		{"a suite of another hash", resumable(tls.VersionTLS13, false), func(_ *fakeServer, o *Options) {
			o.Session.Suite = tls.TLS_AES_256_GCM_SHA384
		}, "another hash"},
		{"the second of one PSK", resumable(tls.VersionTLS13, false), func(s *fakeServer, _ *Options) { s.edit = flip(typeServerHello, -1) }, "PSK 1"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s, o := newFake(t)
			mine, theirs := *tt.s, *tt.s
			o.Session, s.resume = &mine, &theirs
			tt.set(s, &o)
			c, _, err := s.meet(only(o, tt.s.Version))
			if tt.want == "" {
				if err != nil || !c.Shaken() || !c.State().Resumed {
					t.Errorf("%+v, %v", c.State(), err)
				}
				return
			}
			if err == nil || c.Shaken() || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("shaken %v, error %v, want %q in it", c.Shaken(), err, tt.want)
			}
		})
	}
}

// Early data goes with the PSK: a server that refuses the one cannot take the other.
func TestConnDetectsEarlyDataWithoutPSK(t *testing.T) {
	s, o := newFake(t)
	o.Session, o.EarlyData = resumable(tls.VersionTLS13, false), []byte("early")
	o.Session.MaxEarlyData = 100
	c, _, err := s.meet(only(o, tls.VersionTLS13))
	if err != nil || c.State().Resumed || !c.State().EarlyOffered || c.State().EarlyAccepted {
		t.Errorf("refused: %+v, %v", c.State(), err)
	}
	*s = fakeServer{t: t, key: s.key, cert: s.cert, edit: with(typeEncryptedExtensions, extensionEarlyData, nil)}
	if _, _, err := s.meet(only(o, tls.VersionTLS13)); err == nil || !strings.Contains(err.Error(), "early data that was not offered") {
		t.Errorf("taken without the PSK: %v", err)
	}
}

func TestVerifySignatureKnowsTheVersion(t *testing.T) {
	key := testkit.RSA(t)
	cert, _ := certify(t, key)
	digest := sha256.Sum256([]byte("signed"))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, modern := range []bool{false, true} {
		c := &Conn{h: &handshake{leaf: cert}}
		c.in.modern = modern
		if err := c.verifySignature(tls.PKCS1WithSHA256, []byte("signed"), signature); (err != nil) != modern {
			t.Errorf("PKCS #1 v1.5, TLS 1.3 %v: %v", modern, err)
		}
	}
}

// A ticket that the server renews takes the place of the old one.
func TestConnKeepsTheRenewedTicket(t *testing.T) {
	s, o := newFake(t)
	o.Session, o.Tickets = resumable(tls.VersionTLS12, true), true
	s.resume, s.ticket = o.Session, true
	c, _, err := s.meet(only(o, tls.VersionTLS12))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Session()
	if len(got.Ticket) != 64 || got.Lifetime != 256*time.Second || !bytes.Equal(got.ID, o.Session.ID) || !bytes.Equal(got.secret, o.Session.secret) {
		t.Errorf("%+v", got)
	}
	// Without a renewal the session stays what it is.
	s.ticket, s.seal, s.out = false, nil, nil
	if c, _, err = s.meet(only(o, tls.VersionTLS12)); err != nil || c.Session() != o.Session {
		t.Errorf("%+v, %v", c.Session(), err)
	}
}

func TestConnVerifies(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range []struct {
			verify Verify
			name   string
			edit   func(byte, []byte) []byte
			ok     bool
		}{
			{VerifyAll, serverName, nil, true},
			{VerifyAll, "other.test", nil, false},
			{VerifySignature, "other.test", nil, true},
			{VerifySignature, "other.test", func(k byte, b []byte) []byte {
				return flip(typeCertificateVerify, -1)(k, flip(typeServerKeyExchange, -1)(k, b))
			}, false},
			{VerifyNothing, "other.test", func(k byte, b []byte) []byte {
				return flip(typeCertificateVerify, -1)(k, flip(typeServerKeyExchange, -1)(k, b))
			}, true},
		} {
			s, o := newFake(t)
			s.edit = tt.edit
			o.ServerName, o.Verify = tt.name, tt.verify
			_, _, err := s.meet(only(o, version))
			if (err == nil) != tt.ok {
				t.Errorf("%s, verify %d for %s: %v", tls.VersionName(version), tt.verify, tt.name, err)
			}
			if e := (*CertificateError)(nil); tt.verify == VerifyAll && err != nil {
				if !errors.As(err, &e) || len(e.Chain) != 1 || !errors.As(err, &x509.HostnameError{}) {
					t.Errorf("error %v", err)
				}
			}
		}
	}
}

// A shared cache verifies a chain once, and still tells names and authorities apart.
func TestCertificateCache(t *testing.T) {
	s, o := newFake(t)
	o.Verified = &CertificateCache{}
	c, _, err := s.meet(o)
	if err != nil {
		t.Fatal(err)
	}
	first := c.State().Certificates[0]
	*s = fakeServer{t: t, key: s.key, cert: s.cert}
	if c, _, err = s.meet(o); err != nil || c.State().Certificates[0] != first {
		t.Errorf("the chain was read again, %v", err)
	}
	*s = fakeServer{t: t, key: s.key, cert: s.cert}
	o.ServerName = "other.test"
	if _, _, err = s.meet(o); err == nil {
		t.Error("a chain verified for one name was taken for another")
	}
	stranger, _ := newFake(t)
	o.ServerName = serverName
	if _, _, err = stranger.meet(o); err == nil {
		t.Error("another chain was taken for one that was verified")
	}
}

// Records that break the rules.
func TestConnDetectsFaultsOfRecords(t *testing.T) {
	insert := func(record ...byte) func(int, []byte) []byte {
		return func(flight int, b []byte) []byte {
			if flight > 0 {
				return b
			}
			n := headerBytes + int(b[3])<<8 + int(b[4])
			return slices.Concat(b[:n], record, b[n:])
		}
	}
	for _, tt := range []struct {
		what    string
		version uint16
		records func(int, []byte) []byte
		want    string
	}{
		{"a warning", tls.VersionTLS12, insert(recordAlert, 3, 3, 0, 2, alertWarning, 112), ""},
		{"a fatal alert", tls.VersionTLS12, insert(recordAlert, 3, 3, 0, 2, alertFatal, 40), "alert: tls: handshake failure"},
		{"a warning by close_notify", tls.VersionTLS12, insert(recordAlert, 3, 3, 0, 2, alertWarning, 0), "closed the conn"},
		{"an alert too long", tls.VersionTLS12, insert(recordAlert, 3, 3, 0, 3, 1, 2, 3), "alert of 3 bytes"},
		{"warnings without end", tls.VersionTLS12, insert(bytes.Repeat([]byte{recordAlert, 3, 3, 0, 2, alertWarning, 112}, 40)...), "say nothing"},
		{"a ChangeCipherSpec of TLS 1.3", tls.VersionTLS13, insert(recordChangeCipherSpec, 3, 3, 0, 1, 1), ""},
		{"one that is none", tls.VersionTLS13, insert(recordChangeCipherSpec, 3, 3, 0, 1, 2), "ChangeCipherSpec that is none"},
		{"one too early", tls.VersionTLS12, insert(recordChangeCipherSpec, 3, 3, 0, 1, 1), "out of place"},
		{"data in the clear", tls.VersionTLS12, insert(recordData, 3, 3, 0, 1, 1), "data amid"},
		{"data in the clear", tls.VersionTLS13, insert(recordData, 3, 3, 0, 1, 1), "cannot be a sealed one"},
		{"an unsealed handshake", tls.VersionTLS13, insert(recordHandshake, 3, 3, 0, 4, 8, 0, 0, 0), "cannot be a sealed one"},
		{"an empty handshake record", tls.VersionTLS12, insert(recordHandshake, 3, 3, 0, 0), "empty record"},
		{"an unknown type", tls.VersionTLS12, insert(99, 3, 3, 0, 1, 1), "record of type 99"},
		{"a record of another version", tls.VersionTLS12, insert(recordHandshake, 2, 3, 0, 4, 0, 0, 0, 0), "a record of version 2.3"},
		{"a record too long", tls.VersionTLS12, insert(recordHandshake, 3, 3, 0x60, 0), "record of 24576 bytes"},
		{"a message too long", tls.VersionTLS12, insert(recordHandshake, 3, 3, 0, 4, 11, 9, 0, 0), "message of 589828 bytes"},
		{"a HelloRequest", tls.VersionTLS12, insert(recordHandshake, 3, 3, 0, 4, 0, 0, 0, 0), ""},
		{"a changed sealed byte", tls.VersionTLS13, func(_ int, b []byte) []byte { b[len(b)-20] ^= 1; return b }, "does not open"},
	} {
		s, o := newFake(t)
		s.records = tt.records
		c, _, err := s.meet(only(o, tt.version))
		switch {
		case tt.want == "" && (err != nil || !c.Shaken()):
			t.Errorf("%s: shaken %v, %v", tt.what, c.Shaken(), err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %q in it", tt.what, err, tt.want)
		}
	}
}

// What a server says behind the handshake.
func TestConnAfterTheHandshake(t *testing.T) {
	s, o := newFake(t)
	c, _, err := s.meet(only(o, tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	ticket := join([]byte{0, 0, 0, 7, 1, 2, 3, 4, 1, 9}, appendVector16(nil, []byte("ticket")), appendVector16(nil, appendExtension(nil, extensionEarlyData, []byte{0, 0, 1, 0})))
	for range maxSessions + 1 {
		s.record(recordHandshake, message(typeNewSessionTicket, ticket))
	}
	if err := s.fly(c); err != nil {
		t.Fatal(err)
	}
	got := c.Session()
	if len(c.Sessions()) != maxSessions || string(got.Ticket) != "ticket" || got.Lifetime != 7*time.Second || got.MaxEarlyData != 256 || got.ageAdd != 0x01020304 {
		t.Errorf("%d sessions, the last %+v", len(c.Sessions()), got)
	}
	s.record(recordHandshake, message(typeKeyUpdate, []byte{2}))
	if err := s.fly(c); err == nil || !strings.Contains(err.Error(), "KeyUpdate") {
		t.Errorf("a KeyUpdate that is none: %v", err)
	}
}

func TestConnUpdatesKeys(t *testing.T) {
	s, o := newFake(t)
	c, _, err := s.meet(only(o, tls.VersionTLS13))
	if err != nil {
		t.Fatal(err)
	}
	c.Output()
	suite := c.suite
	before := c.out.seal
	for i := range byte(4) {
		secret := c.readSecret
		s.record(recordHandshake, message(typeKeyUpdate, []byte{i % 2}))
		if err := s.fly(c); err != nil {
			t.Fatal(err)
		}
		_, s.seal = suite.update(secret)
		var got []byte
		s.record(recordData, []byte("hello"))
		if err := c.Receive(s.out, func(b []byte) { got = append(got, b...) }); err != nil || string(got) != "hello" {
			t.Fatalf("behind update %d: %q, %v", i, got, err)
		}
		s.out = nil
		if answered := len(c.Output()) > 0; answered != (i%2 == 1) || (c.out.seal != before) != answered {
			t.Errorf("update %d was answered: %v", i, answered)
		}
		before = c.out.seal
	}
	// Behind the last message under a key nothing may follow under it.
	s.record(recordHandshake, join(message(typeKeyUpdate, []byte{0}), message(typeKeyUpdate, []byte{0})))
	if err := s.fly(c); err == nil || !strings.Contains(err.Error(), "key that is no more") {
		t.Errorf("two updates in one record: %v", err)
	}
}

func TestConnRefusesToRenegotiate(t *testing.T) {
	s, o := newFake(t)
	c, _, err := s.meet(only(o, tls.VersionTLS12))
	if err != nil {
		t.Fatal(err)
	}
	s.record(recordHandshake, message(typeHelloRequest, nil))
	if err := s.fly(c); err != nil || len(c.Output()) == 0 {
		t.Errorf("a HelloRequest: error %v, and no answer", err)
	}
	s.record(recordAlert, []byte{alertWarning, closeNotify})
	s.record(recordData, []byte("behind the end"))
	if err := s.fly(c); err != nil || !c.Closed() {
		t.Errorf("close_notify: closed %v, %v", c.Closed(), err)
	}
}
