package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

const (
	// ticketWait is how long a server may take to send its tickets once the handshake is over (TLS 1.3). They come with
	// its answer to the Finished, in every stack measured.
	ticketWait = time.Second

	// ticketGrace is how long to wait for one more ticket behind the last, from servers that do not answer
	// close_notify.
	ticketGrace = 100 * time.Millisecond
)

// handshaker makes one handshake. Tests replace it.
type handshaker func(ctx context.Context, addr netaddr.Addr, o offer) (answer, error)

// offer is what the probe's hello says.
type offer struct {
	name    string                  // server name, "" = none
	most    uint16                  // highest version; all down to TLS 1.0 are offered
	session *tls.ClientSessionState // to resume, or nil
	header  pool.ProxyHeader        // before the hello
}

// answer is what a handshake has shown.
type answer struct {
	version   uint16
	resumed   bool
	certAsked uint16                    // version in which a client certificate was asked for, and not given; 0: none was
	sessions  []*tls.ClientSessionState // with the tickets issued, in their order
	after     error                     // what was wrong with what came after the handshake
}

// handshakeError is a handshake that did not come about.
type handshakeError struct {
	err       error
	connected bool   // false: TCP failed already
	certAsked uint16 // as in answer
}

func (e *handshakeError) Error() string { return describe(e.err) }
func (e *handshakeError) Unwrap() error { return e.err }

// refused says that the server answered, with an alert.
func (e *handshakeError) refused() bool { return remoteAlert(e.err) }

// silent says that the server did not answer, so that there is no point in asking it more.
func (e *handshakeError) silent() bool { return !e.connected || isTimeout(e.err) }

// handshake connects, shakes hands, collects the tickets and leaves in order, by close_notify: what hangs up before it
// makes some servers forget the session. No application data is sent. Everything together takes no longer than ctx. An
// error is a *handshakeError.
func handshake(ctx context.Context, addr netaddr.Addr, o offer) (answer, error) {
	raw, err := dial(ctx, addr)
	if err != nil {
		return answer{}, &handshakeError{err: err}
	}
	defer func() { _ = raw.Close() }() // all that counts has been read by then
	// One way to end for all that follows, whether ctx is cancelled or runs out: the socket's deadline.
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()

	if err := sayHeader(raw, o.header); err != nil {
		return answer{}, &handshakeError{err: err, connected: true}
	}
	var ans answer
	tickets := &ticketCache{offer: o.session}
	conn := tls.Client(raw, probeTLS(o, tickets, &ans.certAsked))
	if err := conn.Handshake(); err != nil {
		return answer{}, &handshakeError{err: err, connected: true, certAsked: ans.certAsked}
	}
	state := conn.ConnectionState()
	ans.version, ans.resumed = state.Version, state.DidResume
	_ = conn.CloseWrite() // if the server has hung up, reading tells why
	tickets.issued = func() { _ = raw.SetReadDeadline(time.Now().Add(ticketGrace)) }
	wait := ticketWait
	if ans.version < tls.VersionTLS13 {
		wait = ticketGrace // the tickets are here already; the server's close_notify is waited for as a courtesy
	}
	_ = raw.SetReadDeadline(time.Now().Add(wait))          // fails only where the read does too
	if _, err = io.Copy(io.Discard, conn); !closing(err) { // a server that speaks first has sent data
		ans.after = err
	}
	ans.sessions = tickets.sessions
	return ans, nil
}

// probeTLS is the client's side. It offers all that crypto/tls can, for it is not there to judge, but no post-quantum
// key share, so that the hello is small and cheap.
func probeTLS(o offer, tickets tls.ClientSessionCache, certAsked *uint16) *tls.Config {
	var suites []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		suites = append(suites, s.ID)
	}
	return &tls.Config{
		ServerName: o.name,
		// The probe measures and trusts nothing: it sends no data, believes none, and runs beside clients who verify
		// for themselves. A certificate that it cannot verify must not keep it from learning.
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		MaxVersion:         o.most,
		CipherSuites:       suites,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		ClientSessionCache: tickets,
		Time:               probeTime,
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			*certAsked = info.Version
			return &tls.Certificate{}, nil
		},
	}
}

// probeTime is the time at all handshakes. It lies before the end of every certificate, for crypto/tls does not offer a
// session whose certificate has expired, and stands still, so that lifetime can measure from it.
func probeTime() time.Time { return time.Unix(1_000_000_000, 0) }

// ticketCache offers one session and keeps all that come. Its handshake has one goroutine.
type ticketCache struct {
	offer    *tls.ClientSessionState
	sessions []*tls.ClientSessionState
	issued   func() // called for each, when not nil
}

func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) { return c.offer, c.offer != nil }

func (c *ticketCache) Put(_ string, state *tls.ClientSessionState) {
	if state == nil {
		return
	}
	c.sessions = append(c.sessions, state)
	if c.issued != nil {
		c.issued()
	}
}

// remoteAlert says whether err is an alert that the server sent.
func remoteAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// closing says whether err, from reading a conn to its end, is one of the ways in which servers hang up, or waited for.
func closing(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op == "read"
	}
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF) || isTimeout(err)
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// describe words an error of crypto/tls for people who look at the backend.
func describe(err error) string {
	text := strings.TrimPrefix(cause(err), "tls: ")
	switch {
	case remoteAlert(err):
		return fmt.Sprintf("alert from the backend: %s", text)
	case text == "EOF":
		return "the backend hung up"
	}
	return text
}
