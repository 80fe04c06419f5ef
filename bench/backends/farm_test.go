package backends_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"homing/bench/backends"
	"homing/bench/tlsserver"
)

func serveControl(t *testing.T, f *backends.Farm) backends.Remote {
	t.Helper()
	s := httptest.NewServer(f.Handler())
	t.Cleanup(s.Close)
	return backends.Remote(s.Listener.Addr().String())
}

func TestRemoteThatIsNone(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	remote := backends.Remote(s.Listener.Addr().String())
	if _, err := remote.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the control address") {
		t.Errorf("error %v", err)
	}
	s.Close()
	if _, err := remote.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for want, o := range map[string]backends.Options{
		"neither rsa nor ecdsa": {Key: "dsa"},
		"1 addresses":           {N: 2, Key: tlsserver.ECDSA, Addrs: []string{"127.0.0.1:1"}},
		"no such file":          {N: 1, Key: tlsserver.ECDSA, Self: "/nonexistent/homing-bench"},
	} {
		f, err := backends.Start(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || f != nil {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
