package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// ClientConfig says how to reach an admin server.
type ClientConfig struct {
	Address Address

	// TokenFile holds what an admin server beyond loopback asks for. Empty: none.
	TokenFile string

	// CAFile holds the certificates that the server's must be signed by. Empty: the system's.
	CAFile string

	// CertFile and KeyFile are the client's own, for a server that wants one. Empty: none.
	CertFile, KeyFile string
}

// Client asks one admin server.
type Client struct {
	address Address
	token   string
	http    *http.Client
	base    string
}

const (
	// askTimeout bounds one request whose context has no deadline. A node waits for others for 9 s at most.
	askTimeout = 15 * time.Second

	// dialTimeout bounds the connect to the admin server.
	dialTimeout = 5 * time.Second

	// maxAnswer bounds what is read of an answer: 4,096 backends need about 4 MB.
	maxAnswer = 64 << 20
)

// NewClient reads the files of the configuration. It does not connect yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{address: cfg.Address, base: "http://" + cfg.Address.Addr}
	if cfg.TokenFile != "" {
		token, err := ReadToken(cfg.TokenFile)
		if err != nil {
			return nil, err
		}
		c.token = token
	}
	transport := &http.Transport{MaxIdleConns: 2, IdleConnTimeout: time.Minute}
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, cfg.Address.Network, cfg.Address.Addr)
	}
	if cfg.Address.Network == "unix" {
		c.base = "http://localhost"
	}
	if cfg.Address.TLS {
		var err error
		c.base = "https://" + cfg.Address.Addr
		if transport.TLSClientConfig, err = cfg.tls(); err != nil {
			return nil, err
		}
	}
	c.http = &http.Client{Transport: transport}
	return c, nil
}

func (cfg *ClientConfig) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if cfg.CAFile != "" {
		roots, err := ReadRoots(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("the certificate %q with the key %q: %w", cfg.CertFile, cfg.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// ReadRoots reads certificates to trust.
func ReadRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return roots, nil
}

// minToken is the shortest token: 16 random bytes in base64 have 22 characters.
const minToken = 16

// ReadToken reads the first line of a token file.
func ReadToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	token := strings.TrimSpace(line)
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: its first line is no token of %d printable characters or more: homing keygen makes one", path, minToken)
	}
	return token, nil
}

// RefusedError is an answer that says no.
type RefusedError struct {
	Status int
	Text   string
}

func (e *RefusedError) Error() string { return "refused: " + e.Text }

// UnreachableError is no answer at all.
type UnreachableError struct {
	Address Address
	Err     error
}

func (e *UnreachableError) Error() string {
	why := e.Err.Error()
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED), errors.Is(e.Err, os.ErrNotExist):
		why = "nobody listens there: does homing run, with this --admin?"
	case errors.Is(e.Err, os.ErrPermission):
		why = "permission denied: the socket is for root, and for the user and the group that homing runs as: use sudo, " +
			"or add this user to that group"
	case errors.Is(e.Err, context.DeadlineExceeded):
		why = "it does not answer in time"
	}
	return fmt.Sprintf("no answer from %s: %s", e.Address, why)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Get asks for a path, which begins with /v1/, and reads the answer into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.ask(ctx, http.MethodGet, path, nil, out)
}

// Post sends in to a path and reads the answer into out.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.ask(ctx, http.MethodPost, path, in, out)
}

// BackendPath is the path of a backend, of one pool unless that is empty, and of what is done with it.
func BackendPath(backend, pool, what string) string {
	path := "/v1/backends/" + url.PathEscape(backend)
	if what != "" {
		path += "/" + what
	}
	if pool != "" {
		path += "?pool=" + url.QueryEscape(pool)
	}
	return path
}

func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return &UnreachableError{c.address, err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &UnreachableError{c.address, fmt.Errorf("the answer broke off: %w", err)}
	}
	if response.StatusCode/100 != 2 {
		return refused(response.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &UnreachableError{c.address, fmt.Errorf("its answer is none of homing's: %w", err)}
	}
	return nil
}

func refused(status int, text []byte) error {
	var said Error
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		said.Error = fmt.Sprintf("status %d, %.200s", status, bytes.TrimSpace(text))
	}
	switch status {
	case http.StatusUnauthorized:
		said.Error += ": give --admin-token-file, or a client certificate"
	case http.StatusNotFound:
		if !strings.Contains(said.Error, " ") {
			said.Error = "it does not know this request: is it an older homing?"
		}
	}
	return &RefusedError{status, said.Error}
}
