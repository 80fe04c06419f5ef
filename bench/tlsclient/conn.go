package tlsclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"homing/bench/tlscore"
)

// Core is one side of TLS without the conn: tlscore's Conn, or its ServerConn.
type Core interface {
	Receive(b []byte, data func(plain []byte)) error
	Output() []byte
	Write(b []byte) error
	CloseWrite()
	Shaken() bool
	Closed() bool
}

// Stream is a net.Conn that speaks TLS as its core does. Handshake must have returned before Read and Write. Then one
// goroutine may read while another writes; a Read that a deadline ended may be called again.
type Stream struct {
	net.Conn // the conn below; its deadlines hold

	core Core
	room []byte // for what comes; owned by the goroutine that reads
	data []byte // application data that came and was not taken yet; the same

	mu      sync.Mutex // guards core, but is free while bytes are sent: a Write that waits must not hold up a Read
	sending bool       // somebody sends what the core puts out, and goes on until nothing is left; guarded by mu
	out     []byte     // what is being sent, owned by who set sending
}

// Conn is a Stream of a client.
type Conn struct {
	*Stream
	core *tlscore.Conn
}

// readBytes is what is asked of the socket at a time: a record and its header, the largest that a server sends.
const readBytes = 17 << 10

// NewConn returns a conn over raw, which it owns. Nothing is sent yet. An error is one of the options.
func NewConn(raw net.Conn, o *tlscore.Options) (*Conn, error) {
	core, err := tlscore.New(o)
	if err != nil {
		return nil, fmt.Errorf("tlsclient: %w", err)
	}
	return &Conn{NewStream(raw, core), core}, nil
}

// NewStream returns a stream over raw, which it owns. Nothing is sent yet.
func NewStream(raw net.Conn, core Core) *Stream { return &Stream{Conn: raw, core: core} }

// Handshake shakes hands. The errors are those of the core's Receive, net.Error for a deadline that passed, and
// io.ErrUnexpectedEOF for a conn that ended, all wrapped. Closing the conn is up to the caller in any case.
func (c *Stream) Handshake() error {
	if err := c.flush(func() error { return nil }); err != nil {
		return fmt.Errorf("tlsclient: handshake: %w", err)
	}
	for !c.core.Shaken() {
		if err := c.receive(); err != nil {
			return fmt.Errorf("tlsclient: handshake: %w", err)
		}
	}
	return nil
}

// receive reads once from the conn below.
func (c *Stream) receive() error {
	if c.room == nil {
		c.room = make([]byte, readBytes)
	}
	n, err := c.Conn.Read(c.room)
	if n > 0 {
		received := c.flush(func() error {
			return c.core.Receive(c.room[:n], func(plain []byte) { c.data = append(c.data, plain...) })
		})
		if received != nil {
			return received
		}
	}
	if errors.Is(err, io.EOF) && !c.core.Closed() {
		err = io.ErrUnexpectedEOF // cut off: a reader must not take it for the end
	}
	return err // its callers say what it was for
}

// flush does f and sends what is to be sent then, also when f fails: an alert. When another goroutine is sending, it
// sends this too.
func (c *Stream) flush(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f()
	if c.sending {
		return err
	}
	c.sending = true
	defer func() { c.sending = false }()
	for {
		c.out = append(c.out[:0], c.core.Output()...)
		if len(c.out) == 0 {
			return err
		}
		c.mu.Unlock()
		_, sent := c.Conn.Write(c.out)
		c.mu.Lock()
		if sent != nil {
			if err == nil { // else that says more
				err = sent
			}
			return err
		}
	}
}

// Read reads application data. It returns io.EOF after the server's close_notify, and io.ErrUnexpectedEOF, wrapped, when
// the conn ended without one.
func (c *Stream) Read(b []byte) (int, error) {
	for len(c.data) == 0 {
		if c.core.Closed() {
			return 0, io.EOF
		}
		c.data = c.data[:0]
		if err := c.receive(); err != nil && len(c.data) == 0 {
			return 0, fmt.Errorf("tlsclient: read: %w", err)
		}
	}
	n := copy(b, c.data)
	c.data = c.data[n:]
	return n, nil
}

// Write sends application data.
func (c *Stream) Write(b []byte) (int, error) {
	if err := c.flush(func() error { return c.core.Write(b) }); err != nil {
		return 0, fmt.Errorf("tlsclient: write: %w", err)
	}
	return len(b), nil
}

// CloseWrite tells the server that no more data comes (close_notify), and leaves the conn open.
func (c *Stream) CloseWrite() error {
	err := c.flush(func() error {
		c.core.CloseWrite()
		return nil
	})
	if err != nil {
		return fmt.Errorf("tlsclient: close: %w", err)
	}
	return nil
}

// Close sends close_notify if the handshake came to its end and nobody is amid a Write, and closes the conn below.
func (c *Stream) Close() error {
	c.mu.Lock()
	if c.core.Shaken() && !c.sending {
		c.core.CloseWrite()
		_, _ = c.Conn.Write(c.core.Output()) // the server may be gone, and nothing depends on it
	}
	c.mu.Unlock()
	if err := c.Conn.Close(); err != nil {
		return fmt.Errorf("tlsclient: close: %w", err)
	}
	return nil
}

// State returns what the handshake came to.
func (c *Conn) State() tlscore.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.core.State()
}

// Sessions returns all sessions that the server gave, oldest first. TLS 1.3 servers give them behind the handshake, with
// what is read.
func (c *Conn) Sessions() []*tlscore.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*tlscore.Session(nil), c.core.Sessions()...)
}

// Session returns the newest of the sessions, nil without one.
func (c *Conn) Session() *tlscore.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.core.Session()
}
