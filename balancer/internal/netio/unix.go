//go:build linux

package netio

import (
	"encoding/binary"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A unix socket is a Sock like any other, with these differences (unix(7)).
//
//   - Its connect(2) has ended when it returns, so both engines make it at once and report it with the next batch.
//     Where the server's queue is full it knocks again until there is room or its caller has enough: TCP would send its
//     SYN again.
//   - There is no RST: Close with reset is like Close without. The peer meets ECONNRESET if it has left something
//     unread at this end, else an end in order, behind all that was sent. What it means to end early is for the
//     protocol above to tell (in TLS the close_notify alert, RFC 8446, 6.1).
//   - Sent is received: what Unsent counts lies in the peer's queue. Acked grows while the peer reads from it, and
//     counts nothing.
//   - It has no address for its client: Peer and Local are not valid.
//   - No option of TCP is set on one that Connect opens, and those of an accepted one are refused by the kernel, which
//     does no harm.

// sockaddrUnix is the address of a unix socket as the kernel reads it.
type sockaddrUnix [unix.SizeofSockaddrUnix]byte

// put writes a path, or @ and an abstract name, and returns the length. The name of an abstract one begins with NUL and
// ends where the address does. One that is too long is cut, which no path is that netaddr.CheckPath has taken.
func (sa *sockaddrUnix) put(path string) uintptr {
	*sa = sockaddrUnix{}
	binary.NativeEndian.PutUint16(sa[:], unix.AF_UNIX)
	n := copy(sa[2:len(sa)-1], path)
	if path[0] == '@' {
		sa[2] = 0
		return uintptr(2 + n)
	}
	return uintptr(2 + n + 1) // with the NUL
}

// sysConnectUnix connects to a path. It waits for nobody, though for a file system that has to look the path up. EAGAIN
// says that the server's queue is full.
func sysConnectUnix(fd int32, path string) syscall.Errno {
	var sa sockaddrUnix
	length := sa.put(path)
	return sysWithAddr(unix.SYS_CONNECT, fd, unsafe.Pointer(&sa), length)
}

// knockEvery is the pause between two connects to a server whose queue is full: some ten conns of a server that is
// busy, and little work for one that stays so.
const knockEvery = 2 * time.Millisecond

// knocks are the connects to unix sockets whose queue is full, by age.
type knocks struct {
	all  []knock
	next Time // when they are tried again, if there are any
}

type knock struct {
	turn
	path string
}

// connectUnix is Connect to a unix socket.
func (e *core) connectUnix(path string, tag uint32) (Sock, syscall.Errno) {
	fd, errno := e.newSocket(unix.AF_UNIX)
	if errno != 0 {
		return NoSock, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = wantConnect
	if errno = sysConnectUnix(fd, path); errno != unix.EAGAIN {
		e.connectedUnix(s, sl, errno)
		return s, 0
	}
	if len(e.knocks.all) == 0 {
		e.knocks.next = e.now.Add(knockEvery)
	}
	e.knocks.all = append(e.knocks.all, knock{turn{s, sl.gen}, path})
	return s, 0
}

// connectedUnix has OpConnect reported. The socket is like an accepted one then.
func (e *core) connectedUnix(s Sock, sl *slot, errno syscall.Errno) {
	sl.flags |= canRead | canWrite
	sl.fault = fault(errno)
	e.enqueue(s, sl)
}

// until is when Wait has to come back, at most deadline.
func (k *knocks) until(deadline Time) Time {
	if len(k.all) == 0 {
		return deadline
	}
	return min(deadline, k.next)
}

// knock connects again those that are still wanted, if it is time to.
func (e *core) knock(now Time) {
	k := &e.knocks
	if len(k.all) == 0 || now < k.next {
		return
	}
	k.next = now.Add(knockEvery)
	full := "" // where there was no room just now
	k.all = slices.DeleteFunc(k.all, func(one knock) bool {
		sl := e.slots.at(one.sock)
		if sl.stale(one.gen) {
			return true
		}
		if one.path == full {
			return false
		}
		errno := sysConnectUnix(sl.fd, one.path)
		if errno == unix.EAGAIN {
			full = one.path
			return false
		}
		e.connectedUnix(one.sock, sl, errno)
		return true
	})
}
