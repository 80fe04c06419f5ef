package tlsparse

import (
	"bytes"
	"slices"
	"strings"
)

// A second parser of ClientHellos, written in another way on purpose: it has
// the whole stream, copies, allocates and panics on what is out of bounds.

type naiveHello struct {
	status  Status
	end     int // of the stream
	sslv2   bool
	tooLong bool
	message []byte

	version                 int
	sessionID, ticket, alpn []byte
	hasTicket, tls13, ech   bool
	earlyData, hasPSK       bool
	manyNames, noHostName   bool
	name                    string
	psks                    [][]byte
	suites, types           []int
}

// naiveClient says what Client and Hello must say of a stream. The limits are
// followed to the letter, so that all answers can be compared.
func naiveClient(stream []byte, limit int, second bool) naiveHello {
	h := naiveFrame(stream, limit, second)
	if h.status == Got && !h.parse() {
		h = naiveHello{status: Invalid, end: h.end}
	}
	return h
}

func naiveFrame(stream []byte, limit int, second bool) naiveHello {
	var msg []byte
	size, pos, empty, skipped, begun := 0, 0, 0, 0, false
	for {
		rest := stream[pos:]
		if len(rest) == 0 {
			return naiveHello{status: NeedMore}
		}
		skippable := second && !begun && (rest[0] == 20 || rest[0] == 23)
		if rest[0] != 22 && !skippable || len(rest) > 1 && rest[1] != 3 {
			if begun {
				return naiveHello{status: Invalid}
			}
			return naiveHello{status: Opaque, sslv2: rest[0] == 0x80 && !second}
		}
		if len(rest) < 5 {
			return naiveHello{status: NeedMore}
		}
		n := int(rest[3])<<8 | int(rest[4])
		if skippable {
			if rest[0] == 20 && n != 1 || n > 16384+2048 {
				return naiveHello{status: Invalid}
			}
			if skipped += 5 + n; skipped > limit {
				return naiveHello{status: Invalid, tooLong: true}
			}
			if len(rest) < 5+n {
				return naiveHello{status: NeedMore}
			}
			pos += 5 + n
			continue
		}
		begun = true
		if n > 16384 {
			return naiveHello{status: Invalid}
		}
		if n == 0 {
			if empty++; empty > 32 {
				return naiveHello{status: Invalid}
			}
		}
		body := rest[5:min(5+n, len(rest))]
		msg = append(msg, body...)
		if len(msg) > 0 && msg[0] != 1 {
			return naiveHello{status: Opaque}
		}
		if len(msg) >= 4 {
			size = 4 + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3])
			if size > limit && (second || len(msg) >= limit) {
				return naiveHello{status: Invalid, tooLong: true, message: msg[:min(limit, len(msg))]}
			}
			if len(msg) >= size {
				return naiveHello{status: Got, end: pos + 5 + len(body) - (len(msg) - size), message: msg[:size]}
			}
		}
		if len(body) < n {
			return naiveHello{status: NeedMore}
		}
		pos += 5 + n
	}
}

// bail is what naive readers panic with.
type bail struct{}

func demand(ok bool) {
	if !ok {
		panic(bail{})
	}
}

// eat splits off n bytes, and eatVec a vector with a length of size bytes.
func eat(b *[]byte, n int) []byte {
	demand(len(*b) >= n)
	head := (*b)[:n]
	*b = (*b)[n:]
	return head
}

func eatInt(b *[]byte, size int) (n int) {
	for _, x := range eat(b, size) {
		n = n<<8 | int(x)
	}
	return n
}

func eatVec(b *[]byte, size int) []byte { return eat(b, eatInt(b, size)) }

// only returns the vector that is all of b and has something in it.
func only(b []byte, size int) []byte {
	v := eatVec(&b, size)
	demand(len(b) == 0 && len(v) > 0)
	return v
}

func (h *naiveHello) parse() (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, mine := r.(bail); !mine {
				panic(r)
			}
			ok = false
		}
	}()
	b := h.message[4:]
	h.version = eatInt(&b, 2)
	eat(&b, 32)
	h.sessionID = eatVec(&b, 1)
	demand(len(h.sessionID) <= 32)
	suites := eatVec(&b, 2)
	demand(len(suites) > 0)
	for len(suites) > 0 {
		h.suites = append(h.suites, eatInt(&suites, 2))
	}
	demand(len(eatVec(&b, 1)) > 0)
	if len(b) == 0 {
		return true
	}
	block := eatVec(&b, 2)
	demand(len(b) == 0)
	found := map[int][]byte{}
	for len(block) > 0 {
		typ := eatInt(&block, 2)
		_, twice := found[typ]
		demand(!twice)
		found[typ] = eatVec(&block, 2)
		h.types = append(h.types, typ)
	}
	h.readTypes(found)
	return true
}

func (h *naiveHello) readTypes(found map[int][]byte) {
	if data, ok := found[0]; ok {
		h.readNames(only(data, 2))
	}
	if data, ok := found[16]; ok {
		h.alpn = only(data, 2)
		for list := h.alpn; len(list) > 0; {
			demand(len(eatVec(&list, 1)) > 0)
		}
	}
	h.ticket, h.hasTicket = found[35]
	if data, ok := found[42]; ok {
		h.earlyData = true
		demand(len(data) == 0)
	}
	if data, ok := found[43]; ok {
		for list := only(data, 1); len(list) > 0; {
			if eatInt(&list, 2) == 0x0304 {
				h.tls13 = true
			}
		}
	}
	_, h.ech = found[0xfe0d]
	if data, ok := found[41]; ok {
		demand(h.types[len(h.types)-1] == 41)
		h.hasPSK = true
		identities, binders := eatVec(&data, 2), eatVec(&data, 2)
		demand(len(data) == 0 && len(identities) > 0)
		for len(identities) > 0 {
			h.psks = append(h.psks, eatVec(&identities, 2))
			eat(&identities, 4)
		}
		n := 0
		for ; len(binders) > 0; n++ {
			demand(len(eatVec(&binders, 1)) > 0)
		}
		demand(n == len(h.psks) && !slices.ContainsFunc(h.psks, func(id []byte) bool { return len(id) == 0 }))
	}
}

// naivePart is the server name that ParsePart must find in the first n bytes of a whole hello's message, if the extension lies
// in them as a whole; empty: none.
func naivePart(msg []byte, n int) string {
	whole := naiveHello{message: msg}
	if !whole.parse() {
		return ""
	}
	at := 4 + 2 + 32 + 1 + len(whole.sessionID) + 2 + 2*len(whole.suites)
	at += 1 + int(msg[at]) + 2 // compression, and the length of the block
	for at < len(msg) {
		typ, end := int(msg[at])<<8|int(msg[at+1]), at+4+int(msg[at+2])<<8+int(msg[at+3])
		if typ == 0 && end <= n {
			return whole.name
		}
		at = end
	}
	return ""
}

func (h *naiveHello) readNames(list []byte) {
	var names [][]byte
	for len(list) > 0 {
		typ, name := eatInt(&list, 1), eatVec(&list, 2)
		demand(len(name) > 0)
		if typ == 0 {
			names = append(names, name)
		}
	}
	if len(names) == 1 && len(names[0]) <= 255 && string(names[0]) != "." {
		h.name = strings.TrimSuffix(asciiLower(string(names[0])), ".")
		return
	}
	h.manyNames, h.noHostName = len(names) > 1, len(names) == 1
}

func asciiLower(s string) string {
	b := []byte(s)
	for i := range b {
		if bytes.IndexByte([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), b[i]) >= 0 {
			b[i] |= 0x20
		}
	}
	return string(b)
}

// shape is what Hello.Shape must be, by a list of what is left out.
func (h *naiveHello) shape() uint64 {
	sum := shapeOf(shapeVersion, uint16(h.version))
	grease := func(v int) bool { return v%256 == v/256 && v%16 == 10 }
	for _, v := range h.suites {
		if !grease(v) {
			sum += shapeOf(shapeSuite, uint16(v))
		}
	}
	for _, v := range h.types {
		if !grease(v) && !slices.Contains([]int{21, 35, 41, 42, 44, 45}, v) {
			sum += shapeOf(shapeExtension, uint16(v))
		}
	}
	return sum
}
