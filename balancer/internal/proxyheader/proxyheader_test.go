package proxyheader

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var addrs = cmp.Options{cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()}

func four(last string) netip.AddrPort { return netip.MustParseAddrPort("192.0.2." + last) }
func six(last string) netip.AddrPort  { return netip.MustParseAddrPort("[2001:db8::" + last) }

// TestThereAndBack: what is written is read as what was said, whole and never sooner, whatever follows.
func TestThereAndBack(t *testing.T) {
	for name, h := range map[string]Header{
		"IPv4":              {Client: four("1:50000"), Local: four("2:443")},
		"IPv6":              {Client: six("1]:50000"), Local: six("2]:443")},
		"with values":       {Client: four("1:1"), Local: four("2:65535"), Name: []byte("www.example.org"), ALPN: []byte("h2")},
		"IPv4 in IPv6":      {Client: netip.MustParseAddrPort("[::ffff:192.0.2.1]:50000"), Local: four("2:443")},
		"with a zone":       {Client: netip.MustParseAddrPort("[fe80::1%eth0]:50000"), Local: six("2]:443")},
		"of two families":   {Client: four("1:50000"), Local: six("2]:443")},
		"without addresses": {},
	} {
		for _, v := range []Version{V1, V2} {
			text, err := Append([]byte("x"), v, &h)
			if err != nil {
				t.Fatalf("%s, %v: %v", name, v, err)
			}
			text = text[1:]
			want := Header{Client: plain(h.Client), Local: plain(h.Local)}
			if !h.Client.IsValid() || h.Client.Addr().Unmap().Is4() != h.Local.Addr().Unmap().Is4() {
				want = Header{}
			}
			for i := range text {
				if n, _, s := Read(text[:i]); s != NeedMore || n != 0 {
					t.Fatalf("%s, %v: %d of %d bytes are read as status %d, length %d", name, v, i, len(text), s, n)
				}
			}
			n, got, s := Read(append(bytes.Clone(text), "\x16\x03\x01"...))
			if s != Got || n != len(text) {
				t.Fatalf("%s, %v: status %d, length %d of %d: %q", name, v, s, n, len(text), text)
			}
			if diff := cmp.Diff(want, got, addrs); diff != "" {
				t.Errorf("%s, %v:\n%s", name, v, diff)
			}
			if v == V2 && len(h.Name) > 0 && (!bytes.Contains(text, h.Name) || !bytes.Contains(text, h.ALPN)) {
				t.Errorf("%s: the values are not in %q", name, text)
			}
		}
	}
	if text, err := Append([]byte("x"), None, &Header{Client: four("1:1"), Local: four("2:2")}); err != nil || string(text) != "x" {
		t.Errorf("no header is %q, %v", text, err)
	}
	if _, err := Append(nil, V2, &Header{Client: four("1:1"), Local: four("2:2"), Name: bytes.Repeat([]byte("a"), 256)}); err == nil {
		t.Error("a name of 256 bytes is sent")
	}
}

// TestWireV1 is the example of the specification, section 2.1.
func TestWireV1(t *testing.T) {
	text, err := Append(nil, V1, &Header{Client: netip.MustParseAddrPort("192.168.0.1:56324"), Local: netip.MustParseAddrPort("192.168.0.11:443")})
	if want := "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
}

func TestInvalid(t *testing.T) {
	v2 := func(command, family string, length int, rest string) string {
		return signature2 + command + family + string([]byte{byte(length >> 8), byte(length)}) + rest
	}
	address := "\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x01\xbb"
	for name, text := range map[string]string{
		"a hello":                       "\x16\x03\x01\x01\x3c",
		"HTTP":                          "GET / HTTP/1.1\r\n",
		"version 1, no end":             "PROXY TCP4 192.0.2.1 192.0.2.2 " + strings.Repeat("1", maxLine),
		"version 1, no ports":           "PROXY TCP4 192.0.2.1 192.0.2.2\r\n",
		"version 1, port of six":        "PROXY TCP4 192.0.2.1 192.0.2.2 100000 443\r\n",
		"version 1, wrong family":       "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
		"version 1, name for address":   "PROXY TCP4 localhost 192.0.2.2 1 443\r\n",
		"version 1, client unspecified": "PROXY TCP4 0.0.0.0 192.0.2.2 1 443\r\n",
		"version 2, version 3":          v2("\x31", "\x11", 12, address),
		"version 2, command 2":          v2("\x22", "\x11", 12, address),
		"version 2, short addresses":    v2("\x21", "\x11", 4, address[:4]),
		"version 2, datagrams":          v2("\x21", "\x12", 12, address),
		"version 2, paths":              v2("\x21", "\x31", 216, strings.Repeat("x", 216)),
		"version 2, too long":           v2("\x21", "\x11", Max, address),
		"version 2, client multicast":   v2("\x21", "\x11", 12, "\xe0"+address[1:]),
	} {
		if n, h, s := Read([]byte(text)); s != Invalid || n != 0 || h.Client.IsValid() {
			t.Errorf("%s is read as status %d, length %d, %v", name, s, n, h)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, h := range []Header{{Client: four("1:50000"), Local: four("2:443"), Name: []byte("a.test")}, {Client: six("1]:50000"), Local: six("2]:443")}, {}} {
		for _, v := range []Version{V1, V2} {
			text, err := Append(nil, v, &h)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, h, s := Read(b)
		switch s {
		case Got:
			if n < 1 || n > len(b) || n > Max {
				t.Fatalf("length %d of %d", n, len(b))
			}
			// What follows does not matter, and no strict prefix is a header.
			if m, again, s := Read(b[:n]); m != n || s != Got || !cmp.Equal(h, again, addrs) {
				t.Fatalf("%q alone is read as %d, %v, %v", b[:n], m, again, s)
			}
			if _, _, s := Read(b[:n-1]); s != NeedMore {
				t.Fatalf("%q is status %d", b[:n-1], s)
			}
		case NeedMore:
			if len(b) >= Max {
				t.Fatalf("%d bytes and no end", len(b))
			}
		case Invalid:
			if n != 0 || h.Client.IsValid() {
				t.Fatalf("invalid, and says %d, %v", n, h)
			}
		}
	})
}
