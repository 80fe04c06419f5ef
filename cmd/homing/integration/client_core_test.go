package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	"homing/bench/tlscore"
)

// met is what one conn of the harness's client came to.
type met struct {
	tlscore.State
	sessions []*tlscore.Session
	header   string // of the answer
	answer   string // empty where the server has none
}

// meet makes one conn with the options, asks for an answer and reads it to its end.
func meet(ctx context.Context, addr string, o tlscore.Options) (met, error) {
	return meetFrom(ctx, tlsclient.RandomLoopback(), addr, o)
}

func meetFrom(ctx context.Context, from *net.TCPAddr, addr string, o tlscore.Options) (met, error) {
	raw, err := tlsclient.Dial(ctx, from, addr)
	if err != nil {
		return met{}, err
	}
	defer raw.Close()
	conn, err := tlsclient.NewConn(raw, &o)
	if err != nil {
		return met{}, err
	}
	if err := conn.Handshake(); err != nil {
		return met{State: conn.State()}, err
	}
	if !conn.State().EarlyAccepted {
		if _, err := io.WriteString(conn, httpRequest); err != nil {
			return met{}, err
		}
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // not every server says goodbye
		return met{}, err
	}
	header, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	return met{conn.State(), conn.Sessions(), header + "\r\n", body}, conn.Close()
}

const httpRequest = "GET / HTTP/1.0\r\nHost: " + farm.ServerName + "\r\n\r\n"

// optionsOf makes the options of a client that resumes in the given way.
func optionsOf(kind tlscore.Kind, cert *farm.Certificate) tlscore.Options {
	o := tlscore.Options{ServerName: farm.ServerName, Roots: farm.Roots(cert), MaxVersion: tls.VersionTLS12}
	switch kind {
	case tlscore.OfferTicket:
		o.Tickets = true
	case tlscore.OfferPSK:
		o.MinVersion, o.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
	return o
}

// server is one real server that the client core meets.
type server struct {
	addr string
	says func(answer string) (resumed, ok bool) // what the server itself says of a conn, if it does
	stop func() error
}

// serverKind makes servers of one kind that share nothing.
type serverKind struct {
	name     string
	start    func(t *testing.T, cert *farm.Certificate, i int) server
	noID     bool // it gives session IDs but does not accept them
	noTicket bool // it gives no tickets in TLS 1.2
	old      bool // it speaks TLS 1.2 with old cipher suites only
}

func nginxKind(cfg farm.NginxConfig) func(*testing.T, *farm.Certificate, int) server {
	return func(t *testing.T, cert *farm.Certificate, i int) server {
		cfg.Name, cfg.Certificates = string(rune('a'+i)), []*farm.Certificate{cert}
		n, err := farm.StartNginx(t.Context(), cfg)
		testkit.Check(t, err)
		says := func(answer string) (bool, bool) {
			words := strings.Fields(answer)
			return len(words) > 1 && words[1] == "r", len(words) > 1
		}
		return server{n.Addr(), says, n.Stop}
	}
}

func stackKind(stack stack) func(*testing.T, *farm.Certificate, int) server {
	return func(t *testing.T, cert *farm.Certificate, i int) server {
		s, err := stack.startServer(t.Context(), string(rune('a'+i)), cert)
		testkit.Check(t, err)
		return server{s.Addr(), nil, s.Stop}
	}
}

// opensslKind starts `openssl s_server -www`, whose page says whether a conn was resumed.
func opensslKind(flags ...string) func(*testing.T, *farm.Certificate, int) server {
	return func(t *testing.T, cert *farm.Certificate, _ int) server {
		path, err := farm.Find("openssl", "openssl")
		testkit.Check(t, err)
		dir, addr := t.TempDir(), testkit.FreeAddr(t)
		for name, content := range map[string][]byte{"chain.pem": cert.Chain, "key.pem": cert.Key} {
			testkit.Check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
		args := append([]string{
			"s_server", "-accept", addr, "-cert", filepath.Join(dir, "chain.pem"), "-key", filepath.Join(dir, "key.pem"), "-www", "-quiet",
		}, flags...)
		p := testkit.Start(t, addr, path, args...)
		says := func(answer string) (bool, bool) {
			return strings.Contains(answer, "\nReused, "), strings.Contains(answer, "\nReused, ") || strings.Contains(answer, "\nNew, ")
		}
		return server{addr, says, func() error { p.Stop(); return nil }}
	}
}

// serverKinds are the servers that the client core is shown to get on with.
func serverKinds() []serverKind {
	return []serverKind{
		{name: "nginx", start: nginxKind(farm.NginxConfig{})},
		{name: "nginx without tickets", start: nginxKind(farm.NginxConfig{NoTickets: true}), noTicket: true},
		{name: "openssl s_server", start: opensslKind()},
		{name: "openssl s_server -no_ticket", start: opensslKind("-no_ticket"), noTicket: true},
		{name: "openssl s_server, AES-256 and P-384", start: opensslKind("-cipher", "ECDHE-RSA-AES256-GCM-SHA384", "-ciphersuites", "TLS_AES_256_GCM_SHA384", "-groups", "P-384")},
		{name: "openssl s_server, ChaCha20", start: opensslKind("-cipher", "ECDHE-RSA-CHACHA20-POLY1305", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")},
		{name: "openssl s_server, ECDHE and CBC, SHA-384", start: opensslKind("-cipher", "ECDHE-RSA-AES256-SHA384"), old: true},
		{name: "openssl s_server, ECDHE and CBC, SHA-1", start: opensslKind("-cipher", "ECDHE-RSA-AES128-SHA"), old: true},
		{name: "openssl s_server, RSA and CBC", start: opensslKind("-cipher", "AES256-SHA256"), old: true},
		{name: "openssl s_server, RSA and GCM", start: opensslKind("-cipher", "AES128-GCM-SHA256"), old: true},
		{name: "gnutls-serv", start: stackKind(gnutlsStack)},
		{name: "apache", start: stackKind(apacheStack)},
		{name: "haproxy", start: stackKind(haproxyStack)},
		{name: "lighttpd-openssl", start: stackKind(lighttpdOpenSSL), noID: true},
		{name: "lighttpd-nss", start: stackKind(lighttpdNSS), noID: true},
		{name: "java", start: stackKind(javaStack)},
	}
}

// The harness's client resumes at each server that it has a session of, by each of the three kinds, and is refused, with a
// full handshake, by another server of the same kind: five times each, and the server's own word agrees.
func TestIntegrationClientCoreMeetsRealServers(t *testing.T) {
	needServers(t)
	cert, err := farm.NewRSA()
	testkit.Check(t, err)
	for _, kind := range serverKinds() {
		t.Run(kind.name, func(t *testing.T) {
			var servers []server
			for i := range 2 {
				s := kind.start(t, cert, i)
				t.Cleanup(func() {
					if err := s.stop(); err != nil {
						t.Error(err)
					}
				})
				servers = append(servers, s)
			}
			for _, offer := range []tlscore.Kind{tlscore.OfferID, tlscore.OfferTicket, tlscore.OfferPSK} {
				o := optionsOf(offer, cert)
				if kind.old && offer != tlscore.OfferPSK {
					o.Suites = tlscore.OldSuites()
				}
				first, err := meet(t.Context(), servers[0].addr, o)
				if err != nil {
					t.Fatalf("%v, first conn: %v", offer, err)
				}
				if offer == tlscore.OfferTicket && kind.noTicket {
					offer = tlscore.OfferID
				}
				resumes := offer != tlscore.OfferID || !kind.noID
				if len(first.sessions) == 0 {
					if resumes {
						t.Errorf("%v: no session in a full handshake", offer)
					}
					continue
				}
				o.Session = first.sessions[len(first.sessions)-1]
				for i := range 5 {
					for j, s := range servers {
						m, err := meet(t.Context(), s.addr, o)
						if err != nil {
							t.Fatalf("%v, conn %d at server %d: %v", offer, i, j, err)
						}
						if want := resumes && j == 0; m.Resumed != want || m.Offered != offer {
							t.Errorf("%v, conn %d at server %d: %s", offer, i, j, tell(m))
						}
						if s.says != nil {
							if resumed, ok := s.says(m.answer); !ok || resumed != m.Resumed {
								t.Errorf("%v, conn %d at server %d: client %v, server %v: %q", offer, i, j, m.Resumed, resumed, m.answer)
							}
						}
					}
				}
			}
		})
	}
}

func tell(m met) string {
	return fmt.Sprintf("%s %s, offered %v, resumed %v, %d sessions", tls.VersionName(m.Version),
		tls.CipherSuiteName(m.Suite), m.Offered, m.Resumed, len(m.sessions))
}

// 0-RTT data is taken by the server that issued the ticket, and written again where it was not.
func TestIntegrationClientCoreSendsEarlyData(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{EarlyData: true}, farm.NewRSA)
	o := optionsOf(tlscore.OfferPSK, cert)
	o.EarlyData = []byte(httpRequest)
	confirmed := 0
	for i := range 5 {
		o.Session = nil
		first, err := meet(t.Context(), servers[0].Addr(), o)
		if err != nil || len(first.sessions) == 0 || first.EarlyOffered {
			t.Fatalf("first conn: %s, %v", tell(first), err)
		}
		o.Session = first.sessions[len(first.sessions)-1]
		if o.Session.MaxEarlyData == 0 {
			t.Fatal("the ticket allows no early data")
		}
		for j, n := range []*farm.Nginx{servers[1], servers[0]} {
			m, err := meet(t.Context(), n.Addr(), o)
			if err != nil {
				t.Fatalf("round %d at %s: %v", i, n.Name(), err)
			}
			home := j == 1
			if !m.EarlyOffered || m.EarlyAccepted != home || m.Resumed != home || !strings.HasPrefix(m.answer, n.Name()+" ") {
				t.Errorf("round %d at %s: %s, early %v: %q", i, n.Name(), tell(m), m.EarlyAccepted, m.answer)
			}
			if early := strings.Contains(m.header, "\r\nX-Early-Data: 1\r\n"); early && !home {
				t.Errorf("round %d at %s: the server took early data that it cannot read: %q", i, n.Name(), m.header)
			} else if early {
				confirmed++
			}
		}
	}
	if confirmed == 0 { // nginx says so only while the client's Finished is still on its way
		t.Error("the server never said that it answered early data")
	}
}
