//go:build linux

package balancer

import (
	"encoding/binary"
	"strings"
)

// The flights of these tests, as bytes: RFC 9846, RFC 5246, RFC 5077.

// hello describes a ClientHello.
type hello struct {
	id     []byte
	ticket []byte   // nil: no session_ticket extension
	psks   [][]byte // nil: no pre_shared_key
	names  []string
	alpn   []string
	tls13  bool
	early  bool
	ech    bool
	pad    int  // bytes of a padding extension
	suites int  // cipher suites more than usual
	late   bool // the names stand behind all that may stand before a PSK
}

// bytes is the hello in one record or, beyond 16 KiB, in several.
func (h hello) bytes() []byte { return records(22, h.message(), 1<<14) }

func (h hello) message() []byte {
	var ext, names []byte
	if len(h.names) > 0 {
		var list []byte
		for _, n := range h.names {
			list = append(list, 0)
			list = append(list, vec16([]byte(n))...)
		}
		names = extension(nil, 0, vec16(list))
	}
	if !h.late {
		ext = append(ext, names...)
	}
	if len(h.alpn) > 0 {
		ext = extension(ext, 16, vec16(protocols(h.alpn...)))
	}
	if h.ticket != nil {
		ext = extension(ext, 35, h.ticket)
	}
	if h.tls13 || h.psks != nil {
		ext = extension(ext, 43, []byte{4, 3, 4, 3, 3})
	}
	if h.ech {
		ext = extension(ext, 0xfe0d, []byte("hello in there"))
	}
	if h.early {
		ext = extension(ext, 42, nil)
	}
	if h.pad > 0 {
		ext = extension(ext, 21, make([]byte, h.pad))
	}
	if h.late {
		ext = append(ext, names...)
	}
	if h.psks != nil { // must be the last
		ext = extension(ext, 45, []byte{1, 1})
		var ids, binders []byte
		for _, p := range h.psks {
			ids = append(append(ids, vec16(p)...), 1, 2, 3, 4)
			binders = append(binders, vec8(make([]byte, 32))...)
		}
		ext = extension(ext, 41, append(vec16(ids), vec16(binders)...))
	}
	body := append([]byte{3, 3}, strings.Repeat("r", 32)...)
	body = append(body, vec8(h.id)...)
	body = append(body, vec16(append([]byte{0x13, 0x01, 0xc0, 0x2b}, make([]byte, 2*h.suites)...))...)
	body = append(body, 1, 0)
	body = append(body, vec16(ext)...)
	return message(1, body)
}

// answer describes a ServerHello.
type answer struct {
	id    []byte
	tls13 bool
	psk   int // selected identity, counted from 1; 0: none
	retry bool
}

func (a answer) bytes() []byte {
	var ext []byte
	if a.tls13 || a.retry {
		ext = extension(ext, 43, []byte{3, 4})
	}
	if a.retry {
		ext = extension(ext, 51, []byte{0, 23})
	}
	if a.psk > 0 {
		ext = extension(ext, 41, []byte{0, byte(a.psk - 1)})
	}
	random := []byte(strings.Repeat("s", 32))
	if a.retry { // SHA-256 of "HelloRetryRequest" (RFC 9846, Section 4.2.3)
		random = []byte("\xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91" +
			"\xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C")
	}
	suite := []byte{0xc0, 0x2b}
	if a.tls13 || a.retry {
		suite = []byte{0x13, 0x01}
	}
	body := append([]byte{3, 3}, random...)
	body = append(body, vec8(a.id)...)
	body = append(body, suite...)
	body = append(body, 0)
	if ext != nil {
		body = append(body, vec16(ext)...)
	}
	return records(22, message(2, body), 1<<14)
}

// What follows a ServerHello.
func certificate(n int) []byte { return records(22, message(11, make([]byte, n)), 1<<14) }
func helloDone() []byte        { return records(22, message(14, nil), 1<<14) }
func ccs() []byte              { return records(20, []byte{1}, 1) }
func finished() []byte         { return records(22, make([]byte, 40), 1<<14) } // encrypted
func appData(n int) []byte     { return records(23, make([]byte, n), 1<<14) }
func alert(level, desc byte) []byte {
	return records(21, []byte{level, desc}, 2)
}

func newTicket(lifetime uint32, ticket []byte) []byte {
	body := binary.BigEndian.AppendUint32(nil, lifetime)
	return records(22, message(4, append(body, vec16(ticket)...)), 1<<14)
}

// records puts b into records of at most size bytes.
func records(typ byte, b []byte, size int) []byte {
	var out []byte
	for len(b) > 0 {
		n := min(len(b), size)
		out = append(out, typ, 3, 3)
		out = append(out, vec16(b[:n])...)
		b = b[n:]
	}
	return out
}

func message(typ byte, body []byte) []byte {
	n := len(body)
	return append([]byte{typ, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func extension(to []byte, typ uint16, body []byte) []byte {
	to = binary.BigEndian.AppendUint16(to, typ)
	return append(to, vec16(body)...)
}

func vec8(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

func vec16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// join puts flights together.
func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// named is a ticket of 192 bytes whose first 16 are name, the rest made of seed.
func named(name string, seed int) []byte {
	t := make([]byte, 192)
	copy(t, name)
	for i := 16; i < len(t); i++ {
		t[i] = byte((uint32(i)*2654435761 + uint32(seed)*40503 + uint32(i)*uint32(seed)) >> 7)
	}
	return t
}
