//go:build linux

package netio

import (
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// intOption reads an option of the engine's socket s.
func (r *rig) intOption(s Sock, level, name int) int {
	r.t.Helper()
	v, err := unix.GetsockoptInt(r.descriptor(s), level, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// A source on this machine brings more than is passed on: its receive buffer
// grows to what is enough, not to what the kernel allows, and bytes go on to come.
// Other locks of its buffers stay.
func testSpliceSettlesRoom(t *testing.T, open opener) {
	r := newRig(t, open)
	d := r.listen("127.0.0.1:0", 0, option{unix.SOL_SOCKET, unix.SO_SNDBUF, 1 << 18})
	if _, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK); err != nil {
		t.Skip("needs SO_BUF_LOCK, Linux 5.14:", err)
	}
	from, source := r.through(d)
	to, sink := r.connected()
	go func() {
		for b := make([]byte, 1<<20); ; {
			if _, err := source.Write(b); err != nil {
				return // the end of the test
			}
		}
	}()
	go func() { _, _ = io.Copy(io.Discard, sink) }() // until the end of the test
	locks := func() int { return r.intOption(from, unix.SOL_SOCKET, unix.SO_BUF_LOCK) }
	room := func() int { return r.intOption(from, unix.SOL_SOCKET, unix.SO_RCVBUF) }
	moved := 0
	pass := func() {
		c := r.splice(from, to)
		if c.Errno != 0 || c.N == 0 {
			t.Fatalf("after %d bytes: %+v", moved, c)
		}
		moved += c.N
	}
	if was := locks(); was != unix.SOCK_SNDBUF_LOCK {
		t.Fatalf("locks %d before the first byte", was)
	}
	for start := time.Now(); locks() == unix.SOCK_SNDBUF_LOCK; pass() {
		if time.Since(start) > 2*patience {
			t.Fatalf("after %d bytes the buffer may grow on, now %d bytes (net.ipv4.tcp_rmem %s)", moved, room(), sysctl(t, "net/ipv4/tcp_rmem"))
		}
	}
	if got := locks(); got != unix.SOCK_SNDBUF_LOCK|unix.SOCK_RCVBUF_LOCK {
		t.Errorf("locks %d", got)
	}
	settled := room()
	if settled < leastRoom {
		t.Errorf("settled at %d bytes", settled)
	}
	for end := moved + 64<<20; moved < end; {
		pass()
	}
	if now := room(); now != settled {
		t.Errorf("settled at %d bytes, now %d", settled, now)
	}
}

func sysctl(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is enough depends on the distance: a far source needs the room that the
// kernel gives it.
func TestRoomEnough(t *testing.T) {
	const unknown = 1<<32 - 1 // no round trip was measured
	for _, tt := range []struct {
		room int
		rtt  uint32 // microseconds
		want bool
	}{
		{leastRoom - 1, 20, false},
		{leastRoom, 20, true},
		{leastRoom, 512, true},
		{leastRoom, 513, false},
		{4 << 20, 1000, true},
		{6 << 20, 2000, false}, // the most of Linux before 6.16
		{32 << 20, 8000, true},
		{32 << 20, 10_000, false},
		{32 << 20, unknown, false},
	} {
		if got := roomEnough(tt.room, tt.rtt); got != tt.want {
			t.Errorf("%d bytes for %d us: %t", tt.room, tt.rtt, got)
		}
	}
}

// A descriptor that is no TCP socket is left alone, and not asked again.
func TestSettleRoomOfOthers(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		defer func() { _ = unix.Close(fd) }() // open
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, leastRoom); err != nil {
		t.Skip("a large buffer takes CAP_NET_ADMIN:", err)
	}
	before, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		t.Skip("needs SO_BUF_LOCK, Linux 5.14:", err)
	}
	if !boundRoom(int32(fds[0])) {
		t.Error("it would be asked again")
	}
	if after, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_BUF_LOCK); err != nil || after != before {
		t.Errorf("locks %d became %d, %v", before, after, err)
	}
	if !boundRoom(-1) {
		t.Error("what is closed would be asked again")
	}
}
