//go:build linux

package service

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAdminWaitsForNoLoop: whatever operators read is answered by a homing none of whose loops runs, so that it can neither
// wait for one nor take its time.
func TestAdminWaitsForNoLoop(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	s := assembled(t, "listeners: [{address: '127.0.0.1:0', default: www}]\npools: [{name: www, backends: ['127.0.0.1:1', '127.0.0.2:1']}]\n"+
		"tables: {entries: 2000, client_entries: 2000}\nloops: 2\nadmin: {address: 'unix:"+socket+"', ready: always}\n", io.Discard) // no check is made here
	handler := s.operators.Handler()
	get := func(path string) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("GET %s waits for a loop", path)
		}
		return w
	}
	var described struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(get("/v1/openapi.json").Body.Bytes(), &described); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, operations := range described.Paths {
		if operations["get"] == nil || strings.HasPrefix(path, "/debug/") {
			continue
		}
		asked++
		path = strings.ReplaceAll(path, "{backend}", url.PathEscape("127.0.0.1:1"))
		if w := get(path); w.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
	if asked < 15 {
		t.Errorf("only %d things can be asked for", asked)
	}
}
