//go:build linux

package netio

import "syscall"

// Errno is the kernel's error code; 0 is success.
type Errno = syscall.Errno

// The codes that callers decide by.
const (
	ErrTimedOut = syscall.ETIMEDOUT     // also of a try that its caller gives up
	ErrNoBuffer = syscall.ENOBUFS       // the pool's hard limit, or no pipe to be had
	ErrNoPort   = syscall.EADDRNOTAVAIL // no source port is left for this destination
	ErrEnded    = syscall.EPIPE         // of a Send: the peer had sent FIN before its RST
)

// IsShortage reports whether errno tells of this machine's limits, not of the
// peer.
func IsShortage(errno syscall.Errno) bool {
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, syscall.EADDRNOTAVAIL, syscall.EACCES, syscall.EPERM, syscall.EAGAIN:
		return true
	}
	return false
}
