//go:build linux

package netio

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvGroup names the buffers to the kernel. A ring of ours has no others.
const recvGroup = 0

// recvBuffers is a ring of receive buffers of RecvSize that the kernel takes from when something has arrived: a Recv
// that waits has none. Only the pages that were written to cost memory: the kernel takes one buffer after the other, so
// that it has no more than were once needed at the same time.
//
// The kernel takes buffers in enter alone, in the calling thread, so that the tail needs no barrier.
type recvBuffers struct {
	entries []providedBuf
	mem     []byte // of the entries, then of the buffers
	bufs    []byte
	tail    uint16
	given   int // how many the kernel has been given
}

// firstRecv is how many buffers the kernel has at first: what arrives at a loop that is not busy, in one batch.
const firstRecv = 16

// newRecvBuffers registers n buffers, a power of two.
func newRecvBuffers(r *ring, n int) (*recvBuffers, error) {
	const page = 4 << 10
	head := (n*int(unsafe.Sizeof(providedBuf{})) + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, head+n*RecvSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("io_uring: mmap of receive buffers: %w", err)
	}
	b := &recvBuffers{mem: mem, bufs: mem[head:]}
	b.entries = unsafe.Slice((*providedBuf)(unsafe.Pointer(&mem[0])), n)
	reg := bufReg{addr: address(unsafe.Pointer(&mem[0])), entries: uint32(n), group: recvGroup}
	if _, errno := r.register(registerBufRing, unsafe.Pointer(&reg), 1); errno != 0 {
		_ = unix.Munmap(mem) // a mapping of ours: cannot fail
		return nil, fmt.Errorf("io_uring: registering receive buffers: %w", errno)
	}
	for range firstRecv {
		b.another()
	}
	return b, nil
}

// another gives the kernel one buffer more, if there is one.
func (b *recvBuffers) another() {
	if b.given < len(b.entries) {
		b.give(uint16(b.given))
		b.given++
	}
}

// at is the first n bytes of buffer id.
func (b *recvBuffers) at(id uint16, n int) []byte {
	from := int(id) * RecvSize
	return b.bufs[from : from+n : from+RecvSize]
}

// give hands buffer id to the kernel.
func (b *recvBuffers) give(id uint16) {
	e := &b.entries[int(b.tail)&(len(b.entries)-1)]
	e.addr = address(unsafe.Pointer(&b.bufs[int(id)*RecvSize]))
	e.length, e.id = RecvSize, id
	b.tail++
	b.entries[0].tail = b.tail
}

// unmap takes the buffers back; no receive is in flight.
func (b *recvBuffers) unmap(r *ring) {
	reg := bufReg{group: recvGroup}
	_, _ = r.register(unregisterBufRing, unsafe.Pointer(&reg), 1) // goes with the ring otherwise
	_ = unix.Munmap(b.mem)                                        // a mapping of ours: cannot fail
}

const (
	// firstSize is the room for what is sent behind a connect: a ClientHello with a post-quantum share, tickets and a
	// PROXY header fits.
	firstSize = 4 << 10
	// maxFirsts bounds the connects that have something to send behind them. A backend that answers at once needs few.
	maxFirsts = 256
)

// firsts is the memory of what the kernel sends when a connect has succeeded. A piece is free again when the kernel is
// done with it.
type firsts struct {
	mem  []byte
	free []int32
}

func newFirsts() (*firsts, error) {
	mem, err := unix.Mmap(-1, 0, maxFirsts*firstSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mmap of first bytes: %w", err)
	}
	f := &firsts{mem: mem}
	for i := int32(maxFirsts); i > 0; i-- {
		f.free = append(f.free, i)
	}
	return f, nil
}

// take copies b into a piece and returns its number; 0: there is no room.
func (f *firsts) take(b []byte) int32 {
	last := len(f.free) - 1
	if len(b) > firstSize || last < 0 {
		return 0
	}
	i := f.free[last]
	f.free = f.free[:last]
	copy(f.at(i), b)
	return i
}

func (f *firsts) at(i int32) []byte { return f.mem[(i-1)*firstSize : i*firstSize] }

// put takes a piece back; 0 is allowed.
func (f *firsts) put(i int32) {
	if i != 0 {
		f.free = append(f.free, i)
	}
}

func (f *firsts) unmap() { _ = unix.Munmap(f.mem) } // a mapping of ours: cannot fail
