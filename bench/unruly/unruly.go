// Package unruly is a TLS 1.3 client that is asked for a second hello and sends its bytes in any order, for tests of those who
// read them on their way. What the hellos say is up to tlscore's Deviation.
package unruly

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"homing/bench/tlsclient"
	"homing/bench/tlscore"
)

// Order is when the client sends what. The zero Order is that of the RFC.
type Order struct {
	With   []byte // what follows the first hello in its segment
	Before []byte // what follows that in a segment of its own, a moment later
	Behind []byte // what comes before the second hello, once it is asked for

	// Ahead is how many bytes of the second hello, and of the ChangeCipherSpec before it, are sent behind With, before it is asked
	// for; negative: all. For this the client has to know what the server will ask for: Retry, see LearnRetry.
	Ahead int
	Retry []byte

	// Chunk is how many bytes a segment has, 0: any number.
	Chunk int
}

// moment is what it takes to be read apart from what was sent before, in most cases: a test must not rely on it.
const moment = 5 * time.Millisecond

// The records that an Order may be made of (RFC 9846, Section 5.1).

// ChangeCipherSpec is one of middlebox compatibility.
func ChangeCipherSpec() []byte { return []byte{20, 3, 3, 0, 1, 1} }

// EarlyData is a record of n bytes, below 16,384, that no server can open.
func EarlyData(n int) []byte {
	return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xa5}, n)...)
}

// WarningAlert is a close_notify in clear.
func WarningAlert() []byte { return []byte{21, 3, 3, 0, 2, 1, 0} }

// Conn is a conn whose handshake was tried.
type Conn struct {
	*tlscore.Conn
	raw   net.Conn
	Hello []byte // the one that the server has answered, or was to: its records
}

// Shake shakes hands over raw in the given order. The Conn tells how far it came, on an error too, unless the options are at
// fault.
func Shake(raw net.Conn, o *tlscore.Options, order Order) (*Conn, error) {
	core, err := tlscore.New(o)
	if err != nil {
		return nil, fmt.Errorf("unruly: %w", err)
	}
	c := &Conn{Conn: core, raw: raw, Hello: bytes.Clone(core.Output())}
	segment := append(bytes.Clone(c.Hello), order.With...)
	var rest []byte
	if order.Ahead != 0 {
		if err := core.Receive(retryTo(c.Hello, order.Retry), nil); err != nil {
			return c, fmt.Errorf("unruly: the server's request: %w", err)
		}
		c.Hello = bytes.Clone(core.Output())
		n := len(c.Hello)
		if order.Ahead > 0 {
			n = min(n, order.Ahead)
		}
		segment, rest = append(segment, c.Hello[:n]...), c.Hello[n:]
	}
	if err := c.send(segment, order.Chunk); err != nil {
		return c, err
	}
	if len(order.Before) > 0 {
		time.Sleep(moment)
		if err := c.send(order.Before, order.Chunk); err != nil {
			return c, err
		}
	}
	if order.Ahead != 0 { // what was foreseen comes now
		if _, err := io.ReadFull(raw, make([]byte, len(order.Retry))); err != nil {
			return c, fmt.Errorf("unruly: read request: %w", err)
		}
		if err := c.send(rest, order.Chunk); err != nil {
			return c, err
		}
	}
	return c, c.finish(order)
}

// finish goes on as the server says.
func (c *Conn) finish(order Order) error {
	asked := c.State().Retried
	for room := make([]byte, 16<<10); !c.Shaken(); {
		n, err := c.raw.Read(room)
		if err != nil {
			return fmt.Errorf("unruly: read: %w", err)
		}
		err = c.Receive(room[:n], func([]byte) {})
		out := bytes.Clone(c.Output())
		if !asked && c.State().Retried {
			asked, c.Hello = true, out
			out = append(bytes.Clone(order.Behind), out...)
		}
		if sent := c.send(out, order.Chunk); err == nil {
			err = sent
		}
		if err != nil {
			return fmt.Errorf("unruly: %w", err)
		}
	}
	return nil
}

func (c *Conn) send(b []byte, chunk int) error {
	if chunk == 0 {
		chunk = max(1, len(b))
	}
	for len(b) > 0 {
		n := min(chunk, len(b))
		if _, err := c.raw.Write(b[:n]); err != nil {
			return fmt.Errorf("unruly: send: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// Ask sends a request and reads the answer up to its end. It is not for a Conn whose Data was read.
func (c *Conn) Ask(request string) error {
	stream := tlsclient.NewStream(c.raw, c.Conn)
	if _, err := io.WriteString(stream, request); err != nil {
		return fmt.Errorf("unruly: %w", err)
	}
	if _, err := io.Copy(io.Discard, stream); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("unruly: %w", err)
	}
	return nil
}

// Data reads application data until so many bytes have come, or the server says that there are no more. What comes behind
// them is lost.
func (c *Conn) Data(most int64) (data []byte, err error) {
	return io.ReadAll(io.LimitReader(tlsclient.NewStream(c.raw, c.Conn), most))
}

const (
	sessionIDAt = 5 + 4 + 2 + 32 // in a hello and in the answer to it, behind the headers of record and message, version and random
	headerBytes = 5
)

// LearnRetry returns the HelloRetryRequest with which the server at raw answers a first hello with these options, and closes raw.
func LearnRetry(raw net.Conn, o *tlscore.Options) ([]byte, error) {
	defer raw.Close()
	core, err := tlscore.New(o)
	if err != nil {
		return nil, fmt.Errorf("unruly: %w", err)
	}
	if _, err := raw.Write(core.Output()); err != nil {
		return nil, fmt.Errorf("unruly: send: %w", err)
	}
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(raw, header); err != nil {
		return nil, fmt.Errorf("unruly: read: %w", err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(raw, body); err != nil {
		return nil, fmt.Errorf("unruly: read: %w", err)
	}
	retry := append(header, body...)
	if err := core.Receive(bytes.Clone(retry), nil); err != nil || !core.State().Retried {
		return nil, fmt.Errorf("unruly: the server asks for no second hello: %w", err)
	}
	return retry, nil
}

// retryTo is a HelloRetryRequest as the server would send it in answer to another hello: it echoes the session ID.
func retryTo(hello, retry []byte) []byte {
	retry = bytes.Clone(retry)
	if len(retry) > sessionIDAt+32 && len(hello) > sessionIDAt+32 && retry[sessionIDAt] == 32 && hello[sessionIDAt] == 32 {
		copy(retry[sessionIDAt+1:sessionIDAt+33], hello[sessionIDAt+1:])
	}
	return retry
}
