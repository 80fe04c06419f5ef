//go:build !windows

package logging

import (
	"errors"
	"syscall"
)

// Stderr writes to descriptor 2, whatever that is at the time: an upgrade changes it. It is no os.File, for that would
// end this process when nobody reads any more (see os/signal on SIGPIPE); here it is an error as any other.
type Stderr struct{}

// Write implements io.Writer.
func (Stderr) Write(b []byte) (n int, err error) {
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
