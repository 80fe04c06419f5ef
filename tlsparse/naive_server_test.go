package tlsparse

import (
	"fmt"
	"strings"
)

// naiveServer writes the trace of a whole server stream down. It copies the
// handshake messages out of the records first and knows where each byte came
// from, so that alerts and ChangeCipherSpec stand in their places.
func naiveServer(stream []byte) string {
	n := naiveAnswer{}
	func() {
		defer func() {
			if r := recover(); r != nil {
				if _, mine := r.(bail); !mine {
					panic(r)
				}
				if n.out = append(n.out, "invalid"); n.excess {
					n.out[len(n.out)-1] = "excess"
				}
			}
		}()
		n.records(stream)
	}()
	return strings.Join(n.out, " ")
}

type naiveAnswer struct {
	out              []string
	pending          []byte // handshake bytes not yet read as messages
	announced        bool   // the message at pending's start was told already
	counted          bool   // and its bytes were counted
	retried, greeted bool
	opaque           bool
	said             int
	ticketed, excess bool
}

// more counts bytes, and breaks off where they are too many.
func (n *naiveAnswer) more(bytes int) {
	n.said += bytes
	n.excess = n.said > MaxAnswer
	demand(!n.excess)
}

func (n *naiveAnswer) say(format string, args ...any) {
	n.out = append(n.out, fmt.Sprintf(format, args...))
}

func (n *naiveAnswer) records(stream []byte) {
	empty := 0
	for first := true; len(stream) > 0; first = false {
		typ := stream[0]
		if first && (typ != 21 && typ != 22 || len(stream) > 1 && stream[1] != 3) {
			n.say("opaque")
			return
		}
		demand(typ >= 20 && typ <= 22 && (len(stream) == 1 || stream[1] == 3))
		if len(stream) < 5 {
			return
		}
		size := int(stream[3])<<8 | int(stream[4])
		body := stream[5:min(5+size, len(stream))]
		whole := len(body) == size
		stream = stream[5+len(body):]
		switch typ {
		case 21:
			demand(size == 2)
			n.more(5)
			if whole {
				n.more(2)
				n.say("alert(%d,%d)", body[0], body[1])
			}
		case 20:
			demand(size == 1)
			n.more(5)
			if !whole {
				break
			}
			demand(body[0] == 1 && len(n.pending) == 0 && (n.greeted || n.retried))
			if n.greeted {
				n.say("change-cipher-spec")
				n.opaque = true
			}
		case 22:
			demand(size <= 1<<14)
			empty++
			if size > 0 {
				empty = 0
			}
			demand(empty <= 32)
			n.more(5)
			n.pending = append(n.pending, body...)
			n.messages()
		}
		if n.opaque {
			n.say("opaque")
			return
		}
	}
}

// messages reads the pending messages, as far as they tell already: a message
// is announced when its header is there, and its fields are wrong as soon as
// they are.
func (n *naiveAnswer) messages() {
	for len(n.pending) >= 4 && !n.opaque {
		typ := n.pending[0]
		size := int(n.pending[1])<<16 | int(n.pending[2])<<8 | int(n.pending[3])
		body := n.pending[4:min(4+size, len(n.pending))]
		whole := len(body) == size
		if !n.counted {
			n.more(4 + size)
			n.counted = true
		}
		switch {
		case typ == 0:
			demand(size == 0)
		case !n.greeted:
			demand(typ == 2 && size <= 65536)
			n.hello(body, size)
		case typ == 2:
			demand(false)
		case typ == 4:
			if !n.announced {
				n.excess = n.ticketed
				demand(!n.excess)
				n.ticketed, n.announced = true, true
			}
			demand(size >= 6)
			if len(body) >= 6 {
				demand(int(body[4])<<8|int(body[5]) == size-6)
			}
			if whole {
				n.say("ticket(%d,%d,%x)", eatInt(new(body[:4]), 4), size-6, body[6:])
			}
		case !n.announced:
			n.say("message(%d)", typ)
			n.announced = true
		}
		if !whole {
			return
		}
		n.announced, n.counted = false, false
		n.pending = n.pending[4+size:]
	}
}

// hello reads a ServerHello of size bytes as far as it has come.
func (n *naiveAnswer) hello(body []byte, size int) {
	left := size
	// field returns the next k bytes, or nil when they are not here yet; either
	// way they must fit.
	field := func(k int) []byte {
		demand(k <= left)
		left -= k
		if k > len(body) {
			body = nil
			return nil
		}
		return eat(&body, k)
	}
	fixed := field(35)
	if fixed == nil {
		return
	}
	demand(fixed[0] == 3 && fixed[34] <= 32)
	id := int(fixed[34])
	if field(id+3) == nil {
		return
	}
	seen := map[int][]byte{}
	if left > 0 {
		head := field(2)
		if head == nil {
			return
		}
		demand(eatInt(&head, 2) == left)
	}
	for left > 0 {
		head := field(4)
		if head == nil {
			return
		}
		typ, k := eatInt(&head, 2), eatInt(&head, 2)
		if typ < 64 {
			_, twice := seen[typ]
			demand(!twice)
		}
		demand(typ != 43 && typ != 41 || k == 2)
		demand(typ != 35 || k == 0)
		data := field(k)
		if k > 0 && data == nil {
			return
		}
		seen[typ] = data
		demand(typ != 43 || data[0] > 3 || data[0] == 3 && data[1] >= 4)
	}
	version := int(fixed[0])<<8 | int(fixed[1])
	selected, tls13 := seen[43]
	if tls13 {
		version = int(selected[0])<<8 | int(selected[1])
	}
	retry := string(fixed[2:34]) == helloRetryRandom
	demand(tls13 || version <= 0x0303 && !retry && !n.retried)
	demand(!retry || !n.retried)
	if retry {
		n.retried = true
		n.say("retry")
		return
	}
	n.greeted, n.opaque = true, tls13
	extra := ""
	if data, ok := seen[41]; ok && tls13 {
		extra = fmt.Sprintf(",psk=%d", int(data[0])<<8|int(data[1]))
	}
	if _, ok := seen[35]; ok {
		extra += ",ticket"
	}
	n.say("hello(%04x,id=%d%s)", version, id, extra)
}
