//go:build linux

package balancer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"homing/tlsparse"
)

// maxProtocols bounds the protocols that the routes of one listener name: one bit of a word each.
const maxProtocols = 64

// noMatch is matcher.match's answer when no route takes a hello.
const noMatch = -1

// route is a Route as the matcher is made of it.
type route struct {
	names, alpn []string
	pool        int // what match answers
}

// matcher finds the route of a hello by its name and protocols: see Listener. It is made once and never changed, shared
// by all loops.
//
// A lookup costs one map access for the exact name and one for each number of labels that a wildcard has, however many
// routes there are, and one walk over the client's protocols where any route names some. It allocates nothing.
type matcher struct {
	exact, below  map[string][]choice // by name; by the name behind *.
	any           []choice
	fewest, most  int               // dots in the keys of below
	protocols     map[string]uint64 // bits of choice.alpn
	protocolBytes int               // of the longest
}

// choice is a route among those of one name: in a list those with protocols come first.
type choice struct {
	alpn uint64 // one of these; 0: any
	pool int
}

// newMatcher makes the matcher. Errors begin with the route, counted from 1.
func newMatcher(routes []route) (*matcher, error) {
	m := &matcher{
		exact: map[string][]choice{}, below: map[string][]choice{}, protocols: map[string]uint64{}, fewest: 1 << 30,
	}
	for i, r := range routes {
		c := choice{pool: r.pool}
		for _, p := range r.alpn {
			bit, err := m.protocol(p)
			if err != nil {
				return nil, fmt.Errorf("route %d: %w", i+1, err)
			}
			c.alpn |= bit
		}
		if len(r.names) == 0 {
			m.any = addChoice(m.any, c)
		}
		for _, text := range r.names {
			name, err := CheckRouteName(text)
			if err != nil {
				return nil, fmt.Errorf("route %d: %w", i+1, err)
			}
			if parent, wild := strings.CutPrefix(name, "*."); wild {
				dots := strings.Count(parent, ".")
				m.fewest, m.most = min(m.fewest, dots), max(m.most, dots)
				m.below[parent] = addChoice(m.below[parent], c)
			} else {
				m.exact[name] = addChoice(m.exact[name], c)
			}
		}
	}
	return m, nil
}

// protocol is the bit of a protocol.
func (m *matcher) protocol(name string) (uint64, error) {
	if name == "" || len(name) > 255 {
		return 0, fmt.Errorf("%q is not the name of a protocol, such as h2 or http/1.1 (RFC 7301)", name)
	}
	bit, known := m.protocols[name]
	if !known {
		if len(m.protocols) == maxProtocols {
			return 0, fmt.Errorf("%q: the routes of a listener name %d protocols at most", name, maxProtocols)
		}
		bit = 1 << len(m.protocols)
		m.protocols[name] = bit
		m.protocolBytes = max(m.protocolBytes, len(name))
	}
	return bit, nil
}

// addChoice adds c behind those that come before it.
func addChoice(list []choice, c choice) []choice {
	i := slices.IndexFunc(list, func(other choice) bool { return other.alpn == 0 })
	if c.alpn == 0 || i < 0 {
		return append(list, c)
	}
	return slices.Insert(list, i, c)
}

// match is the pool of the most specific route for a server name, in lower case, empty for none, and a list of
// protocols as Hello.ALPN has it; noMatch if no route takes it.
func (m *matcher) match(name, alpn []byte) int {
	offered := m.offered(alpn)
	if len(name) > 0 {
		if p := pick(m.exact[string(name)], offered); p != noMatch {
			return p
		}
		if p := m.wildcard(name, offered); p != noMatch {
			return p
		}
	}
	return pick(m.any, offered)
}

// wildcard tries what lies behind the dots of name, the longest first.
func (m *matcher) wildcard(name []byte, offered uint64) int {
	if len(m.below) == 0 {
		return noMatch
	}
	for dots := bytes.Count(name, []byte{'.'}); dots > m.fewest; dots-- {
		name = name[bytes.IndexByte(name, '.')+1:]
		if dots-1 > m.most {
			continue
		}
		if p := pick(m.below[string(name)], offered); p != noMatch {
			return p
		}
	}
	return noMatch
}

// offered is the bits of the protocols that the client offers, of those that any route asks for.
func (m *matcher) offered(alpn []byte) (bits uint64) {
	if len(m.protocols) == 0 {
		return 0
	}
	for name, rest := tlsparse.NextALPN(alpn); name != nil; name, rest = tlsparse.NextALPN(rest) {
		if len(name) <= m.protocolBytes {
			bits |= m.protocols[string(name)]
		}
	}
	return bits
}

// pick is the first choice that the client's protocols allow.
func pick(list []choice, offered uint64) int {
	for _, c := range list {
		if c.alpn == 0 || c.alpn&offered != 0 {
			return c.pool
		}
	}
	return noMatch
}
