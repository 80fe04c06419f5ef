package tlsparse

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A transcript is one of the handshakes that crypto/tls keeps for its own
// tests, recorded between itself and OpenSSL: all that a side sent, and the
// client's first flight.
type transcript struct {
	name           string
	first          []byte
	client, server []byte
}

// loadTranscripts reads them from the Go installation.
func loadTranscripts(tb testing.TB) map[string]transcript {
	tb.Helper()
	root, err := exec.CommandContext(tb.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		tb.Skipf("no go command to ask for GOROOT: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "tls", "testdata")
	files, _ := filepath.Glob(filepath.Join(dir, "[CS]*-TLSv1*"))
	if len(files) == 0 {
		tb.Skipf("this Go installation has no handshakes in %s", dir)
	}
	all := map[string]transcript{}
	for _, file := range files {
		tr := transcript{name: filepath.Base(file)}
		tr.read(tb, file)
		all[tr.name] = tr
	}
	return all
}

// read takes a hex dump by flows: ">>> Flow 1 (client to server)", then lines of
// an offset, 16 bytes, and the same as text.
func (tr *transcript) read(tb testing.TB, file string) {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	fromClient, flows := false, 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, ">>> ") {
			fromClient = strings.Contains(line, "client to server")
			flows++
			continue
		}
		_, line, _ = strings.Cut(line, " ")
		line, _, _ = strings.Cut(line, "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		switch {
		case fromClient && flows == 1:
			tr.first = append(tr.first, b...)
			fallthrough
		case fromClient:
			tr.client = append(tr.client, b...)
		default:
			tr.server = append(tr.server, b...)
		}
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
}

// TestTranscripts reads both sides of every handshake: the hello as the naive
// parser, and the server's answer in chunks of every kind as in one piece.
func TestTranscripts(t *testing.T) {
	for name, tr := range loadTranscripts(t) {
		if len(tr.first) == 0 {
			continue // crypto/tls keeps an empty one for a handshake that no longer is
		}
		r := prefixes(t, name, tr.first, 0, false)
		if d := r.differs(naiveClient(tr.first, DefaultHelloLimit, false)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		var s Server
		want := trace(&s, tr.server, 0)
		for _, n := range []int{1, 2, 3, 7, 64, 1000} {
			if got := trace(&s, tr.server, n); got != want {
				t.Errorf("%s in chunks of %d:\n got %s\nwant %s", name, n, got, want)
			}
		}
		if naive := naiveServer(tr.server); naive != want {
			t.Errorf("%s:\n got %s\nnaive %s", name, want, naive)
		}
		first, _, _ := strings.Cut(want, "(")
		if first != "hello" && first != "retry hello" && first != "alert" {
			t.Errorf("%s: %s", name, want)
		}
	}
}

// TestTranscriptVerdicts names what a balancer learns from the handshakes that
// are about resumption. What differs by the Go installation is left out of the
// traces.
func TestTranscriptVerdicts(t *testing.T) {
	all := loadTranscripts(t)
	for _, tt := range []struct {
		name   string
		id     int // bytes of the session ID offered
		ticket bool
		psks   int
		server string
	}{
		{"Server-TLSv12-IssueTicket", 0, false, 0, "hello(0303,id=0,ticket) message(11) message(14) ticket(0,123) change-cipher-spec opaque"},
		{"Server-TLSv12-Resume", 32, true, 0, "hello(0303,id=32,ticket) ticket(0,123) change-cipher-spec opaque"},
		{"Server-TLSv12-ResumeDisabled", 32, true, 0, "hello(0303,id=0) message(11) message(14) change-cipher-spec opaque"},
		{"Server-TLSv13-IssueTicket", 32, false, 0, "hello(0304,id=32) opaque"},
		{"Server-TLSv13-Resume", 32, false, 1, "hello(0304,id=32,psk=0) opaque"},
		{"Server-TLSv13-ResumeDisabled", 32, false, 1, "hello(0304,id=32) opaque"},
		{"Server-TLSv13-HelloRetryRequest", 32, false, 0, "retry hello(0304,id=32) opaque"},
		{"Server-TLSv13-Resume-HelloRetryRequest", 32, false, 1, "retry hello(0304,id=32,psk=0) opaque"},
		{"Client-TLSv13-HelloRetryRequest", 32, false, 0, "retry hello(0304,id=32) opaque"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, ok := all[tt.name]
			if !ok {
				t.Skip("not in this Go installation")
			}
			r := read(tr.client, 0, false)
			h := &r.hello
			if r.status != Got || len(h.SessionID) != tt.id || (len(h.Ticket) > 0) != tt.ticket || h.PSKCount() != tt.psks {
				t.Errorf("offer:\n%s", &r)
			}
			var s Server
			if got := sameOfAllGo(trace(&s, tr.server, 0)); got != tt.server {
				t.Errorf("answer:\n got %s\nwant %s", got, tt.server)
			}
			if tt.id > 0 && len(s.SessionID()) > 0 && !bytes.Equal(s.SessionID(), h.SessionID) {
				t.Error("the session ID is not echoed")
			}
			if !strings.Contains(tt.server, "retry") {
				return
			}
			second := tr.client[r.end:]
			r2 := read(second, 0, true)
			if r2.status != Got || !bytes.Equal(r2.hello.PSK(0), h.PSK(0)) || r2.hello.Shape != h.Shape {
				t.Errorf("second hello:\n%s", &r2)
			}
			prefixes(t, "second hello", second[:r2.end], 0, true)
		})
	}
}

// sameOfAllGo takes out of a trace the ticket bytes, and the ServerKeyExchange:
// TLS 1.2 was recorded with RSA key exchange, which has none, before Go 1.27.
func sameOfAllGo(s string) string {
	var words []string
	for w := range strings.FieldsSeq(s) {
		switch {
		case w == "message(12)":
			continue
		case strings.HasPrefix(w, "ticket("):
			w = w[:strings.LastIndexByte(w, ',')] + ")"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
