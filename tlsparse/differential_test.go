package tlsparse

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

// A witness is a crypto/tls server that is shown a client's stream and tells
// what it has read in it, wherever it lets one look: ClientHelloInfo, the tickets
// it is to decrypt, and the session ID that it echoes in TLS 1.3.
type witness struct {
	config  *tls.Config
	info    *tls.ClientHelloInfo // nil: it did not take the hello
	tickets [][]byte
	echo    []byte
}

func newWitness(tb testing.TB) *witness {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	w := &witness{}
	w.config = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS10,
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			w.info = info
			return nil, nil
		},
		UnwrapSession: func(identity []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
			w.tickets = append(w.tickets, bytes.Clone(identity))
			return nil, nil
		},
	}
	return w
}

// show plays a stream to the server, which then has its end.
func (w *witness) show(stream []byte) {
	w.info, w.tickets, w.echo = nil, nil, nil
	conn := &scriptConn{in: bytes.NewReader(stream)}
	_ = tls.Server(conn, w.config).Handshake() // always fails, at the end of the script
	answer := conn.out.Bytes()
	if n := naiveServer(answer); len(answer) > 44 && (hasPrefix(n, "hello(0304") || hasPrefix(n, "retry")) {
		w.echo = answer[44 : 44+int(answer[43])]
	}
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// disagrees says where the server has read something else than we have. It may
// well have read nothing where we have something, and the other way round.
func (w *witness) disagrees(h *Hello) string {
	switch {
	case w.info == nil:
		return ""
	case h.ManyNames, h.NoHostName != (len(w.info.ServerName) > maxServerName):
		return "what is no name" // crypto/tls rejects several, and a dot
	case !h.NoHostName && string(h.ServerName()) != asciiLower(w.info.ServerName):
		return fmt.Sprintf("name %q, crypto/tls %q", h.ServerName(), w.info.ServerName)
	case h.HasTicket != slices.Contains(w.info.Extensions, extensionSessionTicket):
		return "presence of session_ticket"
	case h.HasPSK != slices.Contains(w.info.Extensions, extensionPreSharedKey):
		return "presence of pre_shared_key"
	case h.EarlyData != slices.Contains(w.info.Extensions, extensionEarlyData):
		return "presence of early_data"
	case h.ECH != slices.Contains(w.info.Extensions, extensionEncryptedClientHello):
		return "presence of encrypted_client_hello"
	case slices.Contains(w.info.Extensions, extensionSupportedVersions) && h.TLS13 != slices.Contains(w.info.SupportedVersions, tls.VersionTLS13):
		return "TLS 1.3"
	case w.echo != nil && !bytes.Equal(w.echo, h.SessionID):
		return fmt.Sprintf("session ID %x, crypto/tls %x", h.SessionID, w.echo)
	}
	var protos []string
	for name, rest := NextALPN(h.ALPN); name != nil; name, rest = NextALPN(rest) {
		protos = append(protos, string(name))
	}
	if !slices.Equal(protos, w.info.SupportedProtos) {
		return fmt.Sprintf("ALPN %q, crypto/tls %q", protos, w.info.SupportedProtos)
	}
	// A TLS 1.2 handshake looks at the ticket, one of TLS 1.3 at the identities.
	for i, got := range w.tickets {
		if !bytes.Equal(got, h.PSK(i)) && (len(w.tickets) > 1 || !bytes.Equal(got, h.Ticket)) {
			return fmt.Sprintf("ticket or PSK %d: crypto/tls %x", i, got)
		}
	}
	return ""
}

// A scriptConn reads what it was given and keeps what is written.
type scriptConn struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *scriptConn) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *scriptConn) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return nil }
func (c *scriptConn) RemoteAddr() net.Addr             { return nil }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// TestDifferential shows every recorded hello to crypto/tls, which must take it
// and agree, and asserts that the witness sees what it is there for.
func TestDifferential(t *testing.T) {
	w := newWitness(t)
	tickets, psks, echoes := 0, 0, 0
	for _, g := range loadGoldens(t) {
		if g.second {
			continue
		}
		r := read(g.stream, 0, false)
		w.show(g.stream)
		if w.info == nil {
			t.Errorf("%s: not taken by crypto/tls", g.name)
		}
		if d := w.disagrees(&r.hello); d != "" {
			t.Errorf("%s: %s", g.name, d)
		}
		if len(w.tickets) > 0 && r.hello.HasPSK {
			psks++
		} else if len(w.tickets) > 0 {
			tickets++
		}
		if len(w.echo) > 0 {
			echoes++
		}
	}
	if tickets < 4 || psks < 8 || echoes < 20 {
		t.Errorf("saw %d tickets, %d PSKs, %d session IDs only", tickets, psks, echoes)
	}
}

// TestDifferentialMutated spoils the recorded hellos, always in the same way,
// and compares with crypto/tls and with the naive parser.
func TestDifferentialMutated(t *testing.T) {
	w := newWitness(t)
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	taken := 0
	for _, g := range loadGoldens(t) {
		for range 100 {
			stream := mutate(rnd, g.stream)
			r := read(stream, 0, g.second)
			if d := r.differs(naiveClient(stream, DefaultHelloLimit, g.second)); d != "" {
				t.Fatalf("%s: %s\n%x", g.name, d, stream)
			}
			if r.status != Got || g.second || rnd.IntN(10) > 0 {
				continue // crypto/tls takes its time
			}
			w.show(stream)
			if d := w.disagrees(&r.hello); d != "" {
				t.Fatalf("%s: %s\n%x", g.name, d, stream)
			}
			if w.info != nil {
				taken++
			}
		}
	}
	if taken < 50 {
		t.Errorf("crypto/tls has taken %d hellos only", taken)
	}
}

// mutate returns a copy with a few bytes changed, one cut out, or one twice.
func mutate(rnd *mathrand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + rnd.IntN(3) {
		i := rnd.IntN(len(b))
		switch rnd.IntN(6) {
		case 0:
			b = slices.Delete(b, i, i+1)
		case 1:
			b = slices.Insert(b, i, b[i])
		case 2:
			b[i] = 0
		case 3:
			b[i]++
		default:
			b[i] ^= 1 << rnd.IntN(8)
		}
	}
	return b
}
