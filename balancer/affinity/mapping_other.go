//go:build !linux

package affinity

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"time"
)

// mapping is heap memory where the balancer does not run.
type mapping struct {
	words []atomic.Uint64
}

// pageWords: the runtime aligns what is larger than 32 KiB to a page, and so each bucket to a cache line.
const pageWords = 64 << 10 / 8

func newMapping(n int) (mapping, error) {
	return mapping{words: make([]atomic.Uint64, max(n, pageWords))[:n]}, nil
}

func (m mapping) close() error { return nil }

func (m mapping) take(int, int) error { return nil }

func (m mapping) share() (int, error) { return -1, errors.ErrUnsupported }

func exportableMapping(string, int) (mapping, error) { return mapping{}, errors.ErrUnsupported }

func importMapping(int, int) (mapping, error) { return mapping{}, errors.ErrUnsupported }

func sinceBoot() (boot uint64, up time.Duration, ok bool) { return 0, 0, false }

func discard(int) {}

func isFile(int, string) bool { return false }

func openMapping(string, int) (mapping, error) { return mapping{}, fs.ErrNotExist }

func createMapping(string, int, func(mapping)) (mapping, error) {
	return mapping{}, errors.New("tables in files are for Linux: leave Memory empty")
}
