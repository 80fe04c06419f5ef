//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSockaddr(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr   string
		length uintptr
		bytes  string // as the kernel reads them, behind the family
		want   string // what get gives; "": addr
	}{
		{addr: "0.0.0.0:0", length: 16, bytes: "\x00\x00\x00\x00\x00\x00"},
		{addr: "127.0.0.1:443", length: 16, bytes: "\x01\xbb\x7f\x00\x00\x01"},
		{addr: "255.254.253.252:65535", length: 16, bytes: "\xff\xff\xff\xfe\xfd\xfc"},
		{addr: "[::]:0", length: 28, bytes: "\x00\x00"},
		{addr: "[::1]:258", length: 28, bytes: "\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		{addr: "[2001:db8::f]:8443", length: 28, bytes: "\x20\xfb\x00\x00\x00\x00\x20\x01\x0d\xb8"},
		{addr: "[::ffff:10.1.2.3]:80", length: 16, bytes: "\x00\x50\x0a\x01\x02\x03", want: "10.1.2.3:80"},
		{addr: "[fe80::1%eth0]:80", length: 28, bytes: "\x00\x50", want: "[fe80::1]:80"}, // no zone is read
	} {
		sa := sockaddr{0: 0xff, 8: 0xff, sockaddrLen - 1: 0xff}
		if n := sa.put(netip.MustParseAddrPort(tt.addr)); n != tt.length {
			t.Errorf("%s: length %d, want %d", tt.addr, n, tt.length)
		}
		if got := string(sa[2 : 2+len(tt.bytes)]); got != tt.bytes {
			t.Errorf("%s: written as %x, want %x", tt.addr, got, tt.bytes)
		}
		if sa[sockaddrLen-1] == 0xff {
			t.Errorf("%s: remains of another address", tt.addr)
		}
		want := tt.want
		if want == "" {
			want = tt.addr
		}
		if got := sa.get(); got.String() != want {
			t.Errorf("%s: read as %v, want %s", tt.addr, got, want)
		}
	}
	for zone, want := range map[string]uint32{"lo": 1, "7": 7, "none-of-ours": 0, "longer-than-any-interface": 0} {
		var sa sockaddr
		sa.put(netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(zone), 80))
		if got := binary.NativeEndian.Uint32(sa[24:]); got != want {
			t.Errorf("zone %s has the number %d, want %d", zone, got, want)
		}
	}
	mapped := sockaddr{3: 80, 18: 0xff, 19: 0xff, 20: 10, 23: 1}
	binary.NativeEndian.PutUint16(mapped[:], unix.AF_INET6)
	if got := mapped.get(); got.String() != "10.0.0.1:80" {
		t.Errorf("what a dual-stack listener reports is read as %v", got)
	}
	var unknown sockaddr
	binary.NativeEndian.PutUint16(unknown[:], unix.AF_UNIX)
	if got := unknown.get(); got.IsValid() {
		t.Errorf("another family is read as %v", got)
	}
}

func FuzzSockaddr(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, uint16(80))
	f.Add(make([]byte, 16), uint16(0))
	f.Fuzz(func(t *testing.T, ip []byte, port uint16) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		var sa sockaddr
		sa.put(netip.AddrPortFrom(addr, port))
		if got, want := sa.get(), netip.AddrPortFrom(addr.Unmap(), port); got != want {
			t.Errorf("%v is read as %v", want, got)
		}
	})
}
