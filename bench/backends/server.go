package backends

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"homing/bench/tlscore"
	"homing/bench/tlsserver"
)

const (
	// idleTimeout is how long a conn may say nothing.
	idleTimeout = 5 * time.Minute
	// maxRequest bounds the head of a request, in bytes.
	maxRequest = 16 << 10
	// writeBytes is what one write of /data holds: full records.
	writeBytes = 64 << 10
)

// Server is a TLS server in Go with a session cache and a ticket key of its own: TLS 1.2 by session ID and by ticket, TLS
// 1.3 by PSK, with tickets laid out as OpenSSL's. It answers as nginx of a Farm does.
type Server struct {
	name   string
	config *tls.Config
	byID   *tlscore.Server

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; nil: closed
	wg    sync.WaitGroup
}

// NewServer returns a server with the given name and certificate. Without tickets TLS 1.2 resumes by session ID alone, and
// TLS 1.3 not at all.
func NewServer(name string, cert tls.Certificate, tickets bool) (*Server, error) {
	s := &Server{
		name: name, byID: &tlscore.Server{Certificate: cert, Sessions: &tlscore.ServerSessions{}},
		config: &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: !tickets},
		conns:  map[net.Conn]struct{}{},
	}
	if tickets {
		key, err := tlsserver.NewTicketKey()
		if err != nil {
			return nil, fmt.Errorf("backends: %w", err)
		}
		key.Configure(s.config)
	}
	return s, nil
}

// Serve accepts until the listener is closed, and returns why it ended.
func (s *Server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			return errors.Join(net.ErrClosed, conn.Close())
		}
		s.conns[conn] = struct{}{}
		s.wg.Go(func() {
			s.serve(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}

// Close ends all conns and waits for them. The listener is the caller's.
func (s *Server) Close() {
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close() // whatever it was doing
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// session is one side of a conn whose handshake is over, or comes with the first read.
type session interface {
	io.ReadWriteCloser
	resumed() bool
}

// serve runs one conn. Errors end it, and its client reports them.
func (s *Server) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }() // the client has read its answer, or is gone
	if raw.SetDeadline(time.Now().Add(idleTimeout)) != nil {
		return
	}
	conn, err := s.open(raw)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // sends close_notify; the client may be gone
	in := bufio.NewReaderSize(conn, 4096)
	for {
		r, err := readRequest(in)
		if err != nil || s.answer(conn, &r) != nil || r.last {
			return
		}
		if raw.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
	}
}

// open decides by the hello who shakes hands: whoever can do better than session IDs is served by crypto/tls, which has
// none.
func (s *Server) open(raw net.Conn) (session, error) {
	c := s.byID.New()
	var hello []byte
	buf := make([]byte, 4096)
	for {
		n, err := raw.Read(buf)
		if err != nil {
			return nil, err
		}
		hello = append(hello, buf[:n]...)
		err = c.Receive(buf[:n], nil)
		if errors.Is(err, tlscore.ErrNotForID) {
			return &modern{tls.Server(&replayed{Conn: raw, first: hello}, s.config)}, nil
		}
		if out := c.Output(); len(out) > 0 {
			if _, err := raw.Write(out); err != nil {
				return nil, err
			}
			if err == nil {
				return &classic{raw: raw, c: c}, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// modern is a conn of crypto/tls.
type modern struct{ *tls.Conn }

func (m *modern) resumed() bool { return m.ConnectionState().DidResume }

// replayed is a conn of which some has been read already.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.first)
	r.first = r.first[n:]
	return n, nil
}

// classic is a conn that resumes by session ID.
type classic struct {
	raw  net.Conn
	c    *tlscore.ServerConn
	data []byte
	buf  [16 << 10]byte
}

func (k *classic) resumed() bool { return k.c.Resumed() }

func (k *classic) Read(b []byte) (int, error) {
	for len(k.data) == 0 {
		if k.c.Closed() {
			return 0, io.EOF
		}
		n, err := k.raw.Read(k.buf[:])
		if err != nil {
			return 0, err
		}
		err = k.c.Receive(k.buf[:n], func(plain []byte) { k.data = append(k.data, plain...) })
		if out := k.c.Output(); len(out) > 0 {
			if _, werr := k.raw.Write(out); werr != nil {
				return 0, werr
			}
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(b, k.data)
	k.data = k.data[n:]
	return n, nil
}

func (k *classic) Write(b []byte) (int, error) {
	if err := k.c.Write(b); err != nil {
		return 0, err
	}
	if _, err := k.raw.Write(k.c.Output()); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (k *classic) Close() error {
	k.c.CloseWrite()
	_, err := k.raw.Write(k.c.Output())
	return err
}

// request is what matters of an HTTP request.
type request struct {
	data  bool  // for /data
	bytes int64 // of it; below 0: no range was asked for
	last  bool  // the conn ends with the answer
}

func readRequest(in *bufio.Reader) (request, error) {
	r := request{bytes: -1}
	for read, first := 0, true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		if read += len(line); read > maxRequest {
			return r, errors.New("backends: a request without end")
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			f := bytes.Fields(line)
			if len(f) != 3 {
				return r, fmt.Errorf("backends: a request that is none: %.40q", line)
			}
			r.data, r.last = string(f[1]) == "/data", string(f[2]) == "HTTP/1.0"
			continue
		}
		if len(line) == 0 {
			return r, nil
		}
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "connection":
			r.last = strings.EqualFold(value, "close")
		case "range":
			if end, ok := strings.CutPrefix(value, "bytes=0-"); ok {
				if n, err := strconv.ParseInt(end, 10, 64); err == nil && n >= 0 && n < dataBytes {
					r.bytes = n + 1
				}
			}
		}
	}
}

// answer answers a request.
func (s *Server) answer(conn session, r *request) error {
	var b []byte
	reused := "."
	if conn.resumed() {
		reused = "r"
	}
	status, n := "200 OK", int64(len(s.name)+1)
	switch {
	case r.data && r.bytes < 0:
		status, n = "416 Range Not Satisfiable", 0 // nobody wants all of it
	case r.data:
		status, n = "206 Partial Content", r.bytes
	}
	b = fmt.Appendf(b, "HTTP/1.1 %s\r\nContent-Length: %d\r\nX-Backend: %s\r\nX-Resumed: %s\r\n", status, n, s.name, reused)
	if r.last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	if !r.data {
		b = append(append(b, s.name...), '\n')
		n = 0
	}
	if _, err := conn.Write(b); err != nil || n == 0 {
		return err
	}
	zeros := make([]byte, writeBytes)
	for ; n > 0; n -= min(n, writeBytes) {
		if _, err := conn.Write(zeros[:min(n, writeBytes)]); err != nil {
			return err
		}
	}
	return nil
}
