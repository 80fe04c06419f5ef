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
	ErrReset    = syscall.ECONNRESET    // the peer was there, and has ended the connection
	ErrEnded    = syscall.EPIPE         // of a Send: the peer had sent FIN before its RST
)

// IsShortage reports whether errno tells of this machine's limits, not of the peer. All else that connect(2) answers
// speaks of the way to that peer: no route, a route that forbids it (EACCES, EINVAL), a policy for it (EPERM), nobody
// there.
func IsShortage(errno syscall.Errno) bool {
	return IsNoFile(errno) || errno == syscall.EADDRNOTAVAIL || isNoMemory(errno)
}

// IsNoFile reports whether errno tells that no descriptor is free.
func IsNoFile(errno syscall.Errno) bool { return errno == syscall.EMFILE || errno == syscall.ENFILE }

// isNoMemory reports whether errno tells that the kernel has no room for something. It ends no connection.
func isNoMemory(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, syscall.EAGAIN:
		return true
	}
	return false
}

// fault is the errno that reading ends with, instead of an end; 0: none.
type fault uint16

// note notes the error that ended the connection. The kernel hands it out once, to whatever call comes first; a later
// recv(2) answers 0, and a connection that was reset would look like one that ended in order. EPIPE says only that
// sending has ended, and a shortage ends nothing.
func (f *fault) note(errno syscall.Errno) {
	switch errno {
	case 0, syscall.EPIPE, syscall.ENOBUFS, syscall.ENOMEM:
	default:
		*f = fault(errno)
	}
}
