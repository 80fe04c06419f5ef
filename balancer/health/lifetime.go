package health

import (
	"crypto/tls"
	"io"
	"net"
	"sort"
	"time"
)

// maxLifetime is the longest lifetime of a TLS 1.3 ticket, in seconds (RFC 9846, 4.6.1).
const maxLifetime = 7 * 24 * 60 * 60

// lifetime is the ticket_lifetime with which a TLS 1.3 session came at probeTime. crypto/tls keeps it to itself, but
// offers no session that is older: so it is asked which hellos would carry the session. With a good guess that takes
// two hellos, else 20 more.
func lifetime(state *tls.ClientSessionState, guess time.Duration) time.Duration {
	expired := func(s int) bool { return !offers(state, probeTime().Add(time.Duration(s)*time.Second)) }
	if g := int(guess / time.Second); expired(g+1) && !expired(g) {
		return guess
	}
	// It is at least 1 s, for crypto/tls ignores tickets of none.
	first := sort.Search(maxLifetime+1, expired)
	return time.Duration(max(0, first-1)) * time.Second
}

// offers says whether a hello written at the given time carries the session.
func offers(state *tls.ClientSessionState, at time.Time) bool {
	hello := &unsentHello{state: state}
	conn := tls.Client(hello, &tls.Config{
		ServerName:         "probe.invalid", // the cache wants a key
		InsecureSkipVerify: true,            // there is no server
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
		ClientSessionCache: hello,
		Time:               func() time.Time { return at },
	})
	_ = conn.Handshake() // cannot succeed: the hello goes nowhere
	return !hello.expired
}

// unsentHello is the session cache and the conn of a client. crypto/tls throws an expired session out before it writes
// the hello, and any session when the handshake has failed.
type unsentHello struct {
	net.Conn
	state            *tls.ClientSessionState
	written, expired bool
}

func (h *unsentHello) Get(string) (*tls.ClientSessionState, bool) { return h.state, true }

func (h *unsentHello) Put(string, *tls.ClientSessionState) {
	if !h.written {
		h.expired = true
	}
}

func (h *unsentHello) Write([]byte) (int, error) {
	h.written = true
	return 0, io.ErrClosedPipe
}

func (h *unsentHello) Read([]byte) (int, error)         { return 0, io.EOF }
func (h *unsentHello) SetWriteDeadline(time.Time) error { return nil }
func (h *unsentHello) Close() error                     { return nil }
