package integration

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// onlySession offers one session whatever the name of the server, and keeps the last that it was given.
type onlySession struct{ session *tls.ClientSessionState }

func (s *onlySession) Get(string) (*tls.ClientSessionState, bool) { return s.session, s.session != nil }

func (s *onlySession) Put(_ string, session *tls.ClientSessionState) {
	if session != nil {
		s.session = session
	}
}

// visitName is one conn to a name, which may be empty: the backend that answered, and whether it resumed the session. The
// farm's servers have one certificate for all names, so it is not looked at.
func visitName(t *testing.T, addr, name string, version uint16, alpn []string, cache tls.ClientSessionCache) (backend string, resumed bool, err error) {
	t.Helper()
	raw, err := tlsclient.Dial(t.Context(), tlsclient.RandomLoopback(), addr)
	testkit.Check(t, err)
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		ServerName: name, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: alpn, ClientSessionCache: cache,
	})
	testkit.Check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", farm.ServerName); err != nil {
		return "", false, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", false, err
	}
	body, err := io.ReadAll(resp.Body)
	word, _, _ := strings.Cut(string(body), " ")
	return word, conn.ConnectionState().DidResume, err
}

// closedAt says that a listener ends the conn without a byte.
func closedAt(t *testing.T, addr, text string) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	testkit.Check(t, err)
	defer conn.Close()
	testkit.Check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := io.WriteString(conn, text); err != nil {
		return true
	}
	n, err := conn.Read(make([]byte, 1))
	return n == 0 && err != nil
}

const routesFile = `
listeners:
  - name: open
    address: OPEN
    default: rest
    routes: &routes
      - {names: [www.example.org], pool: www}
      - {names: ["*.example.org"], pool: wild}
      - {names: [www.example.org, h2.deep.example.org], alpn: h2, pool: rest}
  - name: strict
    address: STRICT
    tls: require
    routes: *routes
pools:
  - {name: www, backends: [WWW]}
  - {name: wild, backends: [WILD]}
  - {name: rest, backends: [REST]}
`

// Names lead to pools: exact, by wildcard, by protocol, by default. Each pool's sessions are resumed, in both versions.
func TestIntegrationRoutes(t *testing.T) {
	servers, _ := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	open, strict := testkit.FreeAddr(t), testkit.FreeAddr(t)
	h := startFiled(t, open, fill(routesFile, "OPEN", open, "STRICT", strict, "WWW", servers[0].Addr(), "WILD",
		servers[1].Addr(), "REST", servers[2].Addr()))
	const closed = "closed"
	for _, tt := range []struct {
		why, name    string
		alpn         []string
		open, strict string
	}{
		{"the exact name", "www.example.org", nil, "a", "a"},
		{"in capitals", "WWW.Example.ORG", nil, "a", "a"},
		{"a name below", "img.example.org", nil, "b", "b"},
		{"far below", "a.b.c.d.example.org", nil, "b", "b"},
		{"the wildcard is not its own parent", "example.org", nil, "c", closed},
		{"nor what merely ends like it", "wwwexample.org", nil, "c", closed},
		{"another name", "www.example.net", nil, "c", closed},
		{"no name", "", nil, "c", closed},
		{"the exact name with the protocol", "www.example.org", []string{"h2", "http/1.1"}, "c", "c"},
		{"with another protocol", "www.example.org", []string{"http/1.1"}, "a", "a"},
		{"an exact name with a protocol before a wildcard without", "h2.deep.example.org", []string{"http/1.1", "h2"}, "c", "c"},
		{"the same name without the protocol", "h2.deep.example.org", []string{"http/1.1"}, "b", "b"},
		{"a protocol that only another name's route wants", "img.example.org", []string{"h2", "http/1.1"}, "b", "b"},
	} {
		for addr, want := range map[string]string{open: tt.open, strict: tt.strict} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				var session onlySession
				for i := range 3 {
					got, resumed, err := visitName(t, addr, tt.name, version, tt.alpn, &session)
					if err != nil && want == closed {
						continue
					}
					if err != nil || got != want || resumed != (i > 0) {
						t.Errorf("%s (%q %q at %s, %s), visit %d: backend %q, resumed %v, %v; want %s", tt.why, tt.name, tt.alpn, addr,
							tls.VersionName(version), i, got, resumed, err, want)
					}
				}
			}
		}
	}
	if !closedAt(t, strict, "GET / HTTP/1.0\r\n\r\n") {
		t.Error("what is no TLS was served where it must be")
	}
	if closedAt(t, open, "GET / HTTP/1.0\r\n\r\n") {
		t.Error("what is no TLS did not come to the default pool")
	}
	m := h.metrics(t)
	for metric, want := range map[string]float64{
		`homing_listener_refused_total{listener="strict",reason="no_route"}`: 4 * 2 * 3, // names, versions, visits
		`homing_listener_refused_total{listener="strict",reason="no_tls"}`:   1,
		`homing_listener_refused_total{listener="open",reason="no_route"}`:   0,
		`homing_pool_verdicts_total{pool="wild",verdict="accepted"}`:         4 * 2 * 2 * 2, // names, listeners, versions, second visits
	} {
		if m[metric] != want {
			t.Errorf("%s is %v, want %v", metric, m[metric], want)
		}
	}
}

// A ticket never moves a client into another pool: what one pool has issued is nothing in the other, though homing knows
// whose it is, and it stays good in its own.
func TestIntegrationRoutesForeignTicket(t *testing.T) {
	servers, _ := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	open, strict := testkit.FreeAddr(t), testkit.FreeAddr(t)
	startFiled(t, open, fill(routesFile, "OPEN", open, "STRICT", strict, "WWW", servers[0].Addr(), "WILD",
		servers[1].Addr(), "REST", servers[2].Addr()))
	names := map[string]string{"www.example.org": "a", "img.example.org": "b", "elsewhere.test": "c"}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for home, issuer := range names {
			var session onlySession
			for range 2 { // the second is resumed: homing knows the key
				if got, _, err := visitName(t, open, home, version, nil, &session); err != nil || got != issuer {
					t.Fatalf("%s: backend %q, %v", home, got, err)
				}
			}
			issued := session.session
			for other, want := range names {
				if other == home {
					continue
				}
				for range 10 {
					foreign := &onlySession{issued}
					got, resumed, err := visitName(t, open, other, version, nil, foreign)
					if err != nil || got != want || resumed {
						t.Errorf("%s: the session of %s offered for %s: backend %q, resumed %v, %v; want %s, fresh",
							tls.VersionName(version), home, other, got, resumed, err, want)
					}
				}
			}
			// After all that it is still known where it belongs.
			if got, resumed, err := visitName(t, open, home, version, nil, &onlySession{issued}); err != nil || got != issuer || !resumed {
				t.Errorf("%s: the session of %s at home: backend %q, resumed %v, %v", tls.VersionName(version), home, got, resumed, err)
			}
		}
	}
}
