// Package tlsclient holds the client that tests and demo send through a balancer: it remembers its TLS session, offers it
// again on the next conn, comes from another address every time, and tells what became of the offer. Its conns (Conn,
// Stream) put tlscore on a net.Conn.
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
	"time"

	"homing/bench/tlscore"
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
	// Version is the only TLS version offered: tls.VersionTLS12 or tls.VersionTLS13. NewID does not look at it.
	Version uint16
	// ServerName is sent as SNI and verified.
	ServerName string
	// Roots are the certificates trusted.
	Roots *x509.CertPool
	// Source picks the local address of each conn; nil is RandomLoopback.
	Source func() *net.TCPAddr
}

// Client is one user. It is not safe for concurrent use.
type Client struct {
	options tlscore.Options
	source  func() *net.TCPAddr
}

// New returns a client without a session that resumes by TLS 1.2 ticket or TLS 1.3 PSK, as its version is.
func New(cfg Config) *Client {
	c := newClient(cfg)
	c.options.MinVersion, c.options.MaxVersion, c.options.Tickets = cfg.Version, cfg.Version, true
	return c
}

// NewID returns a client without a session that resumes by TLS 1.2 session ID, and asks for no ticket.
func NewID(cfg Config) *Client {
	c := newClient(cfg)
	c.options.MaxVersion = tls.VersionTLS12
	return c
}

func newClient(cfg Config) *Client {
	c := &Client{source: cfg.Source, options: tlscore.Options{ServerName: cfg.ServerName, Roots: cfg.Roots}}
	if c.source == nil {
		c.source = RandomLoopback
	}
	return c
}

// Session returns what the client would offer next, nil for a fresh handshake.
func (c *Client) Session() *tlscore.Session { return c.options.Session }

// Copy returns a client with the same session, so that one offer can be made to several servers.
func (c *Client) Copy() *Client {
	twin := *c
	return &twin
}

// Hello returns the bytes of the ClientHello that the client would send next, record header included.
func (c *Client) Hello() ([]byte, error) {
	hello, err := c.options.Hello()
	if err != nil {
		return nil, fmt.Errorf("tlsclient: %w", err)
	}
	return hello, nil
}

// Get makes one conn to addr, sends a request and reads the answer to its end. In TLS 1.3 the server's new ticket comes
// with the answer, so the session is renewed then.
func (c *Client) Get(ctx context.Context, addr string) (Result, error) {
	res := Result{Offered: c.options.Session != nil}
	start := time.Now()
	raw, err := Dial(ctx, c.source(), addr)
	if err != nil {
		return res, err
	}
	defer func() { _ = raw.Close() }() // the answer has been read by then
	conn, err := NewConn(raw, &c.options)
	if err != nil {
		return res, err
	}
	if err := conn.Handshake(); err != nil {
		return res, err
	}
	res.Handshake = time.Since(start)
	state := conn.State()
	res.Resumed, res.Version = state.Resumed, state.Version
	res.Backend, err = Exchange(conn)
	if s := conn.Session(); s != nil || !state.Resumed { // what was refused is of no more use
		c.options.Session = s
	}
	return res, err
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

// Exchange sends a request and returns the first word of the answer's body: the backend's name.
func Exchange(rw io.ReadWriter) (string, error) {
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
