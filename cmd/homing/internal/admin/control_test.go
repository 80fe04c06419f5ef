package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

func TestReloadAndUpgrade(t *testing.T) {
	var failed error
	calls := 0
	hook := func(ctx context.Context) error {
		if ctx.Err() != nil {
			t.Error("called when nobody waits")
		}
		calls++
		return failed
	}
	src := source(t)
	for path, set := range map[string]func(){"/v1/reload": func() { src.Reload = hook }, "/v1/upgrade": func() { src.Upgrade = hook }} {
		set()
		s := serverOf(t, src)
		calls, failed = 0, nil
		var done api.Done
		if ask(t, s, http.MethodPost, path, api.Empty{}, &done); done.Done == "" || calls != 1 {
			t.Errorf("%s: %+v, called %d times", path, done, calls)
		}
		failed = errors.New("line 3,\ncolumn 7: no such key")
		if status, text := ask(t, s, http.MethodPost, path, api.Empty{}, nil); status != http.StatusConflict || !strings.Contains(text, "line 3, column 7: no such key") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

func TestLogLevel(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	var level api.LogLevel
	if ask(t, s, http.MethodGet, "/v1/log-level", nil, &level); level.Level != "info" {
		t.Errorf("%+v", level)
	}
	for word, want := range map[string]slog.Level{"debug": slog.LevelDebug, "error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo} {
		if ask(t, s, http.MethodPut, "/v1/log-level", api.LogLevel{Level: word}, &level); level.Level != word || src.LogLevel.Level() != want {
			t.Errorf("%s: %+v, %s", word, level, src.LogLevel.Level())
		}
	}
	for _, word := range []string{"", "INFO", "trace", "info+2"} {
		if status, _ := ask(t, s, http.MethodPut, "/v1/log-level", api.LogLevel{Level: word}, nil); status != http.StatusBadRequest {
			t.Errorf("%q: %d", word, status)
		}
	}
}

func TestSealedCommand(t *testing.T) {
	src := source(t)
	var failed error
	src.Command = func(_ context.Context, sealed []byte) ([]cluster.Answer, error) {
		if string(sealed) != "sealed" {
			t.Errorf("passed on %q", sealed)
		}
		return []cluster.Answer{{Node: "a"}, {Node: "b", Error: "no"}}, failed
	}
	s := serverOf(t, src)
	var out api.CommandAnswers
	ask(t, s, http.MethodPost, "/v1/cluster/command", api.SealedCommand{Sealed: []byte("sealed")}, &out)
	if len(out.Nodes) != 2 || out.Nodes[1] != (api.NodeAnswer{Node: "b", Error: "no"}) {
		t.Errorf("%+v", out)
	}
	for err, want := range map[error]int{cluster.ErrCommand: http.StatusForbidden, cluster.ErrNoNodeKey: http.StatusConflict} {
		failed = err
		if status, _ := ask(t, s, http.MethodPost, "/v1/cluster/command", api.SealedCommand{Sealed: []byte("sealed")}, nil); status != want {
			t.Errorf("%v: %d, want %d", err, status, want)
		}
	}
	src.Command = nil
	if status, _ := ask(t, serverOf(t, src), http.MethodPost, "/v1/cluster/command", api.SealedCommand{}, nil); status != http.StatusConflict {
		t.Errorf("without a cluster: %d", status)
	}
}

// TestProfiles: they are there, over a real server whose usual time to answer is shorter than the profile.
func TestProfiles(t *testing.T) {
	s := serverOf(t, source(t))
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/nothing": 404, "/debug/pprof/cmdline": 200,
		"/debug/pprof/profile?seconds=1": 200, "/debug/pprof/profile?seconds=61": 400, "/debug/pprof/trace?seconds=0": 400, "/debug/pprof/profile?seconds=x": 400,
	} {
		if status, text := ask(t, s, http.MethodGet, path, nil, nil); status != want {
			t.Errorf("%s: %d %.100s, want %d", path, status, text, want)
		}
	}
}

// TestHeaders: what browsers are told of every answer.
func TestHeaders(t *testing.T) {
	address := unixAddress(t)
	serving(t, source(t), listenOn(t, address, nil))
	client := &http.Client{Transport: &http.Transport{DialContext: dialUnix(address.Addr)}}
	response, err := client.Get("http://localhost/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
