//go:build linux

package balancer

import (
	"testing"

	"homing/tlsparse"
)

// A backend that is not done with its flight gets its ACK at once; for everybody else's the next flight of the client
// is soon enough.
func TestAnswersOn(t *testing.T) {
	for _, test := range []struct {
		name   string
		hs     handshake
		flight tlsparse.Flight
		want   bool
	}{
		{"TLS 1.2, whole", handshake{backendSide: backendSide{hellos: 1}}, tlsparse.Flight{}, false},
		{"TLS 1.2, in pieces", handshake{backendSide: backendSide{hellos: 1}}, tlsparse.Flight{Open: true}, true},
		{"nothing but a part of the ServerHello", handshake{}, tlsparse.Flight{Open: true}, true},
		{"TLS 1.3, ServerHello and ChangeCipherSpec", handshake{backendSide: backendSide{hellos: 1, negotiated13: true}}, tlsparse.Flight{Open: true}, true},
		{"TLS 1.3, EncryptedExtensions alone", handshake{backendSide: backendSide{hellos: 1, negotiated13: true}}, tlsparse.Flight{Protected: 30}, true},
		{"TLS 1.3, resumed and whole", handshake{backendSide: backendSide{hellos: 1, negotiated13: true, verdict: VerdictAccepted}}, tlsparse.Flight{Protected: 100}, false},
		{"TLS 1.3, as much, but no PSK accepted", handshake{backendSide: backendSide{hellos: 1, negotiated13: true, verdict: VerdictRefused}}, tlsparse.Flight{Protected: 100}, true},
		{"TLS 1.3, whole", handshake{backendSide: backendSide{hellos: 1, negotiated13: true}}, tlsparse.Flight{Protected: 1100}, false},
		{"HelloRetryRequest", handshake{deciding: deciding{tooLate: true}}, tlsparse.Flight{Open: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.hs.answersOn(test.flight); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
