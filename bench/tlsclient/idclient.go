package tlsclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"homing/bench/tlscore"
)

// IDClient resumes by TLS 1.2 session ID, which crypto/tls has no client for. It offers no session ticket. It is not safe
// for concurrent use.
type IDClient struct {
	options tlscore.Options
	source  func() *net.TCPAddr
}

// NewID returns a client without a session. Config.Version is not looked at.
func NewID(cfg Config) *IDClient {
	c := &IDClient{source: cfg.Source}
	c.options = tlscore.Options{MaxVersion: tls.VersionTLS12, ServerName: cfg.ServerName, Roots: cfg.Roots}
	if c.source == nil {
		c.source = RandomLoopback
	}
	return c
}

// ID returns the session ID the client would offer next, empty without one.
func (c *IDClient) ID() []byte {
	if c.options.Session == nil {
		return nil
	}
	return c.options.Session.ID
}

// Forget drops the session, so that the next conn is a fresh handshake.
func (c *IDClient) Forget() { c.options.Session = nil }

// Hello returns the bytes of a ClientHello that offers the session, record header included.
func (c *IDClient) Hello() ([]byte, error) {
	hello, err := c.options.Hello()
	if err != nil {
		return nil, fmt.Errorf("tlsclient: %w", err)
	}
	return hello, nil
}

// Get makes one conn to addr, sends a request and reads the answer to its end.
func (c *IDClient) Get(ctx context.Context, addr string) (Result, error) {
	res := Result{Offered: len(c.ID()) > 0, Version: tls.VersionTLS12}
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
	res.Resumed = conn.State().Resumed
	c.options.Session = conn.Session()
	res.Backend, err = exchange(conn)
	return res, err
}
