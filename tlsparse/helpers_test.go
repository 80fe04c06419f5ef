package tlsparse

import (
	"encoding/binary"
)

// The builders here make wire bytes without the help of the parsers.

func u8(v int) []byte  { return []byte{byte(v)} }
func u16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func u24(v int) []byte { return []byte{byte(v >> 16), byte(v >> 8), byte(v)} }
func u32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func vec8(parts ...[]byte) []byte {
	b := join(parts...)
	return append(u8(len(b)), b...)
}

func vec16(parts ...[]byte) []byte {
	b := join(parts...)
	return append(u16(len(b)), b...)
}

func record(typ int, body []byte) []byte {
	return join(u8(typ), u16(0x0301), vec16(body))
}

func message(typ int, body []byte) []byte {
	return join(u8(typ), u24(len(body)), body)
}

func ext(typ int, parts ...[]byte) []byte { return join(u16(typ), vec16(parts...)) }

func fill(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + seed)
	}
	return b
}

// A helloSpec is a ClientHello to be built. nil extensions leave the block away.
type helloSpec struct {
	version     int
	sessionID   []byte
	suites      []byte
	compression []byte
	extensions  [][]byte
	trailer     []byte
}

func (s helloSpec) message() []byte {
	if s.version == 0 {
		s.version = 0x0303
	}
	if s.suites == nil {
		s.suites = join(u16(0x1301), u16(0xc02f))
	}
	if s.compression == nil {
		s.compression = u8(0)
	}
	body := join(u16(s.version), fill(32, 1), vec8(s.sessionID), vec16(s.suites), vec8(s.compression))
	if s.extensions != nil {
		body = append(body, vec16(s.extensions...)...)
	}
	return message(1, append(body, s.trailer...))
}

func sni(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, join(u8(0), vec16([]byte(n)))...)
	}
	return ext(0, vec16(list))
}

func alpn(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, vec8([]byte(n))...)
	}
	return ext(16, vec16(list))
}

func psk(identities ...[]byte) []byte {
	var ids, binders []byte
	for _, id := range identities {
		ids = append(ids, join(vec16(id), u32(12345))...)
		binders = append(binders, vec8(fill(32, 9))...)
	}
	return ext(41, vec16(ids), vec16(binders))
}

func versions(vs ...int) []byte {
	var list []byte
	for _, v := range vs {
		list = append(list, u16(v)...)
	}
	return ext(43, vec8(list))
}

// cut puts a message into records, the n-th of sizes[n] bytes, the rest in one.
func cut(msg []byte, sizes ...int) []byte {
	var out []byte
	for _, n := range sizes {
		out = append(out, record(22, msg[:n])...)
		msg = msg[n:]
	}
	if len(msg) > 0 {
		out = append(out, record(22, msg)...)
	}
	return out
}

// cutEach puts a message into records of n bytes.
func cutEach(msg []byte, n int) []byte {
	var out []byte
	for len(msg) > 0 {
		k := min(n, len(msg))
		out = append(out, record(22, msg[:k])...)
		msg = msg[k:]
	}
	return out
}

func (s Status) String() string {
	return [...]string{NeedMore: "need more", Got: "got", Opaque: "opaque", Invalid: "invalid"}[s]
}

func (e Event) String() string {
	return [...]string{
		EventNone: "none", EventHello: "hello", EventRetry: "retry", EventTicketPart: "ticket part", EventTicket: "ticket",
		EventMessage: "message", EventChangeCipherSpec: "change cipher spec", EventAlert: "alert", EventOpaque: "opaque",
		EventInvalid: "invalid", EventExcess: "excess",
	}[e]
}

// offers reports whether the client offers the application protocol.
func (h *Hello) offers(protocol string) bool {
	for name, rest := NextALPN(h.ALPN); name != nil; name, rest = NextALPN(rest) {
		if string(name) == protocol {
			return true
		}
	}
	return false
}
