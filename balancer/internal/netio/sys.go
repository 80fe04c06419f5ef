//go:build linux

package netio

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// But for sysEpollWait, the calls of this file cannot block, because every descriptor is non-blocking: they are made raw, which spares the
// hand-over of the P that costs about as much as the call itself.

func sysRecv(fd int32, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), flags, 0, 0)
	return int(n), errno
}

func sysSend(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func sysAccept(fd int32, sa *sockaddr) (int32, syscall.Errno) {
	length := uint32(sockaddrLen)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)),
		uintptr(unsafe.Pointer(&length)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int32(n), errno
}

func sysSocket(family uintptr) (int32, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int32(n), errno
}

// sysWithAddr is bind(2) or connect(2) with an address of whatever family.
func sysWithAddr(call uintptr, fd int32, sa unsafe.Pointer, length uintptr) syscall.Errno {
	_, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(sa), length)
	return errno
}

func sysConnect(fd int32, ap netip.AddrPort) syscall.Errno {
	var sa sockaddr
	length := sa.put(ap)
	return sysWithAddr(unix.SYS_CONNECT, fd, unsafe.Pointer(&sa), length)
}

func sysSetOpt(fd int32, level, name uintptr, value unsafe.Pointer, size uintptr) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), level, name, uintptr(value), size, 0)
	return errno
}

func sysSetInt(fd int32, level, name uintptr, value int32) syscall.Errno {
	return sysSetOpt(fd, level, name, unsafe.Pointer(&value), unsafe.Sizeof(value))
}

func sysGetOpt(fd int32, level, name uintptr, value unsafe.Pointer, size uint32) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, name, uintptr(value),
		uintptr(unsafe.Pointer(&size)), 0)
	return errno
}

// sysError reads and clears the socket's pending error.
func sysError(fd int32) syscall.Errno {
	var value int32
	if errno := sysGetOpt(fd, unix.SOL_SOCKET, unix.SO_ERROR, unsafe.Pointer(&value), 4); errno != 0 {
		return errno
	}
	return syscall.Errno(value)
}

// sysLingerZero makes the coming close send RST and drop what is unsent.
func sysLingerZero(fd int32) {
	linger := unix.Linger{Onoff: 1, Linger: 0}
	// Cannot fail on an open TCP socket; if it did, close would send FIN.
	_ = sysSetOpt(fd, unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&linger), unsafe.Sizeof(linger))
}

// sysAckOnce sends the ACK that is due: an even number does so once and changes nothing else (__tcp_sock_set_quickack
// in the kernel's net/ipv4/tcp.c).
func sysAckOnce(fd int32) {
	_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 2) // cannot fail on a TCP socket
}

func sysShutdown(fd int32, how uintptr) {
	// ENOTCONN says that the other side was faster; a Recv will tell.
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), how, 0)
}

// sysUnsent is the number of bytes that were sent and not acknowledged (tcp(7), SIOCOUTQ).
func sysUnsent(fd int32) int {
	var value int32
	// Cannot fail on a TCP socket that does not listen; if it did, 0 stands.
	_, _, _ = unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&value)))
	return int(value)
}

// sysAtMark reports whether what comes next is an urgent byte (sockatmark(3)).
func sysAtMark(fd int32) bool {
	var value int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCATMARK, uintptr(unsafe.Pointer(&value)))
	return errno == 0 && value != 0
}

// tcpClose is the state of a connection that has ended (TCP_CLOSE in the kernel's include/net/tcp_states.h).
const tcpClose = 7

// sysDead reports whether a connection has ended, by RST or otherwise.
func sysDead(fd int32) bool {
	state, errno := sysState(fd)
	return errno == 0 && state == tcpClose
}

// sysState is the state of a TCP connection; an error says that it is none.
func sysState(fd int32) (state byte, errno syscall.Errno) {
	errno = sysGetOpt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, unsafe.Pointer(&state), 1) // the first of struct tcp_info
	return state, errno
}

// sendErrno is what a failed sending comes to: errno where the connection has ended, which reading it tells too;
// ENOBUFS where it stands, so that nothing else would ever tell. For a unix socket only the errno says which it is.
func sendErrno(fd int32, errno syscall.Errno) syscall.Errno {
	if errno == 0 {
		return 0
	}
	ended := errno == unix.EPIPE || errno == unix.ECONNRESET
	if state, none := sysState(fd); none == 0 {
		ended = state == tcpClose
	}
	if !ended {
		return unix.ENOBUFS
	}
	return errno
}

// sysAcked is the number of bytes sent that the peer has acknowledged, or something that grows as its peer reads, for a
// unix socket; given is how much of the operation in flight the kernel has taken.
func sysAcked(fd int32, given uint32) uint64 {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		// Not a TCP socket: what a unix socket's peer has not read yet, counted backwards. It stays the same where all
		// that is read is replaced.
		return 1<<62 - uint64(sysUnsent(fd)) + uint64(given)
	}
	return info.Bytes_acked
}

// sysPersist sets the options of Persist. None of them fails on a TCP socket with values in range, and a conn without
// keepalive is better than no conn.
func sysPersist(fd int32, o Options) {
	if o.KeepAlive > 0 {
		secs := int32(max(1, o.KeepAlive/time.Second))
		_ = sysSetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, secs)
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, secs)
	}
	if o.UserTimeout > 0 {
		_ = sysSetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int32(o.UserTimeout/time.Millisecond))
	}
}

// sysCount adds one to the count of an eventfd.
func sysCount(fd int32) {
	one := uint64(1)
	// EAGAIN: nobody has taken the count of 2^64-2 calls.
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// sysTakeCount takes the count of an eventfd.
func sysTakeCount(fd int32) {
	var count uint64
	// EAGAIN: it was 0.
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
}

func sysClose(fd int32) {
	// The descriptor is gone whatever close answers (close(2)).
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

func sysEpollCtl(epfd int32, op uintptr, fd int32, ev *unix.EpollEvent) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), op, uintptr(fd),
		uintptr(unsafe.Pointer(ev)), 0, 0)
	return errno
}

// sysEpollWait takes what is ready. It blocks for at most ms milliseconds, without telling the scheduler.
func sysEpollWait(epfd int32, evs []unix.EpollEvent, ms int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(evs))),
		uintptr(len(evs)), uintptr(ms), 0, 0)
	return int(n), errno
}

// sysSplice moves at most n bytes; one of the two descriptors is a pipe. x/sys's Splice returns another integer type on
// 32-bit machines.
func sysSplice(from, to int32, n int) (int, syscall.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n),
		unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	return int(r), errno
}
