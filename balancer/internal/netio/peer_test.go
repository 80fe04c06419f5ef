//go:build linux

package netio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// option is a socket option of type int.
type option struct{ level, name, value int }

// small makes a connection that holds a few kilobytes only; the segment size
// keeps the tiny window from being silly.
var small = []option{
	{unix.SOL_SOCKET, unix.SO_SNDBUF, 8 << 10},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, 8 << 10},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1024},
}

// hurry sends the ACK to l that would wait 200 ms for a first Send to ride on.
func hurry(t testing.TB, l *net.TCPListener) {
	t.Helper()
	if err := unix.SetsockoptInt(descriptorOf(t, l.Addr()), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 2); err != nil {
		t.Fatal(err)
	}
}

func listenPlain(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l
}

func acceptPlain(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(patience)) // an open listener
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	return bound(t, conn)
}

func dial(t testing.TB, addr netip.AddrPort, options ...option) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var errs []error
		err := raw.Control(func(fd uintptr) {
			for _, o := range options {
				errs = append(errs, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
			}
		})
		return errors.Join(append(errs, err)...)
	}}
	conn, err := d.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return bound(t, conn.(*net.TCPConn))
}

// bound gives every call on conn a deadline, and closes it with the test.
func bound(t testing.TB, conn *net.TCPConn) *net.TCPConn {
	_ = conn.SetDeadline(time.Now().Add(2 * patience)) // an open conn
	t.Cleanup(func() { _ = conn.Close() })             // a test may have closed it
	return conn
}

func addrOf(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func write(t testing.TB, conn *net.TCPConn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, conn *net.TCPConn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("read %d of %d bytes: %v", got, n, err)
	}
	return b
}

// wantEnd reads conn's end: nil for FIN, or an errno.
func wantEnd(t testing.TB, conn *net.TCPConn, want error) {
	t.Helper()
	if want == nil {
		want = io.EOF
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("peer reads %d bytes, %v; want %v", n, err, want)
	}
}

// abort closes conn with RST.
func abort(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

func closeWrite(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// noise is a stream of bytes that two sides can make alike.
func noise(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func noiseBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = noise(seed).Read(b) // never fails
	return b
}

// feed writes total bytes of noise in chunks of random sizes, then FIN. It runs
// on a goroutine of its own.
func feed(conn *net.TCPConn, seed byte, total, chunk int) error {
	src, size := noise(seed), rand.New(rand.NewPCG(1, uint64(seed)))
	for buf := make([]byte, chunk); total > 0; {
		b := buf[:min(total, 1+size.IntN(chunk))]
		_, _ = src.Read(b) // never fails
		n, err := conn.Write(b)
		if err != nil {
			return err
		}
		total -= n
	}
	return conn.CloseWrite()
}

// drink reads to FIN in chunks of random sizes and compares with feed's bytes.
func drink(conn *net.TCPConn, seed byte, total, chunk int) error {
	src, size := noise(seed), rand.New(rand.NewPCG(2, uint64(seed)))
	got := 0
	for buf, want := make([]byte, chunk), make([]byte, chunk); ; {
		n, err := conn.Read(buf[:1+size.IntN(chunk)])
		_, _ = src.Read(want[:n]) // never fails
		if !bytes.Equal(buf[:n], want[:n]) {
			return errors.New("other bytes than were sent, within " + strconv.Itoa(n) + " after " + strconv.Itoa(got))
		}
		got += n
		switch {
		case errors.Is(err, io.EOF) && got == total:
			return nil
		case err != nil:
			return errors.Join(err, errors.New("after "+strconv.Itoa(got)+" of "+strconv.Itoa(total)+" bytes"))
		}
	}
}

// descriptors lists the process's open descriptors.
func descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		// The one that reads the directory has no target any more.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

// descriptorOf finds the descriptor of the engine's socket that is connected to
// peer.
func descriptorOf(t testing.TB, peer net.Addr) int {
	t.Helper()
	fd := findDescriptor(t, peer)
	if fd < 0 {
		t.Fatal("the engine's socket has no descriptor")
	}
	return fd
}

// hasPeer reports whether the engine has a socket that is connected to peer.
func hasPeer(t testing.TB, peer net.Addr) bool { return findDescriptor(t, peer) >= 0 }

func findDescriptor(t testing.TB, peer net.Addr) int {
	t.Helper()
	for _, d := range descriptors(t) {
		var fd int
		for i := 0; i < len(d) && d[i] >= '0' && d[i] <= '9'; i++ {
			fd = fd*10 + int(d[i]-'0')
		}
		sa, err := unix.Getpeername(fd)
		if err != nil {
			continue
		}
		if in, ok := sa.(*unix.SockaddrInet4); ok && netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)) == addrOf(peer) {
			return fd
		}
	}
	return -1
}

// noDescriptors makes every call that opens a descriptor fail with EMFILE until
// the returned function is called. It speaks for the whole process.
func noDescriptors(t testing.TB) (undo func()) {
	t.Helper()
	lowest, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(lowest) // ours
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}
}
