package tlscore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// newServer returns a server with a key of the given kind, and what trusts it.
func newServer(t *testing.T, isRSA bool) (*Server, *x509.CertPool) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server.test"}, DNSNames: []string{"server.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	var cert tls.Certificate
	var public any
	if isRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		cert.PrivateKey, public = key, key.Public()
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert.PrivateKey, public = key, key.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert.Certificate = [][]byte{der}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return NewServer(cert), roots
}

// converse carries a handshake and an echo between client and server, in pieces of so many bytes.
func converse(t *testing.T, c *Conn, s *ServerConn, piece int) (State, error) {
	t.Helper()
	var echoed []byte
	asked := false
	for range 100_000 {
		up, down := bytes.Clone(c.Output()), bytes.Clone(s.Output())
		if len(up)+len(down) == 0 {
			switch {
			case string(echoed) == "echo":
				return c.State(), nil
			case !c.Shaken() || !s.Shaken() || asked:
				t.Fatal("both sides wait")
			}
			asked = true
			if err := c.Write([]byte("echo")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for len(up) > 0 {
			n := min(piece, len(up))
			if err := s.Receive(up[:n], func(b []byte) {
				if err := s.Write(b); err != nil {
					t.Fatal(err)
				}
			}); err != nil {
				return c.State(), err
			}
			up = up[n:]
		}
		for len(down) > 0 {
			n := min(piece, len(down))
			if err := c.Receive(down[:n], func(b []byte) { echoed = append(echoed, b...) }); err != nil {
				return c.State(), err
			}
			down = down[n:]
		}
	}
	t.Fatal("no end")
	return State{}, nil
}

func TestServerResumesByID(t *testing.T) {
	for _, isRSA := range []bool{false, true} {
		s, roots := newServer(t, isRSA)
		other, _ := newServer(t, isRSA)
		other.certificate = s.certificate
		for _, piece := range []int{1, 7, 1 << 20} {
			o := Options{MaxVersion: tls.VersionTLS12, ServerName: "server.test", Roots: roots}
			for i, want := range []struct {
				server  *Server
				resumed bool
			}{{s, false}, {s, true}, {s, true}, {other, false}, {other, true}, {s, false}} {
				c, err := New(&o)
				if err != nil {
					t.Fatal(err)
				}
				conn := want.server.New()
				state, err := converse(t, c, conn, piece)
				if err != nil || state.Resumed != want.resumed || conn.Resumed() != want.resumed || (i > 0) != (state.Offered == OfferID) {
					t.Errorf("RSA %v, pieces of %d, conn %d: %+v, %v, %v", isRSA, piece, i, state, conn.Resumed(), err)
				}
				o.Session = c.Session()
			}
		}
	}
}

// A client that nobody here wrote: crypto/tls, without tickets.
func TestServerServesCryptoTLS(t *testing.T) {
	for _, isRSA := range []bool{false, true} {
		s, roots := newServer(t, isRSA)
		for _, curves := range [][]tls.CurveID{nil, {tls.CurveP256}} {
			near, far := net.Pipe()
			go echoConn(far, s.New())
			c := tls.Client(near, &tls.Config{
				MaxVersion: tls.VersionTLS12, ServerName: "server.test", RootCAs: roots, SessionTicketsDisabled: true, CurvePreferences: curves,
			})
			got := make([]byte, 5)
			_, err := c.Write([]byte("hello"))
			if err == nil {
				_, err = io.ReadFull(c, got)
			}
			if err != nil || string(got) != "hello" {
				t.Errorf("RSA %v, curves %v: %q, %v", isRSA, curves, got, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// echoConn serves one conn until it ends.
func echoConn(raw net.Conn, s *ServerConn) {
	defer raw.Close()
	buf := make([]byte, 1000)
	for {
		n, err := raw.Read(buf)
		if err != nil {
			return
		}
		err = s.Receive(buf[:n], func(b []byte) { _ = s.Write(b) })
		if _, werr := raw.Write(s.Output()); err != nil || werr != nil || s.Closed() {
			return
		}
	}
}

func TestServerLeavesBetterHellosAlone(t *testing.T) {
	s, _ := newServer(t, false)
	for name, o := range map[string]Options{
		"TLS 1.3": {}, "tickets": {MaxVersion: tls.VersionTLS12, Tickets: true},
	} {
		c, err := New(&o)
		if err != nil {
			t.Fatal(err)
		}
		conn := s.New()
		hello := c.Output()
		before := bytes.Clone(hello)
		if err := conn.Receive(hello, nil); !errors.Is(err, ErrNotForID) || len(conn.Output()) != 0 || !bytes.Equal(hello, before) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// plainVersion reports whether a byte is of the version of a record that is not sealed yet, which nobody looks at.
func plainVersion(flight []byte, at int) bool {
	for i := 0; i < len(flight); i += headerBytes + int(flight[i+3])<<8 + int(flight[i+4]) {
		if at == i+1 || at == i+2 {
			return true
		}
		if flight[i] == recordChangeCipherSpec {
			return false
		}
	}
	return false
}

// Whatever byte of the client's flights is changed, no handshake comes to its end on the server.
func TestServerNoticesEveryChange(t *testing.T) {
	s, roots := newServer(t, false)
	o := Options{MaxVersion: tls.VersionTLS12, ServerName: "server.test", Roots: roots}
	c, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := converse(t, c, s.New(), 1<<20); err != nil {
		t.Fatal(err)
	}
	o.Session = c.Session()
	cached := s.sessions.Len()
	for _, resume := range []bool{false, true} {
		o := o
		if !resume {
			o.Session = nil
		}
		for at := 0; ; at++ {
			c, err := New(&o)
			if err != nil {
				t.Fatal(err)
			}
			conn := s.New()
			if err := conn.Receive(bytes.Clone(c.Output()), nil); err != nil {
				t.Fatal(err)
			}
			if err := c.Receive(bytes.Clone(conn.Output()), nil); err != nil {
				t.Fatal(err)
			}
			flight := bytes.Clone(c.Output())
			if at == len(flight) {
				break
			}
			if plainVersion(flight, at) {
				continue
			}
			flight[at] ^= 1
			err = conn.Receive(flight, nil)
			if conn.Shaken() {
				t.Fatalf("resume %v: shaken with byte %d of %d changed", resume, at, len(flight))
			}
			// A changed length may leave the server waiting, all else is an error.
			if err == nil && len(conn.pending) == 0 && len(conn.in.rest) == 0 {
				t.Errorf("resume %v: byte %d of %d changed, and nothing was noticed", resume, at, len(flight))
			}
		}
	}
	if s.sessions.Len() != cached {
		t.Errorf("%d sessions of handshakes that failed are kept", s.sessions.Len()-cached)
	}
}

func TestClientHelloEveryPrefixIsMalformed(t *testing.T) {
	o := Options{MaxVersion: tls.VersionTLS12, ServerName: "server.test"}
	c, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	body := c.Output()[headerBytes+4:]
	if h, err := parseClientHello(body); err != nil || h.better || !h.extended || !h.secure || len(h.random) != 32 {
		t.Fatalf("%+v, %v", h, err)
	}
	for n := range body {
		if h, err := parseClientHello(body[:n]); err == nil {
			t.Errorf("a prefix of %d bytes: %+v", n, h)
		}
	}
}

func TestServerRefuses(t *testing.T) {
	s, _ := newServer(t, true)
	for want, o := range map[string]Options{
		"does not offer": {MaxVersion: tls.VersionTLS12, Suites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
		"neither X25519": {MaxVersion: tls.VersionTLS12, Groups: []tls.CurveID{tls.CurveP384}},
	} {
		c, err := New(&o)
		if err != nil {
			t.Fatal(err)
		}
		conn := s.New()
		err = conn.Receive(c.Output(), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := c.Receive(conn.Output(), nil); err == nil || !strings.Contains(err.Error(), "alert") {
			t.Errorf("the client is told %v", err)
		}
	}
	conn := s.New()
	if err := conn.Receive([]byte("GET / HTTP/1.1\r\n"), nil); err == nil || conn.Write(nil) == nil {
		t.Errorf("plain text: %v", err)
	}
}
