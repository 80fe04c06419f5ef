//go:build linux

package balancer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// ClientLimits bounds what one network of clients may do at this node. The zero value bounds nothing.
type ClientLimits struct {
	MaxConns int     // open conns of one network, at most MaxSourceConns. 0: no limit
	Rate     float64 // new conns of one network a second, at most MaxSourceRate. 0: no limit
	Burst    int     // of them, that may come at once. Default: Rate, at least 1
	Prefix4  int     // bits of an IPv4 network, MinPrefix4 to 32. Default DefaultPrefix4
	Prefix6  int     // bits of an IPv6 network, MinPrefix6 to 128. Default DefaultPrefix6
}

// The bounds and defaults of ClientLimits.
const (
	MaxSourceConns = 1<<16 - 1
	MaxSourceRate  = 10000
	MaxSourceWait  = 600 // seconds until a burst is good again

	MinPrefix4     = 8
	MinPrefix6     = 16
	DefaultPrefix4 = 32
	DefaultPrefix6 = 64
)

func (s *ClientLimits) check() error {
	switch {
	case s.MaxConns < 0 || s.MaxConns > MaxSourceConns:
		return fmt.Errorf("balancer: %d conns per source: give 0 to %d", s.MaxConns, MaxSourceConns)
	case !(s.Rate >= 0 && s.Rate <= MaxSourceRate):
		return fmt.Errorf("balancer: %v new conns a second per source: give 0 to %d", s.Rate, MaxSourceRate)
	case s.Burst < 0:
		return errors.New("balancer: a burst per source is negative")
	}
	s.Prefix4, s.Prefix6 = cmp.Or(s.Prefix4, DefaultPrefix4), cmp.Or(s.Prefix6, DefaultPrefix6)
	if s.Prefix4 < MinPrefix4 || s.Prefix4 > 32 || s.Prefix6 < MinPrefix6 || s.Prefix6 > 128 {
		return fmt.Errorf("balancer: sources of /%d and /%d: give 8 to 32 bits of IPv4 and 16 to 128 of IPv6",
			s.Prefix4, s.Prefix6)
	}
	s.Burst = max(cmp.Or(s.Burst, int(s.Rate)), 1)
	if s.Rate > 0 && float64(s.Burst)/s.Rate > MaxSourceWait {
		return fmt.Errorf("balancer: a burst of %d at %v conns a second takes more than %d s: lower it",
			s.Burst, s.Rate, MaxSourceWait)
	}
	return nil
}

// networks counts the conns of networks: a table of a fixed size that all loops share. It takes no lock, allocates
// nothing, and knows as many networks as have conns or came lately; when those of a bucket are too many, others are let
// in uncounted. Two networks are taken for one with a chance of 1 in 16,000 at most, in a full table.
//
// An entry is one word, so that it changes as a whole: a tag of the network, its open conns, and the time at which its
// rate is used up no more (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371). 0 is a free
// one.
type networks struct {
	seed    uint64
	began   time.Time
	buckets [networkBuckets][networkWays]atomic.Uint64
}

const (
	networkBuckets = 1 << 13
	networkWays    = 8 // 64 bytes, a cache line: 65,536 entries, 512 KiB

	networkTimeBits = 30
	networkConnBits = 16
	networkTimeMask = 1<<networkTimeBits - 1
	networkConnMask = 1<<networkConnBits - 1
	// networkTick is the unit of an entry's time, which comes round in 4.6 h.
	networkTick = time.Second / (1 << 16)
)

func newNetworks(seed uint64) *networks { return &networks{seed: seed, began: time.Now()} }

// networkEntry is an entry's word in parts.
type networkEntry struct {
	tag, conns, until uint64
}

func unpackNetwork(w uint64) networkEntry {
	return networkEntry{
		tag:   w >> (networkTimeBits + networkConnBits),
		conns: w >> networkTimeBits & networkConnMask,
		until: w & networkTimeMask,
	}
}

func (e networkEntry) pack() uint64 {
	return e.tag<<(networkTimeBits+networkConnBits) | e.conns<<networkTimeBits | e.until
}

// ahead is how many ticks the entry's time is still to come. What is further away than any burst lies in the past: the
// time has come round.
func (e networkEntry) ahead(now uint64) uint64 {
	d := (e.until - now) & networkTimeMask
	if d > MaxSourceWait<<16+1<<16 {
		return 0
	}
	return d
}

// take counts a new conn of addr's network, if the limits let it in. ref is for give; 0: it is not counted.
func (s *networks) take(addr netip.Addr, limits *ClientLimits) (ref uint32, why Refusal) {
	h := s.hash(addr, limits)
	tag := h>>46 | 1<<17 // 18 bits, never 0
	bucket := uint32(h % networkBuckets)
	now := uint64(time.Since(s.began)/networkTick) & networkTimeMask
	for range 4 * networkWays { // a word that changes meanwhile is looked at again
		way, word := s.find(bucket, tag, now)
		if way < 0 {
			return 0, RefusedNone
		}
		e := unpackNetwork(word)
		if e.tag != tag {
			e = networkEntry{tag: tag}
		}
		if limits.MaxConns > 0 && e.conns >= uint64(limits.MaxConns) || e.conns == networkConnMask {
			return 0, RefusedClientConns
		}
		if limits.Rate > 0 {
			step := uint64(float64(1<<16) / limits.Rate)
			ahead := e.ahead(now)
			if word == 0 || unpackNetwork(word).tag != tag {
				ahead = 0
			}
			if ahead > step*uint64(limits.Burst-1) {
				return 0, RefusedClientRate
			}
			e.until = (now + ahead + step) & networkTimeMask
		}
		e.conns++
		if s.buckets[bucket][way].CompareAndSwap(word, e.pack()) {
			return bucket*networkWays + uint32(way) + 1, RefusedNone
		}
	}
	return 0, RefusedNone
}

// find is the entry of a tag, or one that may be its; -1: there is none.
func (s *networks) find(bucket uint32, tag, now uint64) (way int, word uint64) {
	way = -1
	for i := range s.buckets[bucket] {
		w := s.buckets[bucket][i].Load()
		e := unpackNetwork(w)
		switch {
		case e.tag == tag:
			return i, w
		case way < 0 && e.conns == 0 && (w == 0 || e.ahead(now) == 0):
			way, word = i, w
		}
	}
	return way, word
}

// give takes back one take; 0 is none.
func (s *networks) give(ref uint32) {
	if ref == 0 {
		return
	}
	entry := &s.buckets[(ref-1)/networkWays][(ref-1)%networkWays]
	for {
		word := entry.Load()
		e := unpackNetwork(word)
		e.conns--
		if entry.CompareAndSwap(word, e.pack()) {
			return
		}
	}
}

// hash names addr's network.
func (s *networks) hash(addr netip.Addr, limits *ClientLimits) uint64 {
	addr = addr.Unmap()
	bits := limits.Prefix6
	a := addr.As16()
	if addr.Is4() {
		bits = limits.Prefix4 + 96
	}
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if bits <= 64 {
		hi, lo = hi&^(1<<(64-bits)-1), 0
	} else {
		lo &^= 1<<(128-bits) - 1
	}
	return scramble(scramble(hi^s.seed) ^ lo)
}

// scramble is the finalizer of splitmix64 (Steele, Lea, Flood 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// prefixSet says of an address whether a list of networks has it. It is never changed once it is made, and asked by
// binary search.
type prefixSet struct {
	from, to []netip.Addr // ranges, in order, apart from each other; IPv4 as such
	unix     bool         // also who has no address: a client of a unix socket
}

func newPrefixSet(list []netip.Prefix) (set prefixSet, err error) {
	type span struct{ from, to netip.Addr }
	var spans []span
	for _, p := range list {
		if p == (netip.Prefix{}) {
			set.unix = true
			continue
		}
		if !p.IsValid() {
			return set, errors.New("a network is not valid")
		}
		addr, bits := p.Addr(), p.Bits()
		if addr.Is4In6() {
			if bits < 96 {
				return set, fmt.Errorf("%s is neither a network of IPv4 nor of IPv6", p)
			}
			addr, bits = addr.Unmap(), bits-96
		}
		p = netip.PrefixFrom(addr, bits).Masked()
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		to, _ := netip.AddrFromSlice(last)
		spans = append(spans, span{p.Addr(), to})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	for _, s := range spans {
		if n := len(set.to); n > 0 && s.from.Compare(set.to[n-1]) <= 0 { // networks lie in each other or apart
			if set.to[n-1].Less(s.to) {
				set.to[n-1] = s.to
			}
			continue
		}
		set.from, set.to = append(set.from, s.from), append(set.to, s.to)
	}
	return set, nil
}

func (set *prefixSet) has(addr netip.Addr) bool {
	if !addr.IsValid() {
		return set.unix
	}
	i, begins := slices.BinarySearchFunc(set.from, addr, netip.Addr.Compare)
	if !begins {
		i--
	}
	return i >= 0 && addr.Compare(set.to[i]) <= 0
}
