//go:build linux

package netio

import "golang.org/x/sys/unix"

const (
	// leastRoom is the receive buffer, in bytes, that every source may come to.
	leastRoom = 2 << 20
	// roomRate is what a source may have for each microsecond of its round trip, in bytes: 32 Gbit/s.
	roomRate = 4 << 10
	// boundAfter is how many bytes a Splice has moved that asks for boundRoom. Asked after a whole batch's share alone,
	// buffers have come to 17 MiB meanwhile.
	boundAfter = 256 << 10
)

// boundRoom stops the kernel from enlarging the receive buffer of a source that brings much at a time, once the buffer
// is large enough for the distance. It reports whether there is nothing more to be done.
//
// The kernel enlarges a buffer for as long as it is emptied fast, to 32 MiB (net.ipv4.tcp_rmem since 6.16, 6 MiB
// before). A source on the same machine or network fills all of it, for it is faster than what it is spliced to; the
// bytes wait in memory until they have left the cache, and are the more expensive to pass on. Machine CPU per GB above
// direct of four flows, to HAProxy's: 0.90, at 15.8 Gbit/s; with fixed buffers of 256 KiB to 4 MiB 0.50 to 0.60, at
// 20.6 to 22.6; bounded 0.59 to 0.61, at 19 to 21. The kernel may enlarge it to several times this between two looks,
// 17 MiB were seen; it is not made smaller, which would cost what is on its way.
func boundRoom(fd int32) bool {
	room, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return true // nobody knows what this is
	}
	if room < leastRoom {
		return false // spares the second call
	}
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return true // not TCP: its buffer does not grow
	}
	if !roomEnough(room, info.Min_rtt) {
		return false
	}
	locks, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err == nil { // since Linux 5.14; before it the buffer grows on
		_ = sysSetInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, int32(locks|unix.SOCK_RCVBUF_LOCK)) // a value it has told
	}
	return true
}

// roomEnough reports whether a receive buffer of room bytes lets a source send as fast as any does whose round trip
// takes rtt microseconds at least.
func roomEnough(room int, rtt uint32) bool {
	return room >= leastRoom && uint64(room) >= roomRate*uint64(rtt)
}
