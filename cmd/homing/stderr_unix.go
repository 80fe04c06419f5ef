//go:build !windows

package main

import (
	"errors"
	"syscall"
)

// stderr writes to descriptor 2, whatever that is at the time: an upgrade changes it. It is no os.File, for that would
// end this process when nobody reads any more (see os/signal on SIGPIPE); here it is an error as any other.
type stderr struct{}

// Write implements io.Writer.
func (stderr) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var some int
		some, err = syscall.Write(syscall.Stderr, b[n:])
		n += max(some, 0)
		if errors.Is(err, syscall.EINTR) {
			err = nil
		}
	}
	return n, err
}
