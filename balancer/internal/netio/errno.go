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
	ErrInUse    = syscall.EADDRINUSE    // somebody listens there
	ErrEnded    = syscall.EPIPE         // of a Send: the peer had sent FIN before its RST
)

// IsUnreachable reports whether a connect that ended with errno tells that the
// peer is not there: refused, no route, or no answer. A connection that was made
// and reset at once (ECONNRESET) tells the contrary.
func IsUnreachable(errno syscall.Errno) bool {
	switch errno {
	case syscall.ECONNREFUSED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN:
		return true
	}
	return false
}

// IsShortage reports whether errno tells of this machine's limits, not of the
// peer.
func IsShortage(errno syscall.Errno) bool {
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, syscall.EADDRNOTAVAIL, syscall.EACCES, syscall.EPERM, syscall.EAGAIN:
		return true
	}
	return false
}
