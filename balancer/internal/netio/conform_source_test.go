//go:build linux

package netio

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection comes from the address that it is told to come from, a foreign one too where that is allowed; one that is
// nobody's is EADDRNOTAVAIL, and the destination is not blamed.
func testConnectFrom(t *testing.T, open opener) {
	r := newRig(t, open)
	l := listenPlain(t)
	for _, src := range []Source{{Addr: netip.MustParseAddr("127.77.0.1")}, {Addr: netip.MustParseAddr("::ffff:127.77.0.2")}} {
		s, errno := r.ConnectFrom(src, addrOf(l.Addr()), 41)
		if errno != 0 {
			t.Fatal(errno)
		}
		if c := r.take(OpConnect, s); c.Errno != 0 {
			t.Fatal(c.Errno)
		}
		r.send(s, []byte("x"))
		seen := addrOf(acceptPlain(t, l).RemoteAddr())
		if seen.Addr() != src.Addr.Unmap() || r.Local(s) != seen {
			t.Errorf("from %v: the peer sees %v, the socket is %v", src, seen, r.Local(s))
		}
		r.Close(s, true)
	}
	s, errno := r.ConnectFrom(Source{Addr: netip.MustParseAddr("192.0.2.77")}, addrOf(l.Addr()), 42)
	if errno == 0 {
		errno = r.take(OpConnect, s).Errno
	}
	if errno != ErrNoPort {
		t.Errorf("from nobody's address: %v", errno)
	}
	err := CanBeForeign()
	if os.Getuid() == 0 && err != nil {
		t.Skip("root without CAP_NET_ADMIN: ", err)
	}
	s, errno = r.ConnectFrom(Source{Addr: netip.MustParseAddr("198.51.100.9"), Foreign: true}, addrOf(l.Addr()), 43)
	switch {
	case err != nil && errno != unix.EPERM:
		t.Errorf("foreign without the capability: %v", errno)
	case err == nil && errno != 0:
		t.Errorf("foreign: %v", errno)
	case err == nil:
		if got := r.Local(s).Addr(); got != netip.MustParseAddr("198.51.100.9") {
			t.Errorf("foreign: the socket is %v", got)
		}
		r.Close(s, true)
	}
}
