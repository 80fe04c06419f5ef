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
//   - Its connect(2) has ended when it returns, so both engines make it at once and
//     report it with the next batch. Where the server's queue is full it knocks again
//     until there is room or its caller has enough: TCP would send its SYN again.
//   - There is no RST: Close with reset is like Close without. The peer meets
//     ECONNRESET if it has left something unread at this end, else an end in order,
//     behind all that was sent. What it means to end early is for the protocol above
//     to tell (in TLS the close_notify alert, RFC 8446, 6.1).
//   - Sent is received: what Unsent counts lies in the peer's queue. Acked grows while
//     the peer reads from it, and counts nothing.
//   - It has no address for its client: Peer and Local are not valid.
//   - No option of TCP is set on one that Connect opens, and those of an accepted one
//     are refused by the kernel, which does no harm.

// sockaddrUnix is the address of a unix socket as the kernel reads it.
type sockaddrUnix [unix.SizeofSockaddrUnix]byte

// put writes a path, or @ and an abstract name, and returns the length. The name of an
// abstract one begins with NUL and ends where the address does. One that is too long is
// cut, which no path is that netaddr.CheckPath has taken.
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

func sysSocketUnix() (int32, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int32(n), errno
}

// sysConnectUnix connects to a path. It waits for nobody, though for a file system that has to
// look the path up. EAGAIN says that the server's queue is full.
func sysConnectUnix(fd int32, path string) syscall.Errno {
	var sa sockaddrUnix
	length := sa.put(path)
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), length)
	return errno
}

// knockEvery is the pause between two connects to a server whose queue is full: some
// ten conns of a server that is busy, and little work for one that stays so.
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

// begin is told how a first connect has ended.
func (k *knocks) begin(t turn, path string, errno syscall.Errno, now Time, done func(turn, syscall.Errno)) {
	if errno != unix.EAGAIN {
		done(t, errno)
		return
	}
	if len(k.all) == 0 {
		k.next = now.Add(knockEvery)
	}
	k.all = append(k.all, knock{t, path})
}

// until is when Wait has to come back, at most deadline.
func (k *knocks) until(deadline Time) Time {
	if len(k.all) == 0 {
		return deadline
	}
	return min(deadline, k.next)
}

// try connects again, if it is time to. fd is the descriptor of one that is still wanted,
// else -1; done is called for each that has ended.
func (k *knocks) try(now Time, fd func(turn) int32, done func(turn, syscall.Errno)) {
	if len(k.all) == 0 || now < k.next {
		return
	}
	k.next = now.Add(knockEvery)
	full := "" // where there was no room just now
	k.all = slices.DeleteFunc(k.all, func(one knock) bool {
		sock := fd(one.turn)
		if sock < 0 {
			return true
		}
		if one.path == full {
			return false
		}
		errno := sysConnectUnix(sock, one.path)
		if errno == unix.EAGAIN {
			full = one.path
			return false
		}
		done(one.turn, errno)
		return true
	})
}

// connectUnix is Connect to a unix socket.
func (e *epoll) connectUnix(path string, tag uint32) (Sock, syscall.Errno) {
	fd, errno := sysSocketUnix()
	if errno == unix.EMFILE && e.spares.shut() {
		fd, errno = sysSocketUnix()
	}
	if errno != 0 {
		return NoSock, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = wantConnect
	e.knocks.begin(turn{s, sl.gen}, path, sysConnectUnix(fd, path), e.now, e.connectedUnix)
	return s, 0
}

// connectedUnix has OpConnect reported. The socket is like an accepted one then.
func (e *epoll) connectedUnix(t turn, errno syscall.Errno) {
	sl := e.slots.at(t.sock)
	sl.flags |= canRead | canWrite
	sl.fault = fault(errno)
	e.enqueue(t.sock, sl)
}

func (e *epoll) knocking(t turn) int32 {
	if sl := e.slots.at(t.sock); !sl.stale(t.gen) {
		return sl.fd
	}
	return -1
}

// connectUnix is Connect to a unix socket.
func (e *uring) connectUnix(path string, tag uint32) (Sock, syscall.Errno) {
	fd, errno := sysSocketUnix()
	if errno == unix.EMFILE && e.relieve() {
		fd, errno = sysSocketUnix()
	}
	if errno != 0 {
		return NoSock, errno
	}
	s, sl := e.slots.take(fd, tag)
	sl.flags = rWantConnect
	e.knocks.begin(turn{s, sl.gen}, path, sysConnectUnix(fd, path), e.now, e.connectedUnix)
	return s, 0
}

// connectedUnix has OpConnect reported.
func (e *uring) connectedUnix(t turn, errno syscall.Errno) {
	sl := e.slots.at(t.sock)
	sl.fault = fault(errno)
	e.enqueue(t.sock, sl)
}

func (e *uring) knocking(t turn) int32 {
	if sl := e.slots.at(t.sock); sl.gen == t.gen {
		return sl.fd
	}
	return -1
}
