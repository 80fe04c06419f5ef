package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"homing/bench/tlsclient"
)

// goClient is a crypto/tls client that resumes by TLS 1.2 ticket or TLS 1.3 PSK. It is not safe for
// concurrent use: one client is one user.
type goClient struct {
	tls    *tls.Config
	source func() *net.TCPAddr
	cache  *session
}

// newGoClient returns a client without a session.
func newGoClient(cfg tlsclient.Config) *goClient {
	c := &goClient{source: cfg.Source, cache: &session{}}
	if c.source == nil {
		c.source = tlsclient.RandomLoopback
	}
	c.tls = &tls.Config{
		MinVersion:         cfg.Version,
		MaxVersion:         cfg.Version,
		ServerName:         cfg.ServerName,
		RootCAs:            cfg.Roots,
		ClientSessionCache: c.cache,
	}
	return c
}

// Get makes one conn to addr, sends a request and reads the answer to its end. In TLS 1.3 the
// server's new ticket comes with the answer, so the session is renewed then.
func (c *goClient) Get(ctx context.Context, addr string) (tlsclient.Result, error) {
	res := tlsclient.Result{Offered: c.Ticket() != nil}
	start := time.Now()
	raw, err := tlsclient.Dial(ctx, c.source(), addr)
	if err != nil {
		return res, err
	}
	defer func() { _ = raw.Close() }() // the answer has been read by then
	conn := tls.Client(raw, c.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return res, fmt.Errorf("crypto/tls: handshake: %w", err)
	}
	res.Handshake = time.Since(start)
	state := conn.ConnectionState()
	res.Resumed, res.Version = state.DidResume, state.Version
	res.Backend, err = tlsclient.Exchange(conn)
	return res, err
}

// Ticket returns the ticket or PSK identity the client would offer next, nil without one.
func (c *goClient) Ticket() []byte {
	cs, ok := c.cache.Get("")
	if !ok {
		return nil
	}
	ticket, _, err := cs.ResumptionState()
	if err != nil {
		return nil
	}
	return ticket
}

// Forget drops the session, so that the next conn is a fresh handshake.
func (c *goClient) Forget() { c.cache.Put("", nil) }

// Hello returns the bytes of the ClientHello the client would send next, record header included.
func (c *goClient) Hello() ([]byte, error) {
	// A failed handshake makes crypto/tls forget the session, so it fails on a copy.
	cfg, rec, cache := c.tls.Clone(), &recorder{}, &session{}
	cache.state, _ = c.cache.Get("")
	cfg.ClientSessionCache = cache
	err := tls.Client(rec, cfg).Handshake()
	if len(rec.hello) == 0 {
		return nil, fmt.Errorf("crypto/tls: record hello: %w", err)
	}
	return rec.hello, nil
}

// Copy returns a client with the same session. What becomes of the copy's session does not touch this client's, so that
// one offer can be made to several servers.
func (c *goClient) Copy() *goClient {
	twin := &goClient{tls: c.tls.Clone(), source: c.source, cache: &session{}}
	twin.cache.state, _ = c.cache.Get("")
	twin.tls.ClientSessionCache = twin.cache
	return twin
}

// session is a tls.ClientSessionCache that remembers the newest session whatever its server.
type session struct {
	mu    sync.Mutex
	state *tls.ClientSessionState
}

func (s *session) Get(string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.state != nil
}

func (s *session) Put(_ string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

var errRecorded = errors.New("the hello is recorded, there is no server")

// recorder is a net.Conn that keeps the first write and refuses all else.
type recorder struct {
	net.Conn
	hello []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.hello != nil {
		return 0, errRecorded
	}
	r.hello = append([]byte(nil), b...)
	return len(b), nil
}

func (r *recorder) Read([]byte) (int, error) { return 0, errRecorded }
func (r *recorder) Close() error             { return nil }
