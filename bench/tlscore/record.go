package tlscore

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
)

// Record types, RFC 5246 section 6.2.1.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordData             = 23
)

// Sizes in bytes, RFC 5246 section 6.2 and RFC 9846 section 5.
const (
	headerBytes  = 5
	maxPlaintext = 1 << 14
	maxRecord    = maxPlaintext + 2048
	maxMessage   = 1 << 17 // a chain of certificates is the largest that servers send
	maxIdle      = 32      // records in a row that say nothing before the conn counts as broken, as crypto/tls has it with 16
	startBytes   = 64      // what a NotTLSError keeps of the answer
)

// NotTLSError says that what answered does not speak TLS.
type NotTLSError struct {
	// Start is the beginning of the answer, 1 to 64 bytes.
	Start []byte
}

func (e *NotTLSError) Error() string {
	return fmt.Sprintf("the server does not speak TLS, its answer begins %q", e.Start)
}

// incoming is the record layer on the way in: plain until a protector is set.
type incoming struct {
	rest    []byte // the beginning of a record whose end has not come
	open    *protector
	begun   bool  // a record came: the other side speaks TLS
	modern  bool  // TLS 1.3: ChangeCipherSpec means nothing
	classic bool  // TLS 1.2: records say so
	idle    int   // records in a row that said nothing
	bytes   int64 // that came, headers included
}

// feed takes what came, and gives each whole record in it to f, as it is on the wire, until one is an error. What it gives lies in b or
// in memory of its own, and may be written over.
func (in *incoming) feed(b []byte, f func(record []byte) error) error {
	in.bytes += int64(len(b))
	for len(b) > 0 {
		whole, taken := b, 0 // where the next record begins, and how much of b is in it
		if len(in.rest) > 0 {
			missing, err := in.missing(in.rest)
			if err != nil {
				return err
			}
			taken = min(missing, len(b))
			in.rest = append(in.rest, b[:taken]...)
			whole = in.rest
		}
		missing, err := in.missing(whole)
		if err != nil {
			return err
		}
		if missing > 0 {
			if taken > 0 { // whole is in.rest, and was a header in need of more: there may be more
				b = b[taken:]
				continue
			}
			in.rest = append(in.rest[:0], b...)
			return nil
		}
		n := headerBytes + int(binary.BigEndian.Uint16(whole[3:]))
		if taken > 0 {
			in.rest = in.rest[:0]
			b = b[taken:]
		} else {
			b = b[n:]
		}
		if err := f(whole[:n:n]); err != nil {
			return err
		}
	}
	return nil
}

// missing returns how many bytes are missing to the end of the record, or of its header, that begins with b, which is not empty.
func (in *incoming) missing(b []byte) (int, error) {
	// Before anything is known of the other side, its first record is looked at with suspicion, as crypto/tls does: what
	// is not TLS would else be waited for by a length that is none.
	if !in.begun && (b[0] != recordAlert && b[0] != recordHandshake || len(b) > 1 && b[1] != 3) {
		return 0, &NotTLSError{Start: bytes.Clone(b[:min(len(b), startBytes)])}
	}
	if len(b) < headerBytes {
		return headerBytes - len(b), nil
	}
	in.begun = true
	// RFC 5246 section 6.2.1: no version that there is has another first byte; TLS 1.3 does not look further (RFC 9846
	// section 5.1).
	if b[1] != 3 || in.classic && b[2] != 3 {
		return 0, fail(alertProtocolVersion, "a record of version %d.%d", b[1], b[2])
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	if n > maxRecord {
		return 0, fail(alertRecordOverflow, "a record of %d bytes", n)
	}
	return max(0, headerBytes+n-len(b)), nil
}

// unseal opens one record in place and returns its type, in TLS 1.3 the inner one, and content. Records that say nothing come back as
// type 0: warnings, a TLS 1.3 ChangeCipherSpec, empty data. An alert that ends the conn is an error, but for
// close_notify.
func (in *incoming) unseal(record []byte) (kind byte, body []byte, err error) {
	kind, body = record[0], record[headerBytes:]
	switch {
	case in.open != nil && (!in.modern || kind != recordChangeCipherSpec):
		if kind, body, err = in.open.open(record[:headerBytes], body); err != nil {
			return 0, nil, err
		}
	case len(body) > maxPlaintext:
		return 0, nil, fail(alertRecordOverflow, "a plaintext of %d bytes", len(body))
	}
	idle := false
	switch {
	case kind == recordChangeCipherSpec && in.modern:
		if len(body) != 1 || body[0] != 1 { // RFC 9846 section 5
			return 0, nil, fail(alertUnexpectedMessage, "a ChangeCipherSpec that is none")
		}
		idle = true
	case kind == recordAlert:
		if len(body) != 2 {
			return 0, nil, fail(alertDecodeError, "an alert of %d bytes", len(body))
		}
		// In TLS 1.3 the level means nothing, but user_canceled (90) does not end a conn.
		idle = body[1] != closeNotify && body[0] == alertWarning && (!in.modern || body[1] == 90)
		if !idle && body[1] != closeNotify {
			return 0, nil, fmt.Errorf("the server sent an alert: %w", tls.AlertError(body[1]))
		}
	case len(body) == 0 && kind != recordData:
		return 0, nil, fail(alertUnexpectedMessage, "an empty record of type %d", kind)
	default:
		idle = len(body) == 0
	}
	if !idle {
		in.idle = 0
		return kind, body, nil
	}
	if in.idle++; in.idle > maxIdle {
		return 0, nil, fail(alertUnexpectedMessage, "%d records in a row that say nothing", maxIdle)
	}
	return 0, nil, nil
}

// outgoing is the record layer on the way out: plain until a protector is set.
type outgoing struct {
	b    []byte // what is to be sent
	sent bool   // b was given out, and its memory is free with the next write
	seal *protector
}

// room returns b to append to.
func (out *outgoing) room() []byte {
	if out.sent {
		out.b, out.sent = out.b[:0], false
	}
	return out.b
}

// write appends body in as many records as it takes.
func (out *outgoing) write(kind byte, body []byte) {
	b := out.room()
	for first := true; first || len(body) > 0; first = false {
		part := body[:min(len(body), maxPlaintext)]
		body = body[len(part):]
		if out.seal != nil {
			b = out.seal.seal(b, kind, part)
		} else {
			b = appendVector16(append(b, kind, 3, 3), part)
		}
	}
	out.b = b
}
