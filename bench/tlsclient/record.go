package tlsclient

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Record types, RFC 5246 section 6.2.1.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordData             = 23
)

// Sizes of RFC 5246 (master secret, Finished) and RFC 5288 (AES-128-GCM).
const (
	masterBytes   = 48
	verifyBytes   = 12
	keyBytes      = 16
	implicitBytes = 4 // part of the nonce that comes from the key block
	explicitBytes = 8 // part of the nonce that travels in the record
	headerBytes   = 5
	maxPlaintext  = 1 << 14
	maxRecord     = maxPlaintext + 2048
	maxMessage    = 1 << 17
)

// recordConn is the record layer of one conn: plain until changeRead and changeWrite.
type recordConn struct {
	raw     io.Writer
	in      *bufio.Reader
	pending []byte // handshake bytes read and not yet taken
	data    []byte // application data read and not yet taken
	ended   bool   // close_notify came
	read    *sealer
	write   *sealer
}

func newRecordConn(raw io.ReadWriter) *recordConn {
	return &recordConn{raw: raw, in: bufio.NewReader(raw)}
}

// sealer protects one direction, RFC 5288 section 3.
type sealer struct {
	aead     cipher.AEAD
	implicit []byte
	seq      uint64
}

func newSealer(key, implicit []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &sealer{aead: aead, implicit: implicit}, nil
}

// additional is the data authenticated beside the record, RFC 5246 section 6.2.3.3.
func (s *sealer) additional(kind byte, n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, s.seq)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, tls.VersionTLS12)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

func (s *sealer) seal(kind byte, plain []byte) []byte {
	explicit := binary.BigEndian.AppendUint64(nil, s.seq)
	out := s.aead.Seal(explicit, join(s.implicit, explicit), plain, s.additional(kind, len(plain)))
	s.seq++
	return out
}

func (s *sealer) open(kind byte, sealed []byte) ([]byte, error) {
	n := len(sealed) - explicitBytes - s.aead.Overhead()
	if n < 0 {
		return nil, errMalformed
	}
	nonce := join(s.implicit, sealed[:explicitBytes])
	plain, err := s.aead.Open(nil, nonce, sealed[explicitBytes:], s.additional(kind, n))
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	s.seq++
	return plain, nil
}

// sealers derives both directions' keys, RFC 5246 section 6.3.
func sealers(master, clientRandom, serverRandom []byte) (client, server *sealer, err error) {
	block := prf(master, "key expansion", join(serverRandom, clientRandom), 2*keyBytes+2*implicitBytes)
	iv := block[2*keyBytes:]
	if client, err = newSealer(block[:keyBytes], iv[:implicitBytes]); err != nil {
		return nil, nil, err
	}
	server, err = newSealer(block[keyBytes:2*keyBytes], iv[implicitBytes:])
	return client, server, err
}

// changeWrite sends ChangeCipherSpec; what follows is sealed.
func (c *recordConn) changeWrite(master, clientRandom, serverRandom []byte) error {
	if err := c.writeRecord(recordChangeCipherSpec, []byte{1}); err != nil {
		return err
	}
	var err error
	c.write, _, err = sealers(master, clientRandom, serverRandom)
	return err
}

// changeRead waits for ChangeCipherSpec; what follows is opened.
func (c *recordConn) changeRead(master, clientRandom, serverRandom []byte) error {
	if len(c.pending) > 0 {
		return errors.New("a handshake message where ChangeCipherSpec was due")
	}
	kind, body, err := c.readRecord()
	if err != nil {
		return err
	}
	if kind != recordChangeCipherSpec || len(body) != 1 || body[0] != 1 {
		return fmt.Errorf("record type %d where ChangeCipherSpec was due", kind)
	}
	_, c.read, err = sealers(master, clientRandom, serverRandom)
	return err
}

func (c *recordConn) writeRecord(kind byte, body []byte) error {
	if c.write != nil {
		body = c.write.seal(kind, body)
	}
	if _, err := c.raw.Write(appendRecord(nil, kind, body)); err != nil {
		return fmt.Errorf("send record: %w", err)
	}
	return nil
}

func appendRecord(b []byte, kind byte, body []byte) []byte {
	return appendVector16(append(b, kind, 3, 3), body)
}

// readRecord returns the next record, opened. A fatal alert is an error.
func (c *recordConn) readRecord() (kind byte, body []byte, err error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return 0, nil, fmt.Errorf("read record: %w", err)
	}
	kind = header[0]
	n := int(binary.BigEndian.Uint16(header[3:]))
	if n > maxRecord {
		return 0, nil, errMalformed
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, fmt.Errorf("read record: %w", err)
	}
	if c.read != nil {
		if body, err = c.read.open(kind, body); err != nil {
			return 0, nil, err
		}
	}
	if kind == recordAlert {
		if len(body) != 2 {
			return 0, nil, errMalformed
		}
		if body[1] != 0 { // 0: close_notify
			return 0, nil, fmt.Errorf("the server sent an alert: %w", tls.AlertError(body[1]))
		}
	}
	return kind, body, nil
}

// readMessage returns the next handshake message with its header.
func (c *recordConn) readMessage() ([]byte, error) {
	for {
		if len(c.pending) >= 4 {
			n := 4 + int(c.pending[1])<<16 + int(c.pending[2])<<8 + int(c.pending[3])
			if n > maxMessage {
				return nil, errMalformed
			}
			if len(c.pending) >= n {
				msg := c.pending[:n:n]
				c.pending = c.pending[n:]
				return msg, nil
			}
		}
		kind, body, err := c.readRecord()
		if err != nil {
			return nil, err
		}
		if kind != recordHandshake {
			return nil, fmt.Errorf("record type %d in the handshake", kind)
		}
		c.pending = append(c.pending, body...)
	}
}

// Read returns application data, and io.EOF after close_notify.
func (c *recordConn) Read(b []byte) (int, error) {
	for len(c.data) == 0 {
		if c.ended {
			return 0, io.EOF
		}
		kind, body, err := c.readRecord()
		if err != nil {
			return 0, err
		}
		switch kind {
		case recordData:
			c.data = body
		case recordAlert:
			c.ended = true
		default:
			return 0, fmt.Errorf("record type %d after the handshake", kind)
		}
	}
	n := copy(b, c.data)
	c.data = c.data[n:]
	return n, nil
}

// Write sends application data of at most 16 KiB, more than any request here.
func (c *recordConn) Write(b []byte) (int, error) {
	if len(b) > maxPlaintext {
		return 0, errors.New("tlsclient: more than one record in one write")
	}
	if err := c.writeRecord(recordData, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// prf is TLS 1.2's pseudo-random function with SHA-256, RFC 5246 section 5.
func prf(secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	sum := func(b ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, p := range b {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}
