package integration

import (
	endian "encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// junk is one kind of hostile client.
type junk struct {
	name  string
	conns int
	// send writes what the client has to say; it is cut short when homing hangs up.
	send func(j *junkmaker, conn net.Conn) error
	// held clients wait for homing to close, and it must do so at the hello deadline; the others hang up soon.
	held bool
}

// lingering is how long a client that is not held listens for an answer.
const lingering = 300 * time.Millisecond

// junkKinds are 10,000 clients of the kinds that the hello reader has to bear.
func junkKinds() []junk {
	return []junk{
		{"random bytes", 1500, (*junkmaker).random, false},
		{"random bytes in a TLS record", 1000, (*junkmaker).randomRecord, false},
		{"a hello with some bytes changed", 1000, (*junkmaker).mutated, false},
		{"a hello cut anywhere", 1500, (*junkmaker).truncated, true},
		{"a large hello without its end", 1000, (*junkmaker).large, true},
		{"a hello beyond the limit", 1500, (*junkmaker).oversized, false},
		{"a hello with up to 300 kB behind it", 500, (*junkmaker).chatty, false},
		{"a hello byte by byte", 1000, (*junkmaker).bytewise, false},
		{"a hello byte by byte, too slow", 1000, (*junkmaker).trickle, true},
	}
}

// junkmaker draws hostile bytes. It belongs to one goroutine.
type junkmaker struct {
	r      *rand.Rand
	src    *rand.ChaCha8
	hellos [][]byte // real ones
}

func newJunkmaker(hellos [][]byte) *junkmaker {
	var seed [32]byte
	endian.LittleEndian.PutUint64(seed[:], rand.Uint64())
	src := rand.NewChaCha8(seed)
	return &junkmaker{r: rand.New(src), src: src, hellos: hellos}
}

func (j *junkmaker) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = j.src.Read(b) // never fails
	return b
}

func (j *junkmaker) hello() []byte {
	return append([]byte(nil), j.hellos[j.r.IntN(len(j.hellos))]...)
}

// bigHello is the stream of a well-formed ClientHello of n bytes, one padding extension (RFC 7685) among them, in
// records of the given size.
func bigHello(n, record int) []byte {
	const fixed = 4 + 2 + 32 + 1 + 2 + 2 + 2 + 2 + 4
	m := make([]byte, n)
	m[0], m[1], m[2], m[3] = 1, byte((n-4)>>16), byte((n-4)>>8), byte(n-4)
	m[4], m[5] = 3, 3
	b := m[4+2+32+1:]                    // behind an empty session ID
	copy(b, []byte{0, 2, 0x13, 1, 1, 0}) // one cipher suite, no compression
	pad := min(n-fixed, 65535-4)
	endian.BigEndian.PutUint16(b[6:], uint16(pad+4))
	copy(b[8:], []byte{0, 21, byte(pad >> 8), byte(pad)})
	return records(m, record)
}

// records cuts a handshake message into records of up to size bytes.
func records(m []byte, size int) []byte {
	out := make([]byte, 0, len(m)+5*(len(m)/size+1))
	for len(m) > 0 {
		n := min(size, len(m))
		out = append(out, 22, 3, 1, byte(n>>8), byte(n))
		out = append(out, m[:n]...)
		m = m[n:]
	}
	return out
}

func write(conn net.Conn, b []byte) error {
	_, err := conn.Write(b)
	return err
}

func (j *junkmaker) random(conn net.Conn) error { return write(conn, j.bytes(1+j.r.IntN(4096))) }

func (j *junkmaker) randomRecord(conn net.Conn) error {
	n := 4 + j.r.IntN(2000)
	m := j.bytes(n)
	m[0], m[1], m[2], m[3] = 1, 0, byte((n-4)>>8), byte(n-4)
	return write(conn, records(m, 1+j.r.IntN(n)))
}

func (j *junkmaker) mutated(conn net.Conn) error {
	b := j.hello()
	for range 1 + j.r.IntN(8) {
		b[j.r.IntN(len(b))] = byte(j.r.Uint32())
	}
	return write(conn, b)
}

func (j *junkmaker) truncated(conn net.Conn) error {
	b := j.hello()
	return write(conn, b[:1+j.r.IntN(len(b)-1)])
}

// large holds as much of homing's memory as a client can without ever being complete.
func (j *junkmaker) large(conn net.Conn) error {
	b := bigHello(helloLimit-j.r.IntN(200), 1<<j.r.IntN(15))
	return write(conn, b[:len(b)-1-j.r.IntN(100)])
}

func (j *junkmaker) oversized(conn net.Conn) error {
	size := helloLimit + 1 + j.r.IntN(300_000-helloLimit)
	if j.r.IntN(2) == 0 {
		return write(conn, records(j.bytes(size), 1+j.r.IntN(1<<14))[:size])
	}
	b := bigHello(min(size, 1<<16), 1<<j.r.IntN(15))
	return write(conn, b[:min(len(b), 300_000)])
}

func (j *junkmaker) chatty(conn net.Conn) error {
	return write(conn, append(j.hello(), j.bytes(j.r.IntN(300_000))...))
}

func (j *junkmaker) bytewise(conn net.Conn) error {
	for b := j.hello(); len(b) > 0; b = b[1:] {
		if err := write(conn, b[:1]); err != nil {
			return err
		}
	}
	return nil
}

func (j *junkmaker) trickle(conn net.Conn) error {
	for b := j.hello(); len(b) > 0; b = b[1:] {
		if err := write(conn, b[:1]); err != nil {
			return err
		}
		time.Sleep(time.Duration(30+j.r.IntN(60)) * time.Millisecond)
	}
	return nil
}

// untilClosed reads until the other side has closed or the time is over, and reports whether it has closed.
func untilClosed(conn net.Conn, limit time.Duration) bool {
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return true
	}
	_, err := io.Copy(io.Discard, conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
