package farm

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"homing/bench/tlsclient"
	"homing/bench/tlscore"
	"homing/bench/tlsserver"
)

// GoServer is a TLS server in this process with a session cache and a ticket key of its own: TLS 1.2 by session ID and by
// ticket, TLS 1.3 by PSK. It answers as an Nginx made for load does.
type GoServer struct {
	name   string
	config *tls.Config
	byID   *tlscore.Server
	http   *http.Server
}

const (
	// idleTimeout is how long a conn may say nothing.
	idleTimeout = 5 * time.Minute
	// maxRequest bounds the head of a request, in bytes.
	maxRequest = 16 << 10
)

// NewGoServer returns a server with the given name and certificate. Without tickets TLS 1.2 resumes by session ID alone,
// and TLS 1.3 not at all.
func NewGoServer(name string, cert tls.Certificate, tickets bool) *GoServer {
	s := &GoServer{
		name: name,
		config: &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: !tickets,
		},
		byID: tlscore.NewServer(cert),
	}
	if tickets {
		tlsserver.NewTicketKey().Configure(s.config)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.head(w, r)
		_, _ = io.WriteString(w, name+"\n") // the client sees what is missing
	})
	mux.HandleFunc("/data", func(w http.ResponseWriter, r *http.Request) {
		s.head(w, r)
		if r.Header.Get("Range") == "" { // nobody wants all of it
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(zeros{}, 0, dataBytes))
	})
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: idleTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxRequest,
		ErrorLog:    log.New(io.Discard, "", 0), // clients report what goes wrong
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return s
}

// connKey is the key of a request's conn in its context.
type connKey struct{}

func (s *GoServer) head(w http.ResponseWriter, r *http.Request) {
	reused := "."
	if c, ok := r.Context().Value(connKey{}).(*goConn); ok && c.resumed() {
		reused = "r"
	}
	h := w.Header()
	h.Set("X-Backend", s.name)
	h.Set("X-Resumed", reused)
	h.Set("Content-Type", "text/plain")
}

// zeros are the bytes of /data.
type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) {
	clear(b)
	return len(b), nil
}

// Serve accepts until the listener or the server is closed, and returns why it ended.
func (s *GoServer) Serve(l net.Listener) error { return s.http.Serve(goListener{l, s}) }

// Close ends all conns at once, and Serve.
func (s *GoServer) Close() error { return s.http.Close() }

// goListener gives conns that shake hands when they are read first.
type goListener struct {
	net.Listener
	s *GoServer
}

func (l goListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &goConn{Conn: raw, s: l.s}, nil
}

// goConn is one conn of a GoServer.
type goConn struct {
	net.Conn // below TLS
	s        *GoServer
	once     sync.Once
	err      error // of the handshake; read after once

	mu      sync.Mutex
	tls     net.Conn // guarded by mu; nil until the handshake is over
	resumed func() bool
}

func (c *goConn) Read(b []byte) (int, error) {
	c.once.Do(func() { c.err = c.shake() })
	if c.err != nil {
		return 0, c.err
	}
	return c.tls.Read(b)
}

// Write is called behind a Read.
func (c *goConn) Write(b []byte) (int, error) { return c.tls.Write(b) }

// Close sends close_notify, if the handshake is over; the client may be gone.
func (c *goConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls == nil {
		return c.Conn.Close()
	}
	return c.tls.Close()
}

// shake decides by the hello who shakes hands: whoever can do better than session IDs is served by crypto/tls, which has
// none.
func (c *goConn) shake() error {
	var seen bytes.Buffer
	raw := &replay{c.Conn, io.TeeReader(c.Conn, &seen)}
	core := c.s.byID.New()
	byID := tlsclient.NewStream(raw, core)
	if err := byID.Handshake(); !errors.Is(err, tlscore.ErrNotForID) {
		raw.from = c.Conn
		c.opened(byID, core.Resumed)
		return err
	}
	raw.from = io.MultiReader(&seen, c.Conn)
	modern := tls.Server(raw, c.s.config)
	if err := modern.Handshake(); err != nil {
		return err
	}
	c.opened(modern, func() bool { return modern.ConnectionState().DidResume })
	return nil
}

func (c *goConn) opened(conn net.Conn, resumed func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tls, c.resumed = conn, resumed
}

// replay is a conn that is read from elsewhere.
type replay struct {
	net.Conn
	from io.Reader
}

func (r *replay) Read(b []byte) (int, error) { return r.from.Read(b) }
