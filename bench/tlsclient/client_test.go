package tlsclient

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"homing/bench/testkit"
	"homing/bench/tlscore"
)

const serverName = "homing.test"

// serve starts a crypto/tls server that answers as a backend does, and returns its address and a
// client configuration that trusts it.
func serve(t *testing.T, key crypto.Signer, mutate func(*tls.Config)) (string, Config) {
	t.Helper()
	cert, roots := testkit.Certificate(t, key, serverName)
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	if mutate != nil {
		mutate(cfg)
	}
	return testkit.ServeTLS(t, cfg, func(conn net.Conn) {
		buf := make([]byte, 4096)
		if n, err := conn.Read(buf); err == nil && strings.HasSuffix(string(buf[:n]), "\r\n\r\n") {
			_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nx "+conn.RemoteAddr().String())
		}
	}), Config{Version: tls.VersionTLS12, ServerName: serverName, Roots: roots}
}

// crypto/tls keeps no sessions, so this shows the full handshake only; farm's tests resume at nginx.
func TestIDClientFullHandshake(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ECDSA": testkit.ECDSA(t), "RSA": testkit.RSA(t)} {
		addr, cfg := serve(t, key, nil)
		for range 2 {
			r, err := NewID(cfg).Get(t.Context(), addr)
			if err != nil || r.Backend != "x" || r.Resumed || r.Offered || r.Handshake <= 0 {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
	}
}

func TestIDClientRefuses(t *testing.T) {
	key := testkit.ECDSA(t)
	addr, cfg := serve(t, key, nil)
	stranger, _ := serve(t, testkit.ECDSA(t), nil)
	modern, modernConfig := serve(t, key, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })
	wrongName := cfg
	wrongName.ServerName = "other.test"
	for _, tt := range []struct {
		what, addr string
		cfg        Config
		want       string
	}{
		{"an unknown authority", stranger, cfg, "verify certificate"},
		{"a certificate for another name", addr, wrongName, "verify certificate"},
		{"a server without TLS 1.2", modern, modernConfig, "alert"},
	} {
		if _, err := NewID(tt.cfg).Get(t.Context(), tt.addr); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.what, err, tt.want)
		}
	}
}

func TestIDClientHelloOffersTheSession(t *testing.T) {
	c := NewID(Config{ServerName: serverName})
	c.options.Session = &tlscore.Session{Version: tls.VersionTLS12, ID: bytes.Repeat([]byte{7}, 32)}
	hello, err := c.Hello()
	if err != nil {
		t.Fatal(err)
	}
	// The server side of crypto/tls must be able to read it, and see the name.
	client, server := net.Pipe()
	defer client.Close()
	go func() { _, _ = client.Write(hello); _ = client.Close() }()
	var seen string
	_ = tls.Server(server, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = h.ServerName
		return nil, io.EOF
	}}).Handshake()
	if seen != serverName {
		t.Errorf("the server read the name %q", seen)
	}
	if !bytes.Contains(hello, append([]byte{32}, c.Session().ID...)) {
		t.Error("the hello does not hold the session ID")
	}
}

func TestClientResumesByTicketAndPSK(t *testing.T) {
	addr, cfg := serve(t, testkit.ECDSA(t), nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg.Version = version
		c := New(cfg)
		for i := range 3 {
			r, err := c.Get(t.Context(), addr)
			if err != nil || r.Resumed != (i > 0) || r.Offered != (i > 0) || r.Version != version {
				t.Errorf("%s, conn %d: %+v, %v", tls.VersionName(version), i, r, err)
			}
		}
		hello, err := c.Hello()
		if err != nil || len(c.Session().Ticket) < 32 || !bytes.Contains(hello, c.Session().Ticket) {
			t.Errorf("%s: the hello does not hold the ticket, %v", tls.VersionName(version), err)
		}
		twin := c.Copy()
		if r, err := twin.Get(t.Context(), addr); err != nil || !r.Resumed || twin.Session() == c.Session() {
			t.Errorf("%s, a copy: %+v, %v", tls.VersionName(version), r, err)
		}
	}
}

func TestSources(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		a := RandomLoopback()
		if a.IP[12] != 127 && a.IP.To4()[0] != 127 || a.IP.To4()[1] == 0 {
			t.Fatalf("%v is not a loopback address outside 127.0.0.0/16", a)
		}
		seen[a.String()] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 draws gave %d addresses", len(seen))
	}
	if got := Loopback(1).IP.String(); got != "127.0.0.1" {
		t.Errorf("the first is %s", got)
	}
}
