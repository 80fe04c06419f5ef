package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

func unixAddress(t *testing.T) api.Address {
	t.Helper()
	return api.Address{Network: "unix", Addr: filepath.Join(t.TempDir(), "admin.sock")}
}

func listenOn(t *testing.T, address api.Address, inherited *os.File) net.Listener {
	t.Helper()
	listener, err := Listen(address, inherited)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestListenUnix(t *testing.T) {
	address := unixAddress(t)
	listener := listenOn(t, address, nil)
	if info, err := os.Stat(address.Addr); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v, want 0660", info.Mode(), err)
	}
	if second, err := Listen(address, nil); !errors.Is(err, syscall.EADDRINUSE) {
		second.Close()
		t.Errorf("a socket at which somebody answers was taken: %v", err)
	}

	listener.(*net.UnixListener).SetUnlinkOnClose(false) // as a process that is killed
	listener.Close()
	listenOn(t, address, nil).Close()
	if _, err := os.Stat(address.Addr); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket outlives its server: %v", err)
	}

	if err := os.WriteFile(address.Addr, []byte("somebody's file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(address, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file is in the way: %v", err)
	}
	if text, err := os.ReadFile(address.Addr); err != nil || string(text) != "somebody's file" {
		t.Errorf("and was removed: %v", err)
	}
}

// TestTakeOver: a process hands its listener to another one; what is being answered is answered, and no client is refused
// meanwhile.
func TestTakeOver(t *testing.T) {
	for _, address := range []api.Address{unixAddress(t), {Network: "tcp", Addr: "127.0.0.1:0"}} {
		t.Run(address.Network, func(t *testing.T) {
			listener := listenOn(t, address, nil)
			at := api.Address{Network: address.Network, Addr: listener.Addr().String()}
			inside, leave := make(chan struct{}), make(chan struct{})
			src := source(t)
			src.Reload = func(context.Context) error {
				close(inside)
				<-leave
				return nil
			}
			src.Name = "old"
			old := serving(t, src, listener)
			client := clientOf(t, at)
			waiting := make(chan error, 1)
			go func() {
				var done api.Done
				waiting <- client.Post(context.Background(), "/v1/reload", api.Empty{}, &done)
			}()
			<-inside

			file, err := listener.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			heir := source(t)
			heir.Name = "heir"
			serving(t, heir, listenOn(t, at, file))
			old.Release()
			testkit.Eventually(t, "the heir answers", func() bool {
				var status api.Status
				if err := clientOf(t, at).Get(t.Context(), "/v1/status", &status); err != nil {
					t.Fatal("a client was refused: ", err)
				}
				return status.Node == "heir"
			})
			close(leave)
			if err := <-waiting; err != nil {
				t.Errorf("what was being answered broke off: %v", err)
			}
			if address.Network == "unix" {
				if _, err := os.Stat(address.Addr); err != nil {
					t.Errorf("the old process removed the socket: %v", err)
				}
			}
		})
	}
	if _, err := Listen(unixAddress(t), mustFile(t)); err == nil {
		t.Error("a file that is no socket was inherited")
	}
}

func mustFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// serving runs a server until the test is over.
func serving(t *testing.T, src Source, listener net.Listener) *Server {
	t.Helper()
	s := serverOf(t, src)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.Run(ctx, listener)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

func clientOf(t *testing.T, at api.Address) *api.Client {
	t.Helper()
	client, err := api.NewClient(api.ClientConfig{Address: at})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestRoom: conns that say nothing, or half a request, keep nobody out; those that say nothing give way first.
func TestRoom(t *testing.T) {
	address := unixAddress(t)
	serving(t, source(t), listenOn(t, address, nil))
	idle := make([]net.Conn, 3*maxConns)
	for i := range idle {
		conn, err := net.Dial("unix", address.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle[i] = conn
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "GET /v1/sta") // it may have given way already
		}
	}
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than headerTimeout
		for _, path := range []string{"/healthz", "/readyz", "/v1/status"} {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://x"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", address.Addr)
			}}}
			answer, err := client.Do(request)
			if err != nil {
				t.Fatalf("%s beside %d conns that ask for nothing: %v", path, len(idle), err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", path, answer.Status)
			}
		}
		cancel()
	}
	if err := idle[1].SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle[1].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest that said nothing is still there: %v", err)
	}
}

// TestBusy: while as many requests are being answered as may be, others are refused, and health is told.
func TestBusy(t *testing.T) {
	s, err := New(api.Access{Address: unixAddress(t)}, source(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) int {
		recorder := httptest.NewRecorder()
		s.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		return recorder.Code
	}
	var leave []func()
	fill := func(path string, n int) {
		t.Helper()
		i := slices.IndexFunc(s.endpoints, func(e endpoint) bool { return e.path == path })
		for range n {
			end, err := s.places.take(&s.endpoints[i], httptest.NewRequest(http.MethodGet, "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, end)
		}
	}
	fill("/{$}", maxOpen)
	if a, b := ask("/"), ask("/v1/status"); a != http.StatusServiceUnavailable || b != http.StatusOK {
		t.Errorf("the page taken by strangers: it answers %d, the status %d", a, b)
	}
	fill("/v1/status", maxBusy)
	for path, want := range map[string]int{"/v1/status": 503, "/metrics": 503, "/healthz": 200, "/readyz": 200} {
		if got := ask(path); got != want {
			t.Errorf("all busy: %s answers %d, want %d", path, got, want)
		}
	}
	for _, end := range leave {
		end()
	}
	if got := ask("/v1/status"); got != http.StatusOK {
		t.Errorf("with room again: %d", got)
	}
}

// TestBounds: a client that says too much costs nothing for long.
func TestBounds(t *testing.T) {
	address := unixAddress(t)
	serving(t, source(t), listenOn(t, address, nil))
	err := clientOf(t, address).Post(t.Context(), "/v1/lookup", api.LookupRequest{Identifier: strings.Repeat("ab", maxBody)}, new(api.Lookup))
	if refused, ok := errors.AsType[*api.RefusedError](err); !ok || refused.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a request of %d bytes: %v", 2*maxBody, err)
	}
	conn, err := net.Dial("unix", address.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100))
	}()
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("100 kB of headers: %.100q", answer)
	}
}

// TestTLS: a real server with a certificate and a client that has one too.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	serverCert, serverKey := ca.issue(t, dir, "server")
	clientCert, clientKey := ca.issue(t, dir, "client")
	stranger := newAuthority(t, t.TempDir())
	strangeCert, strangeKey := stranger.issue(t, dir, "stranger")

	listener := listenOn(t, api.Address{Network: "tcp", Addr: "127.0.0.1:0"}, nil)
	at := api.Address{Network: "tcp", Addr: listener.Addr().String()}
	token := tokenFile(t, goodToken)
	s, err := New(api.Access{Address: at, TokenFile: token, CertFile: serverCert, KeyFile: serverKey, ClientCAFile: ca.file}, source(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx, listener); close(done) }()
	t.Cleanup(func() { cancel(); <-done })

	at.TLS = true
	for _, tt := range []struct {
		sentence string
		cfg      api.ClientConfig
		want     string
	}{
		{"a certificate", api.ClientConfig{CAFile: ca.file, CertFile: clientCert, KeyFile: clientKey}, ""},
		{"a token", api.ClientConfig{CAFile: ca.file, TokenFile: token}, ""},
		{"neither", api.ClientConfig{CAFile: ca.file}, "--admin-token-file"},
		{"a stranger's certificate", api.ClientConfig{CAFile: ca.file, CertFile: strangeCert, KeyFile: strangeKey}, "no answer"},
		{"a server that the client does not trust", api.ClientConfig{CAFile: stranger.file, TokenFile: token}, "certificate"},
	} {
		tt.cfg.Address = at
		client, err := api.NewClient(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		var status api.Status
		err = client.Get(t.Context(), "/v1/status", &status)
		if tt.want == "" && (err != nil || status.Node != "lb-1") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %q, %v, want %q", tt.sentence, status.Node, err, tt.want)
		}
	}
	at.TLS = false
	if err := clientOf(t, at).Get(t.Context(), "/v1/status", new(api.Status)); err == nil {
		t.Error("it answers without TLS")
	}
}

func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}
