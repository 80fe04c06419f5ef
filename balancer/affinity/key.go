package affinity

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Key is a seeded xxhash of an identifier, mixed with its kind and its pool. 0 is no key.
//
//	bits 63 to 32, 11 to 0  of the hash
//	bits 31 to 24           0; in a table's entry its span
//	bits 23 to 12           of the pool: its share of the tables
//
// A random identifier meets an entry of the pool's by chance once in 17 million, if that has a million.
type Key uint64

const (
	shareShift = 12
	shareBits  = 12
	shareMask  = Key(1<<shareBits-1) << shareShift

	spanShift = 24
	spanMask  = Key(0xff) << spanShift
)

// share is the number of the share of the tables that the key counts to.
func (k Key) share() int { return int(k & shareMask >> shareShift) }

// shareOf is the share of the pool with that hash.
func shareOf(pool uint32) Key { return Key(pool) << shareShift & shareMask }

// Share is the number of the share of the tables that the pool with that hash has. Two pools have the same one once in
// 4,096.
func Share(pool uint32) int { return shareOf(pool).share() }

// Kind says what a key was made from, so that equal bytes of different meaning have different keys.
type Kind uint8

// The kinds. KindPrefix20 to KindPrefix4 follow the order of Ident.Prefix.
const (
	KindID       Kind = iota // TLS <= 1.2 session ID
	KindTicket               // whole TLS <= 1.2 ticket or TLS 1.3 PSK identity
	KindPrefix20             // first 20 bytes of a ticket or identity, and so on
	KindPrefix17
	KindPrefix16
	KindPrefix12
	KindPrefix4
	KindClient // address, server name and shape of the hello
	numKinds
)

// NumLengths is the number of prefix lengths at which key names are looked for.
const NumLengths = 5

// len4 is the index of the 4-byte prefix: weak evidence, with rules of its own. len16 is the one that Ident.First
// shares its hash with.
const (
	len16 = 2
	len4  = NumLengths - 1
)

// PrefixLen is the length in bytes of Ident.Prefix[i]: 20 Schannel, 17 s2n, 16 everything built on OpenSSL, BoringSSL,
// GnuTLS, wolfSSL, 12 NSS, 4 JSSE and mbedTLS.
func PrefixLen(i int) int { return [NumLengths]int{20, 17, 16, 12, 4}[i] }

// maxPrefix is the longest prefix in bytes.
const maxPrefix = 20

// hasher makes the keys of one pool.
type hasher struct {
	seeds [numKinds]uint64
	share Key
}

func newHasher(seed uint64, pool uint32) *hasher {
	h := &hasher{share: shareOf(pool)}
	for k := range h.seeds {
		h.seeds[k] = mix(mix(seed) ^ uint64(pool)<<8 ^ uint64(k))
	}
	return h
}

// mix is the finalizer of splitmix64: every bit of x moves half of the result's.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sum hashes b as kind k. It is never 0.
func (h *hasher) sum(k Kind, b []byte) Key {
	var d xxhash.Digest
	d.ResetWithSeed(h.seeds[k])
	d.Write(b) //nolint:errcheck // a Digest's Write has no way to fail
	return makeKey(d.Sum64(), h.share)
}

// makeKey is the key that a hash makes in a share.
func makeKey(hash uint64, share Key) Key {
	if k := Key(hash)&^(shareMask|spanMask) | share; k != 0 {
		return k
	}
	return 1
}

// HashID makes the key of a session ID (RFC 5246, 7.4.1.2). An empty one has none.
func (p *Pool) HashID(b []byte) Key {
	if len(b) == 0 {
		return 0
	}
	return p.hasher.Load().sum(KindID, b)
}

// HashClient makes the key of a client: its /32 or /64 address, the server name it asks for and the shape of its hello.
func (p *Pool) HashClient(addr netip.Addr, sni []byte, shape uint64) Key {
	h := p.hasher.Load()
	var d xxhash.Digest
	d.ResetWithSeed(h.seeds[KindClient])
	var b [17]byte
	addr = addr.Unmap()
	n := 8 // of an IPv6 address the network half
	if addr.Is4() {
		a := addr.As4()
		n = copy(b[:], a[:])
	} else {
		a := addr.As16()
		copy(b[:n], a[:])
	}
	b[n] = byte(n) // the families stay apart
	binary.LittleEndian.PutUint64(b[n+1:], shape)
	d.Write(b[:n+9]) //nolint:errcheck // a Digest's Write has no way to fail
	d.Write(sni)     //nolint:errcheck // the same
	return makeKey(d.Sum64(), h.share)
}

// Spread mixes a network and a backend, for who counts by both.
func Spread(network, id uint32) uint32 {
	return uint32(mix(uint64(network)<<32 | uint64(id)))
}

// HashNetwork hashes a client's network, /24 or /48, for Offer.Network.
func HashNetwork(addr netip.Addr) uint32 {
	addr = addr.Unmap()
	if addr.Is4() {
		a := addr.As4()
		return uint32(mix(uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2])))
	}
	a := addr.As16()
	return uint32(mix(1<<63 | uint64(binary.BigEndian.Uint32(a[:4]))<<16 | uint64(a[4])<<8 | uint64(a[5])))
}

// spanOf is a time to live in 8 bits: below 16 the seconds, else 8 to 15 in the low three bits, and above them how
// often that is doubled, plus 1. It is rounded up, by an eighth at most: no entry looks younger than it is, and all
// that are given the same time keep their order.
func spanOf(seconds uint32) uint8 {
	if seconds < 16 {
		return uint8(seconds)
	}
	shift := bits.Len32(seconds) - 4
	m := (uint64(seconds) + 1<<shift - 1) >> shift
	if m == 16 {
		m, shift = 8, shift+1
	}
	return uint8(shift+1)<<3 | uint8(m-8)
}

// spanSeconds is what spanOf has made of it.
func spanSeconds(span uint8) uint32 {
	if span < 16 {
		return uint32(span)
	}
	return uint32(span&7|8) << (span>>3 - 1)
}

// with is k with a span in it, for a table.
func (k Key) with(span uint8) Key { return k&^spanMask | Key(span)<<spanShift }

func (k Key) span() uint8 { return uint8(k >> spanShift) }
