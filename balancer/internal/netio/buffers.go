//go:build linux

package netio

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	minBufferBits = 10 // 1 KiB: a hello without post-quantum share fits
	maxBufferBits = 19 // 512 KiB: a 64 KiB hello in one-byte records is 384 KiB of stream
	numClasses    = maxBufferBits - minBufferBits + 1
	// slabUnits is the size of the largest buffer, and of what is taken into use at a time, in units of the smallest
	// buffer.
	slabUnits = 1 << (numClasses - 1)
)

// MaxBuffer is the largest buffer that can be had, in bytes.
const MaxBuffer = 1 << maxBufferBits

// Buffers is a loop's pool of buffers in powers of two from 1 KiB to 512 KiB, for what must outlive a completion:
// partial hellos, held flights, unsent rests. The memory lies outside the Go heap and is kept for reuse.
//
// The limit is soft: Over tells the loop to shed; Get refuses only at twice the limit, so that conns with bytes in
// flight suffer last, and GetRest at one and a half times, so that peers who do not read leave room for handshakes.
//
// It is a buddy allocator: a buffer is one half of a larger block, and the two halves become that block again when both
// are free. So what small buffers leave behind serves large ones, and no sequence of demands, hostile ones included,
// makes the pool take more memory than twice its limit (rounded up to MaxBuffer).
type Buffers struct {
	limit int64
	arena []byte             // reserved at the first Get
	marks []byte             // by unit, of the part of arena that is in use: what begins there
	free  [numClasses]uint32 // first free block of each class, by unit plus 1; 0: none
	used  atomic.Int64       // bytes handed out; written by the loop, read by metrics
}

// Marks: a block's class with one of these.
const (
	markLent byte = 1 << 6
	markFree byte = 1 << 7
)

// NewBuffers returns an empty pool with a soft limit in bytes.
func NewBuffers(limit int64) *Buffers { return &Buffers{limit: limit} }

// class is the index of the smallest class that holds n bytes.
func class(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// Get returns an empty buffer with room for at least n bytes, or nil when the pool is at twice its limit, n is beyond
// MaxBuffer, or the kernel has no memory.
func (p *Buffers) Get(n int) []byte { return p.get(n, 2*p.limit) }

// GetRest is Get for what a peer has not taken.
func (p *Buffers) GetRest(n int) []byte { return p.get(n, p.limit+p.limit/2) }

func (p *Buffers) get(n int, most int64) []byte {
	c := class(n)
	if c >= numClasses || p.used.Load()+1<<(c+minBufferBits) > most {
		return nil
	}
	k := c
	for k < numClasses && p.free[k] == 0 {
		k++
	}
	if k == numClasses {
		if !p.grow() {
			return nil
		}
		k--
	}
	u := p.free[k] - 1
	p.remove(u, k)
	for ; k > c; k-- { // the upper half is not needed
		p.insert(u+1<<(k-1), k-1)
	}
	p.marks[u] = markLent | byte(c)
	p.used.Add(1 << (c + minBufferBits))
	from, size := int(u)<<minBufferBits, 1<<(c+minBufferBits)
	return p.arena[from : from : from+size]
}

// Put takes back a buffer that Get or Append returned, in whatever length; nil is allowed.
func (p *Buffers) Put(b []byte) {
	if cap(b) == 0 {
		return
	}
	c := class(cap(b))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(p.arena)))
	u := uint32(at >> minBufferBits)
	if cap(b) != 1<<(c+minBufferBits) || at>>minBufferBits >= uintptr(len(p.marks)) || at%(1<<minBufferBits) != 0 ||
		p.marks[u] != markLent|byte(c) {
		panic("netio: Put of what is no buffer, or not lent")
	}
	p.used.Add(-1 << (c + minBufferBits))
	p.marks[u] = 0
	for ; c < numClasses-1; c++ {
		buddy := u ^ 1<<c
		if p.marks[buddy] != markFree|byte(c) {
			break
		}
		p.remove(buddy, c)
		u &= buddy
	}
	p.insert(u, c)
}

// Append appends b to buf, which may be nil, moving it to a larger class when needed. When there is no room it returns
// buf as it was and false.
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

// links are the neighbours of the free block at unit u in its list, kept in the block itself.
func (p *Buffers) links(u uint32) (next, prev []byte) {
	b := p.arena[int(u)<<minBufferBits:][:8]
	return b[:4], b[4:]
}

// insert makes the block at unit u the first free one of class c: what was used last is still in the cache.
func (p *Buffers) insert(u uint32, c int) {
	first := p.free[c]
	next, prev := p.links(u)
	binary.NativeEndian.PutUint32(next, first)
	binary.NativeEndian.PutUint32(prev, 0)
	if first != 0 {
		_, prev = p.links(first - 1)
		binary.NativeEndian.PutUint32(prev, u+1)
	}
	p.free[c] = u + 1
	p.marks[u] = markFree | byte(c)
}

// remove takes the block at unit u out of the list of class c.
func (p *Buffers) remove(u uint32, c int) {
	next, prev := p.links(u)
	n, v := binary.NativeEndian.Uint32(next), binary.NativeEndian.Uint32(prev)
	if n != 0 {
		_, prev = p.links(n - 1)
		binary.NativeEndian.PutUint32(prev, v)
	}
	if v != 0 {
		next, _ = p.links(v - 1)
		binary.NativeEndian.PutUint32(next, n)
	} else {
		p.free[c] = n
	}
	p.marks[u] = 0
}

// grow takes one more slab into use. The address space is reserved at once, the memory comes slab by slab.
func (p *Buffers) grow() bool {
	if p.arena == nil {
		size := (2*p.limit + MaxBuffer - 1) / MaxBuffer * MaxBuffer
		arena, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
		if err != nil {
			return false
		}
		p.arena = arena
	}
	from := len(p.marks) << minBufferBits
	if from == len(p.arena) || unix.Mprotect(p.arena[from:from+MaxBuffer], unix.PROT_READ|unix.PROT_WRITE) != nil {
		return false
	}
	u := uint32(len(p.marks))
	p.marks = append(p.marks, make([]byte, slabUnits)...)
	p.insert(u, numClasses-1)
	return true
}

// shut unmaps all memory; no buffer may be used any more.
func (p *Buffers) shut() {
	if p.arena != nil {
		_ = unix.Munmap(p.arena) // a mapping of ours: cannot fail
	}
	p.arena, p.marks, p.free = nil, nil, [numClasses]uint32{}
	p.used.Store(0) // metrics may still read it
}
