package tlscore

import (
	"bytes"
	"crypto/tls"
	"testing"

	"homing/bench/testkit"
)

// parsers are the readers of what servers send, by name: each takes the body of a message.
func parsers() map[string]func([]byte) error {
	return map[string]func([]byte) error{
		"ServerHello":         func(b []byte) error { _, err := parseServerHello(b); return err },
		"EncryptedExtensions": func(b []byte) error { _, err := parseEncryptedExtensions(b); return err },
		"Certificate 1.2":     func(b []byte) error { _, err := parseCertificates(b, false); return err },
		"Certificate 1.3":     func(b []byte) error { _, err := parseCertificates(b, true); return err },
		"ServerKeyExchange":   func(b []byte) error { _, err := parseKeyExchange(b); return err },
		"ticket 1.2":          func(b []byte) error { _, err := parseTicket12(b); return err },
		"ticket 1.3":          func(b []byte) error { _, err := parseTicket13(b); return err },
		"compressed":          func(b []byte) error { _, err := decompress(b); return err },
	}
}

// examples are bodies that the parser of the same name reads.
func examples(t testing.TB) map[string][]byte {
	t.Helper()
	hello := join([]byte{3, 3}, bytes.Repeat([]byte{7}, 32), appendVector8(nil, []byte("0123456789")), []byte{0xc0, 0x2f, 0})
	der := bytes.Repeat([]byte{5}, 300)
	list12 := append([]byte{0, 1, 44}, der...)
	list13 := append(append([]byte(nil), list12...), 0, 5, 0, 99, 0, 1, 7)
	packed := []byte("\x78\x9c\x4b\x4c\x4a\x06\x00\x02\x4d\x01\x27") // "abc"
	return map[string][]byte{
		"ServerHello": appendVector16(hello, join(
			appendExtension(nil, extensionExtendedMaster, nil), appendExtension(nil, extensionKeyShare, append([]byte{0, 29, 0, 2}, 1, 2)),
			appendExtension(nil, extensionALPN, []byte{0, 3, 2, 'h', '2'}))),
		"EncryptedExtensions": appendVector16(nil, appendExtension(nil, extensionALPN, []byte{0, 3, 2, 'h', '2'})),
		"Certificate 1.2":     append([]byte{0, byte(len(list12) >> 8), byte(len(list12))}, list12...),
		"Certificate 1.3":     append([]byte{0, 0, byte(len(list13) >> 8), byte(len(list13))}, list13...),
		"ServerKeyExchange":   join([]byte{3, 0, 29}, appendVector8(nil, bytes.Repeat([]byte{1}, 32)), []byte{4, 3}, appendVector16(nil, []byte("signature"))),
		"ticket 1.2":          appendVector16([]byte{0, 0, 1, 0}, []byte("ticket")),
		"ticket 1.3": join([]byte{0, 0, 0, 7, 1, 2, 3, 4, 1, 9}, appendVector16(nil, []byte("ticket")),
			appendVector16(nil, appendExtension(nil, extensionEarlyData, []byte{0, 0, 1, 0}))),
		"compressed": append([]byte{0, zlibCertificates, 0, 0, 3, 0, 0, byte(len(packed))}, packed...),
	}
}

// Each message is read whole; each strict prefix of it, and it with a byte more, is malformed.
func TestParsersTakeNoPrefix(t *testing.T) {
	for name, parse := range parsers() {
		body := examples(t)[name]
		if err := parse(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range body {
			bare := name == "ServerHello" && n == 2+32+11+3 // without extensions it is a whole message too
			if err := parse(body[:n:n]); (err == nil) != bare {
				t.Errorf("%s, a prefix of %d of %d bytes: error %v", name, n, len(body), err)
			}
		}
		if err := parse(append(bytes.Clone(body), 0)); err == nil {
			t.Errorf("%s with a byte too many was taken", name)
		}
	}
}

// FuzzParsers: no body of a message makes a parser panic, or take more than there is.
func FuzzParsers(f *testing.F) {
	for _, body := range examples(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, parse := range parsers() {
			kept := bytes.Clone(body)
			_ = parse(body)
			if !bytes.Equal(kept, body) {
				t.Errorf("%s changed what it read", name)
			}
		}
	})
}

// FuzzReceive: no answer to a hello makes the client panic, believe that it has shaken hands, or depend on how the bytes
// were cut.
func FuzzReceive(f *testing.F) {
	s := &fakeServer{t: &testing.T{}}
	s.key = testkit.ECDSA(f)
	s.cert, _ = certify(f, s.key)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var answer []byte
		fake := fakeServer{t: s.t, key: s.key, cert: s.cert, records: func(flight int, b []byte) []byte {
			if flight == 0 {
				answer = bytes.Clone(b)
			}
			return b
		}}
		_, _, _ = fake.meet(only(Options{Verify: VerifyNothing}, version))
		f.Add(answer, uint16(7), true)
		f.Add(answer, uint16(200), false)
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint16(3), false)
	f.Add([]byte{recordAlert, 3, 3, 0, 2, alertFatal, 40}, uint16(1), true)
	f.Add(append([]byte{recordHandshake, 3, 3, 0, 54, 2, 0, 0, 50}, join([]byte{3, 3}, []byte(retryRandom), []byte{0, 0x13, 1, 0, 0, 10})...), uint16(1), true)
	shares, err := NewKeyShares(tls.X25519) // drawn anew, they would make each run another for the fuzzer
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte, cut uint16, offer bool) {
		o := Options{Verify: VerifyNothing, ServerName: serverName, Tickets: true, Shares: shares}
		if offer {
			o.Session = resumable(tls.VersionTLS12, true)
		}
		run := func(pieces ...[]byte) (string, bool) {
			c, err := New(&o)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pieces {
				if err = c.Receive(bytes.Clone(p), func([]byte) {}); err != nil {
					return err.Error(), c.Shaken()
				}
			}
			return "", c.Shaken()
		}
		at := int(cut) % (len(answer) + 1)
		whole, shaken := run(answer)
		pieces, again := run(answer[:at], answer[at:])
		if shaken || again {
			t.Error("a handshake without a key of the server's")
		}
		// What is not TLS is told by the bytes that there are.
		if (whole == "") != (pieces == "") {
			t.Errorf("whole: %q, cut at %d: %q", whole, at, pieces)
		}
	})
}
