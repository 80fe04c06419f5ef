package flow

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is what is told of a conn, without what differs from run to run: digests, and lengths of what is random.
func told(text string) string {
	text = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(text, "DIGEST")
	text = regexp.MustCompile(`flight [1-9][0-9]*`).ReplaceAllString(text, "flight N")
	text = regexp.MustCompile(`ticket true [1-9][0-9]+`).ReplaceAllString(text, "ticket true N")
	return regexp.MustCompile(`[0-9]+ bytes`).ReplaceAllString(text, "N bytes")
}

// TestHandshakes: what is told of real handshakes in order, each event of the servers' as the balancer has it.
func TestHandshakes(t *testing.T) {
	const (
		hello = `hello 1: N bytes, "www.example.org", id `
		from  = `, from 192.0.2.1:50000`
	)
	for name, want := range map[string][]string{
		"TLS 1.2, full": {
			hello + "32, ticket true 0, psks 0" + from, "answer: 303, id 0, psk false, retried false", "event 5", "event 5", "event 5",
			"ticket: DIGEST", "event 6", "event 8", "close: fin, settled true, flight N",
		},
		"TLS 1.2, ticket": {
			hello + "32, ticket true N, psks 0" + from, "answer: 303, id 32, psk false, retried false",
			"ticket: DIGEST", "event 6", "event 8", "replied", "close: fin, settled true, flight N",
		},
		"TLS 1.3, full": {
			hello + "32, ticket true 0, psks 0" + from, "answer: 304, id 32, psk false, retried false", "event 8", "replied",
			"close: fin, settled true, flight N",
		},
		"TLS 1.3, PSK": {
			hello + "32, ticket true 0, psks 1" + from, "answer: 304, id 32, psk true, retried false", "event 8", "replied",
			"close: fin, settled true, flight N",
		},
		"TLS 1.3, retried": {
			hello + "32, ticket false 0, psks 0" + from, "event 2", strings.Replace(hello, "1", "2", 1) + "32, ticket false 0, psks 0" + from,
			"answer: 304, id 32, psk false, retried true", "event 8", "replied", "close: fin, settled true, flight N",
		},
		"TLS 1.3, retried, PSK": {
			hello + "32, ticket true 0, psks 1" + from, "event 2", strings.Replace(hello, "1", "2", 1) + "32, ticket true 0, psks 1" + from,
			"answer: 304, id 32, psk true, retried true", "event 8", "replied", "close: fin, settled true, flight N",
		},
		"PROXY, version 1": {
			hello + "32, ticket true 0, psks 0, from 203.0.113.9:4711", "answer: 304, id 32, psk false, retried false", "event 8",
			"replied", "close: fin, settled true, flight N",
		},
		"PROXY, version 2": {
			hello + "32, ticket true 0, psks 0, from 203.0.113.9:4711", "answer: 304, id 32, psk false, retried false", "event 8",
			"replied", "close: fin, settled true, flight N",
		},
		"PROXY, for itself": {
			hello + "32, ticket true 0, psks 0" + from, "answer: 304, id 32, psk false, retried false", "event 8",
			"replied", "close: fin, settled true, flight N",
		},
		"TLS 1.3, retried, early data refused": {
			hello + "32, ticket true 0, psks 1" + from, "event 2", strings.Replace(hello, "1", "2", 1) + "32, ticket true 0, psks 1" + from,
			"answer: 304, id 32, psk true, retried true", "event 8", "replied", "close: fin, settled true, flight N",
		},
		"TLS 1.3, retried before it was asked for": {
			hello + "32, ticket true 0, psks 1" + from, "event 2", strings.Replace(hello, "1", "2", 1) + "32, ticket true 0, psks 1" + from,
			"answer: 304, id 32, psk true, retried true", "event 8", "replied", "close: fin, settled true, flight N",
		},
		"TLS 1.3, retried, and no second hello": {
			hello + "32, ticket true 0, psks 1" + from, "event 2", "answer: 304, id 32, psk true, retried true", "event 8",
			"close: fin, settled true, flight 0",
		},
		"HTTP":                {"no TLS: 2", "close: fin, settled true, flight 0"},
		"server speaks first": {"no TLS: 2", "close: fin, settled true, flight 0"},
		"nothing":             {"close: fin, settled false, flight 0"},
	} {
		r, _ := observe(t, Config{Ports: []uint16{443}}, segments(recorded(t)[name], 1460))
		if diff := cmp.Diff(append([]string{"open"}, want...), strings.Split(told(r.text()), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
