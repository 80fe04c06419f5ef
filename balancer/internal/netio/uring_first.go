//go:build linux

package netio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// firstSize is the room for what is sent behind a connect: a ClientHello with a
	// post-quantum share, tickets and a PROXY header fits.
	firstSize = 4 << 10
	// maxFirsts bounds the connects that have something to send behind them. A
	// backend that answers at once needs few.
	maxFirsts = 256
)

// firsts is the memory of what the kernel sends when a connect has succeeded. A
// piece is free again when the kernel is done with it.
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
