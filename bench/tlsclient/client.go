// Package tlsclient holds the clients that tests, demo and benchmarks send through a balancer: each
// remembers its TLS session, offers it again on the next conn, comes from another address every
// time, and tells what became of the offer.
package tlsclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Timeout bounds one conn of a client, from connect to the end of the answer.
const Timeout = 10 * time.Second

// Result is what one conn showed.
type Result struct {
	Backend   string        // name the server gives itself in its answer
	Offered   bool          // the client offered a session
	Resumed   bool          // the server accepted it
	Version   uint16        // negotiated
	Handshake time.Duration // from connect to the end of the handshake, as the client sees it
}

// Config says what a client does.
type Config struct {
	// Version is the only TLS version offered: tls.VersionTLS12 or tls.VersionTLS13.
	Version uint16
	// ServerName is sent as SNI and verified.
	ServerName string
	// Roots are the certificates trusted.
	Roots *x509.CertPool
	// Source picks the local address of each conn; nil is RandomLoopback.
	Source func() *net.TCPAddr
}

// Client is a crypto/tls client that resumes by TLS 1.2 ticket or TLS 1.3 PSK. It is not safe for
// concurrent use: one client is one user.
type Client struct {
	tls    *tls.Config
	source func() *net.TCPAddr
	cache  *session
}

// New returns a client without a session.
func New(cfg Config) *Client {
	c := &Client{source: cfg.Source, cache: &session{}}
	if c.source == nil {
		c.source = RandomLoopback
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
func (c *Client) Get(ctx context.Context, addr string) (Result, error) {
	res := Result{Offered: c.Ticket() != nil}
	start := time.Now()
	raw, err := Dial(ctx, c.source(), addr)
	if err != nil {
		return res, err
	}
	defer func() { _ = raw.Close() }() // the answer has been read by then
	conn := tls.Client(raw, c.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return res, fmt.Errorf("tlsclient: handshake: %w", err)
	}
	res.Handshake = time.Since(start)
	state := conn.ConnectionState()
	res.Resumed, res.Version = state.DidResume, state.Version
	res.Backend, err = exchange(conn)
	return res, err
}

// Ticket returns the ticket or PSK identity the client would offer next, nil without one.
func (c *Client) Ticket() []byte {
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
func (c *Client) Forget() { c.cache.Put("", nil) }

// Hello returns the bytes of the ClientHello the client would send next, record header included.
func (c *Client) Hello() ([]byte, error) {
	// A failed handshake makes crypto/tls forget the session, so it fails on a copy.
	cfg, rec, cache := c.tls.Clone(), &recorder{}, &session{}
	cache.state, _ = c.cache.Get("")
	cfg.ClientSessionCache = cache
	err := tls.Client(rec, cfg).Handshake()
	if len(rec.hello) == 0 {
		return nil, fmt.Errorf("tlsclient: record hello: %w", err)
	}
	return rec.hello, nil
}

// Dial connects from the given local address (nil: the kernel's choice) with a deadline for all
// that follows: Timeout from now, or that of ctx when it is sooner.
func Dial(ctx context.Context, from *net.TCPAddr, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: Timeout}
	if from != nil {
		d.LocalAddr = from
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tlsclient: connect: %w", err)
	}
	deadline := time.Now().Add(Timeout)
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(deadline) {
		deadline = sooner
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(fmt.Errorf("tlsclient: set deadline: %w", err), conn.Close())
	}
	return conn, nil
}

// RandomLoopback returns a random address of 127.0.0.0/8 outside 127.0.0.0/16, port chosen by the kernel.
func RandomLoopback() *net.TCPAddr {
	return Loopback(1<<16 + rand.IntN(1<<24-1<<17))
}

// Loopback returns the n-th address of 127.0.0.0/8.
func Loopback(n int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, byte(n>>16), byte(n>>8), byte(n))}
}

// request asks for an answer that ends with the conn.
const request = "GET / HTTP/1.0\r\n\r\n"

// exchange sends the request and returns the first word of the answer's body: the backend's name.
func exchange(rw io.ReadWriter) (string, error) {
	if _, err := io.WriteString(rw, request); err != nil {
		return "", fmt.Errorf("tlsclient: send request: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(rw, 64<<10))
	if err != nil {
		return "", fmt.Errorf("tlsclient: read answer: %w", err)
	}
	_, body, ok := bytes.Cut(answer, []byte("\r\n\r\n"))
	words := bytes.Fields(body)
	if !ok || len(words) == 0 {
		return "", fmt.Errorf("tlsclient: answer names no backend: %.100q", answer)
	}
	return string(words[0]), nil
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
