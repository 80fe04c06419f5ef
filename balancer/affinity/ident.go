package affinity

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// keyless is how many bytes must follow a prefix before it can be the name of a key: an identity shorter than that is a
// random handle into a server's memory (32 bytes in OpenSSL, rustls, JSSE, 16 in Erlang), and carries no name.
const keyless = 32

// Ident is one offered or issued ticket or PSK identity, hashed. No raw byte of it is kept.
type Ident struct {
	Exact  Key             // of the whole
	Prefix [NumLengths]Key // of the first PrefixLen(i) bytes; 0 when Len < PrefixLen(i)+32
	First  Key             // of the first 16 bytes, or of all when shorter: explore hash and refusal memory
	Len    int             // bytes
}

// Under reports whether a key is that of one of t's prefixes.
func (t *Ident) Under(k Key) bool { return k != 0 && slices.Contains(t.Prefix[:], k) }

// HashIdent hashes a whole ticket or PSK identity. The Ident of an empty one is the zero Ident, which nothing is ever
// known of.
func (p *Pool) HashIdent(b []byte) Ident {
	if len(b) == 0 {
		return Ident{}
	}
	h := p.hasher.Load()
	return h.ident(h.sum(KindTicket, b), b[:min(len(b), maxPrefix)], len(b))
}

// ident completes an Ident of n bytes from its first min(n, maxPrefix).
func (h *hasher) ident(exact Key, head []byte, n int) Ident {
	t := Ident{Exact: exact, Len: n, First: h.sum(KindPrefix16, head[:min(n, PrefixLen(len16))])}
	for i := range t.Prefix {
		l := PrefixLen(i)
		switch {
		case n < l+keyless:
		case i == len16:
			t.Prefix[i] = t.First
		default:
			t.Prefix[i] = h.sum(KindPrefix20+Kind(i), head[:l])
		}
	}
	return t
}

// Digest hashes a ticket that arrives in parts. It holds at most the first 20 bytes, and none once Reset.
type Digest struct {
	h     *hasher
	exact xxhash.Digest
	head  [maxPrefix]byte
	n     int // bytes written; the first min(n, maxPrefix) are in head
}

// Reset begins a new ticket of pool p.
func (d *Digest) Reset(p *Pool) {
	d.h, d.n, d.head = p.hasher.Load(), 0, [maxPrefix]byte{}
	d.exact.ResetWithSeed(d.h.seeds[KindTicket])
}

// Write adds the next part of the ticket.
func (d *Digest) Write(part []byte) {
	if d.n < maxPrefix {
		copy(d.head[d.n:], part)
	}
	d.n += len(part)
	d.exact.Write(part) //nolint:errcheck // a Digest's Write has no way to fail
}

// Ident is what HashIdent gives for the parts in one piece.
func (d *Digest) Ident() Ident {
	if d.n == 0 {
		return Ident{}
	}
	return d.h.ident(makeKey(d.exact.Sum64(), d.h.share), d.head[:min(d.n, maxPrefix)], d.n)
}
