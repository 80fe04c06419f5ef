package farm_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/tlsserver"
)

func serveControl(t *testing.T, f *farm.Backends) farm.Remote {
	t.Helper()
	s := httptest.NewServer(f.Handler())
	t.Cleanup(s.Close)
	return farm.Remote(s.Listener.Addr().String())
}

func TestRemoteThatIsNone(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	remote := farm.Remote(s.Listener.Addr().String())
	if _, err := remote.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the control address") {
		t.Errorf("error %v", err)
	}
	s.Close()
	if _, err := remote.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for want, o := range map[string]farm.Options{
		"neither rsa nor ecdsa": {Key: "dsa"},
		"1 addresses":           {N: 2, Key: tlsserver.ECDSA, Addrs: []string{"127.0.0.1:1"}},
		"no such file":          {N: 1, Key: tlsserver.ECDSA, Self: "/nonexistent/homing-bench"},
	} {
		f, err := farm.StartBackends(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || f != nil {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
