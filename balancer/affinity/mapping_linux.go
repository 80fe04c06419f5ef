package affinity

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is memory outside the Go heap, all of it present from the start: a loop
// never takes a page fault in it.
type mapping struct {
	words []atomic.Uint64
	raw   []byte // what words lies in
}

// newMapping maps n words of zeros, aligned to a page.
func newMapping(n int) (mapping, error) {
	raw, err := unix.Mmap(-1, 0, n*8, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return mapping{}, err
	}
	// The mapping is page-aligned and n*8 bytes long, so it holds exactly n words.
	return mapping{words: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&raw[0])), n), raw: raw}, nil
}

func (m mapping) close() error { return unix.Munmap(m.raw) }
