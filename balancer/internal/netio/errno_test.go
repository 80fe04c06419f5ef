//go:build linux

package netio

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsShortage(t *testing.T) {
	t.Parallel()
	for errno, want := range map[Errno]bool{
		0:                 false,
		ErrTimedOut:       false, // the peer's
		ErrEnded:          false,
		unix.ECONNREFUSED: false,
		unix.ECONNRESET:   false,
		unix.EHOSTUNREACH: false,
		ErrNoBuffer:       true, // ours
		ErrNoPort:         true,
		unix.EMFILE:       true,
		unix.ENFILE:       true,
		unix.ENOMEM:       true,
		unix.ENOSPC:       true,  // epoll's watch limit
		unix.EACCES:       false, // of connect: a route to this peer that is prohibited
		unix.EPERM:        false, // a policy for this peer
		unix.EINVAL:       false, // a blackhole
	} {
		if got := IsShortage(errno); got != want {
			t.Errorf("%v: %t, want %t", errno, got, want)
		}
	}
}
