//go:build linux

package netio

import (
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	minBufferBits = 10 // 1 KiB: a hello without post-quantum share fits
	maxBufferBits = 19 // 512 KiB: a 64 KiB hello in one-byte records is 384 KiB of stream
	numClasses    = maxBufferBits - minBufferBits + 1
	// slabSize is what is asked from the kernel at a time, so that small
	// buffers cost one mapping in 256.
	slabSize = 256 << 10
)

// MaxBuffer is the largest buffer that can be had, in bytes.
const MaxBuffer = 1 << maxBufferBits

// Buffers is a loop's pool of buffers in powers of two from 1 KiB to 512 KiB,
// for what must outlive a completion: partial hellos, held flights, unsent
// rests. The memory lies outside the Go heap and is kept for reuse.
//
// The limit is soft: Over tells the loop to shed; Get refuses only at twice the
// limit, so that conns with bytes in flight suffer last.
type Buffers struct {
	free  [numClasses][][]byte
	slabs [][]byte
	limit int64
	used  atomic.Int64 // bytes handed out; written by the loop, read by metrics
}

// NewBuffers returns an empty pool with a soft limit in bytes.
func NewBuffers(limit int64) *Buffers { return &Buffers{limit: limit} }

// class is the index of the smallest class that holds n bytes.
func class(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// Get returns an empty buffer with room for at least n bytes, or nil when the
// pool is at twice its limit, n is beyond MaxBuffer, or the kernel has no memory.
func (p *Buffers) Get(n int) []byte {
	c := class(n)
	if c >= numClasses || p.used.Load()+1<<(c+minBufferBits) > 2*p.limit {
		return nil
	}
	if len(p.free[c]) == 0 && !p.grow(c) {
		return nil
	}
	last := len(p.free[c]) - 1
	b := p.free[c][last]
	p.free[c] = p.free[c][:last]
	p.used.Add(int64(cap(b)))
	return b[:0]
}

// Put takes back a buffer that Get returned; nil is allowed.
func (p *Buffers) Put(b []byte) {
	if cap(b) == 0 {
		return
	}
	c := class(cap(b))
	if cap(b) != 1<<(c+minBufferBits) {
		panic("netio: Put of what is no buffer")
	}
	p.free[c] = append(p.free[c], b[:0])
	p.used.Add(-int64(cap(b)))
}

// Append appends b to buf, which may be nil, moving it to a larger class when
// needed. When there is no room it returns buf as it was and false.
func (p *Buffers) Append(buf, b []byte) ([]byte, bool) {
	if need := len(buf) + len(b); need > cap(buf) {
		larger := p.Get(need)
		if larger == nil {
			return buf, false
		}
		larger = append(larger, buf...)
		p.Put(buf)
		buf = larger
	}
	return append(buf, b...), true
}

// Used is the number of bytes handed out. Any goroutine.
func (p *Buffers) Used() int64 { return p.used.Load() }

// Over reports whether more than the soft limit is handed out.
func (p *Buffers) Over() bool { return p.used.Load() > p.limit }

// grow maps one slab and cuts it into buffers of class c.
func (p *Buffers) grow(c int) bool {
	size := 1 << (c + minBufferBits)
	slab, err := unix.Mmap(-1, 0, max(slabSize, size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	p.slabs = append(p.slabs, slab)
	for off := 0; off < len(slab); off += size {
		p.free[c] = append(p.free[c], slab[off:off:off+size])
	}
	return true
}

// shut unmaps all memory; no buffer may be used any more.
func (p *Buffers) shut() {
	for _, s := range p.slabs {
		_ = unix.Munmap(s) // a mapping of ours: cannot fail
	}
	p.free, p.slabs = [numClasses][][]byte{}, nil
	p.used.Store(0) // metrics may still read it
}
