package admin

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/cmd/homing/internal/api"
)

const goodToken = "0123456789abcdef0123"

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGuard: who may ask what. Changes are told from reads by their own row; "drain" is one.
func TestGuard(t *testing.T) {
	const jsonType = "application/json"
	for _, tt := range []struct {
		sentence, address string
		token             bool // the server wants one
		method, path      string
		header            map[string]string
		want              int
	}{
		{"a command on this machine", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": jsonType}, 200},
		{"by another name of it", "127.0.0.1:9090", false, "GET", "/v1/status", map[string]string{"Host": "localhost:9090"}, 200},
		{"by its IPv6 address", "[::1]:9090", false, "GET", "/v1/status", map[string]string{"Host": "[::1]:9090"}, 200},
		{"a page of a site whose name was bound anew to loopback", "127.0.0.1:9090", false, "GET", "/v1/status", map[string]string{"Host": "evil.example:9090"}, 421},
		{"not even the metrics", "127.0.0.1:9090", false, "GET", "/metrics", map[string]string{"Host": "evil.example"}, 421},
		{"on a unix socket there is no such page, and any name will do", "unix:/run/x.sock", false, "GET", "/v1/status", map[string]string{"Host": "anything"}, 200},

		{"a form of another site", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415},
		{"one that hides as text", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": "text/plain"}, 415},
		{"no type at all", "127.0.0.1:9090", false, "POST", "drain", nil, 415},
		{"JSON from another origin", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": jsonType, "Origin": "https://evil.example"}, 403},
		{"which a newer browser says otherwise", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": jsonType, "Sec-Fetch-Site": "cross-site"}, 403},
		{"another port of this machine is another origin", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": jsonType, "Origin": "http://127.0.0.1:8080"}, 403},
		{"the status page's own", "127.0.0.1:9090", false, "POST", "drain", map[string]string{"Content-Type": jsonType + "; charset=utf-8", "Origin": "http://127.0.0.1:9090", "Sec-Fetch-Site": "same-origin"}, 200},
		{"a change by GET is none", "127.0.0.1:9090", false, "GET", "drain", nil, 405},

		{"a token on loopback, if one is wanted", "127.0.0.1:9090", true, "GET", "/v1/status", nil, 401},
		{"the right one", "127.0.0.1:9090", true, "GET", "/v1/status", map[string]string{"Authorization": "Bearer " + goodToken}, 200},
		{"no token from elsewhere", "192.0.2.1:9090", true, "GET", "/v1/status", nil, 401},
		{"a wrong one", "192.0.2.1:9090", true, "GET", "/v1/status", map[string]string{"Authorization": "Bearer " + goodToken + "x"}, 401},
		{"an empty one", "192.0.2.1:9090", true, "GET", "/v1/status", map[string]string{"Authorization": "Bearer "}, 401},
		{"the bare token", "192.0.2.1:9090", true, "GET", "/v1/status", map[string]string{"Authorization": goodToken}, 401},
		{"the right one from elsewhere, by any name", "192.0.2.1:9090", true, "POST", "drain", map[string]string{"Authorization": "Bearer " + goodToken, "Content-Type": jsonType, "Host": "lb1.example"}, 200},
		{"metrics want it too", "192.0.2.1:9090", true, "GET", "/metrics", nil, 401},
		{"so do profiles", "192.0.2.1:9090", true, "GET", "/debug/pprof/heap", nil, 401},
		{"but not the checks of a load balancer", "192.0.2.1:9090", true, "GET", "/healthz", nil, 200},
		{"both of them", "192.0.2.1:9090", true, "GET", "/readyz", nil, 200},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			address, err := api.ParseAddress(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			access := api.Access{Address: address}
			if tt.token {
				access.TokenFile = tokenFile(t, goodToken)
			}
			s, err := New(access, source(t), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			path, body := tt.path, ""
			if path == "drain" {
				path, body = "/v1/backends/192.0.2.1:443/drain", `{"force":true}`
			}
			r := httptest.NewRequestWithContext(t.Context(), tt.method, path, strings.NewReader(body))
			r.Host = "127.0.0.1:9090"
			for name, value := range tt.header {
				if name == "Host" {
					r.Host = value
				}
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("%d, want %d: %s", w.Code, tt.want, w.Body)
			}
			drained := s.src.Pools()[0].Snapshot().All()[0].Draining() != 0
			if drained != (tt.want == 200 && path != tt.path) {
				t.Errorf("drained: %t", drained)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("other origins are let in: %s", got)
			}
		})
	}
}

// TestCertificate: a verified client certificate is as good as a token; an unverified one is nothing.
func TestCertificate(t *testing.T) {
	address, _ := api.ParseAddress("192.0.2.1:9090")
	s, err := New(api.Access{Address: address, TokenFile: tokenFile(t, goodToken)}, source(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for want, state := range map[int]*tls.ConnectionState{
		200: {PeerCertificates: []*x509.Certificate{{}}, VerifiedChains: [][]*x509.Certificate{{{}}}},
		401: {PeerCertificates: []*x509.Certificate{{}}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil)
		r.TLS = state
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
}

func TestAccess(t *testing.T) {
	good := tokenFile(t, goodToken)
	open := tokenFile(t, goodToken)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		sentence string
		address  string
		access   api.Access
		want     string // part of the error, "" for none
	}{
		{"loopback", "127.0.0.1:9090", api.Access{}, ""},
		{"localhost", "localhost:9090", api.Access{}, ""},
		{"a unix socket", "unix:/run/homing/admin.sock", api.Access{}, ""},
		{"another address", "192.0.2.1:9090", api.Access{}, "give --admin-token-file"},
		{"all addresses", ":9090", api.Access{}, "give --admin-token-file"},
		{"all addresses of IPv6", "[::]:9090", api.Access{}, "give --admin-token-file"},
		{"with a token", "192.0.2.1:9090", api.Access{TokenFile: good}, ""},
		{"with a token that all can read", "192.0.2.1:9090", api.Access{TokenFile: open}, "chmod 640"},
		{"with a short token", "192.0.2.1:9090", api.Access{TokenFile: tokenFile(t, "secret")}, "homing keygen makes one"},
		{"without the file", "192.0.2.1:9090", api.Access{TokenFile: "/nonexistent/token"}, "--admin-token-file: open /nonexistent/token"},
		{"a certificate without its key", "192.0.2.1:9090", api.Access{TokenFile: good, CertFile: "a"}, "give both"},
		{"a server certificate lets nobody in", "192.0.2.1:9090", api.Access{CertFile: "a", KeyFile: "b"}, "give --admin-token-file"},
		{"client certificates without TLS", "192.0.2.1:9090", api.Access{ClientCAFile: "c"}, "needs --admin-tls-cert"},
		{"TLS on a unix socket", "unix:/run/x", api.Access{CertFile: "a", KeyFile: "b"}, "is for TCP"},
		{"files that are not there", "127.0.0.1:9090", api.Access{CertFile: "/nonexistent/a", KeyFile: "/nonexistent/b"}, "--admin-tls-cert /nonexistent/a"},
	} {
		address, err := api.ParseAddress(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		tt.access.Address = address
		_, err = New(tt.access, source(t), slog.New(slog.DiscardHandler))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.sentence, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want one line with %q", tt.sentence, err, tt.want)
		}
	}
}

// TestTokenFile: the first line of the file is the token, and nothing else is one.
func TestTokenFile(t *testing.T) {
	address, _ := api.ParseAddress("192.0.2.1:9090")
	s, err := New(api.Access{Address: address, TokenFile: tokenFile(t, goodToken+"\nand a comment\n")}, source(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{goodToken: true, "another-token-of-a-good-length": false, goodToken + "\nand a comment\n": false, "": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if got := w.Code == http.StatusOK; got != want {
			t.Errorf("%q: %d", token, w.Code)
		}
	}
}

// unread is a body that says whether anybody has looked into it.
type unread struct {
	io.Reader
	read bool
}

func (u *unread) Read(b []byte) (int, error) {
	u.read = true
	return u.Reader.Read(b)
}

// TestFormIsNotRead: what takes no body reads none. A form in one would lie in memory, 32 MiB for each request, and the rest of it
// in files, whatever its length.
func TestFormIsNotRead(t *testing.T) {
	address, err := api.ParseAddress("127.0.0.1:9090")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(api.Access{Address: address}, source(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const form = "--x\r\nContent-Disposition: form-data; name=\"pool\"\r\n\r\nnone\r\n--x--\r\n"
	asked := 0
	for _, e := range s.endpoints {
		if e.request != nil {
			continue
		}
		asked++
		path := strings.NewReplacer("{$}", "", "{backend}", "192.0.2.1:443", "{profile}", "heap").Replace(e.path) + "?seconds=x"
		body := &unread{Reader: strings.NewReader(form)}
		r := httptest.NewRequestWithContext(t.Context(), e.method, path, body)
		r.Host = "127.0.0.1:9090"
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		if body.read {
			t.Errorf("%s %s has read its body", e.method, path)
		}
	}
	if asked < 10 {
		t.Errorf("only %d were asked", asked)
	}
}
