package tlsserver

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

func TestTicketKey(t *testing.T) {
	cert, err := New(ECDSA, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := cert.TLS()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := &tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{}
	NewTicketKey().Configure(ours)
	NewTicketKey().Configure(theirs)
	var conn tls.ConnectionState
	var state *tls.SessionState
	keeping := ours.Clone()
	keeping.WrapSession = func(c tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		conn, state = c, s
		return ours.WrapSession(c, s)
	}
	if resumed, err := meet(t, &tls.Config{ServerName: "a.test", RootCAs: Roots(cert)}, keeping); err != nil || !resumed {
		t.Fatalf("resumed %v, %v", resumed, err)
	}
	one, err := ours.WrapSession(conn, state)
	if err != nil {
		t.Fatal(err)
	}
	two, err := ours.WrapSession(conn, state)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one[:nameBytes], two[:nameBytes]) || bytes.Equal(one[nameBytes:], two[nameBytes:]) {
		t.Error("two tickets of one key must share its name and nothing else")
	}
	opens := func(server *tls.Config, ticket []byte) bool {
		got, err := server.UnwrapSession(ticket, conn)
		if err != nil {
			t.Errorf("a ticket that does not open is an error: %v", err)
		}
		return got != nil
	}
	if !opens(ours, one) {
		t.Error("a ticket does not open")
	}
	if opens(theirs, one) {
		t.Error("another server opened the ticket")
	}
	for n := range one {
		if opens(ours, one[:n]) {
			t.Errorf("a prefix of %d bytes was opened", n)
		}
		forged := bytes.Clone(one)
		forged[n] ^= 1
		if opens(ours, forged) {
			t.Errorf("a ticket with byte %d changed was opened", n)
		}
	}
}

// meet lets a client shake hands with a server twice, and reports whether the second time resumed.
func meet(t *testing.T, client, server *tls.Config) (resumed bool, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(conn, server).Handshake() // the client tells how it went
			_ = conn.Close()
		}
	}()
	client = client.Clone()
	client.ClientSessionCache, client.MaxVersion = tls.NewLRUClientSessionCache(1), tls.VersionTLS12
	for range 2 {
		raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, client)
		err = c.HandshakeContext(t.Context())
		resumed = c.ConnectionState().DidResume
		_ = raw.Close()
		if err != nil {
			return false, err
		}
	}
	return resumed, nil
}

func TestCertificateHoldsForItsNames(t *testing.T) {
	for _, kind := range []Key{RSA, ECDSA} {
		cert, err := New(kind, "a.test", "*.a.test", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := cert.TLS()
		if err != nil {
			t.Fatal(err)
		}
		server := &tls.Config{Certificates: []tls.Certificate{pair}}
		for name, good := range map[string]bool{"a.test": true, "x.a.test": true, "127.0.0.1": true, "b.test": false, "127.0.0.2": false} {
			if _, err := meet(t, &tls.Config{ServerName: name, RootCAs: Roots(cert)}, server); (err == nil) != good {
				t.Errorf("%s: %s: %v", kind, name, err)
			}
		}
	}
	if _, err := New("dsa", "a.test"); err == nil {
		t.Error("a key of no kind was made")
	}
}

func TestCertificateIsValidBetweenItsTimes(t *testing.T) {
	now := time.Now()
	for from, good := range map[time.Duration]bool{-3 * time.Hour: false, -time.Hour: true, time.Hour: false} {
		key, err := New(ECDSA)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := key.TLS()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := SelfSign(signer(t, pair), now.Add(from), now.Add(from).Add(2*time.Hour), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		if pair, err = cert.TLS(); err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "a.test", Roots: Roots(cert), CurrentTime: now}); (err == nil) != good {
			t.Errorf("from %v: %v", from, err)
		}
	}
}

// A server resumes by its own ticket key alone.
func TestTicketsOfAnotherKeyAreRefused(t *testing.T) {
	cert, err := New(ECDSA, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := cert.TLS()
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{ServerName: "a.test", RootCAs: Roots(cert)}
	server := &tls.Config{Certificates: []tls.Certificate{pair}}
	NewTicketKey().Configure(server)
	if resumed, err := meet(t, client, server); err != nil || !resumed {
		t.Errorf("the same key: resumed %v, %v", resumed, err)
	}
	changing := server.Clone()
	changing.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := server.Clone()
		NewTicketKey().Configure(c)
		return c, nil
	}
	if resumed, err := meet(t, client, changing); err != nil || resumed {
		t.Errorf("another key each time: resumed %v, %v", resumed, err)
	}
}

func signer(t *testing.T, pair tls.Certificate) crypto.Signer {
	t.Helper()
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatalf("a key of type %T", pair.PrivateKey)
	}
	return key
}
