package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pires/go-proxyproto"
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
		"version 2, too long":           v2("\x21", "\x11", Max-fixed2+1, address),
		"version 2, client multicast":   v2("\x21", "\x11", 12, "\xe0"+address[1:]),
		"version 2, client unspecified": v2("\x21", "\x11", 12, "\x00\x00\x00\x00"+address[4:]),
		"version 2, family 4":           v2("\x21", "\x41", 12, address),
		"version 2, transport 3":        v2("\x21", "\x13", 12, address),
		"version 2, short path":         v2("\x21", "\x31", 215, strings.Repeat("x", 215)),
		"value cut in its head":         v2("\x21", "\x11", 14, address+"\x04\x00"),
		"value longer than the header":  v2("\x21", "\x11", 16, address+"\x04\x00\x02x"),
		"value of datagrams":            v2("\x21", "\x12", 16, address+"\x04\x00\x02x"),
		"authority of 256 bytes":        v2("\x21", "\x11", 12+3+256, address+"\x02\x01\x00"+strings.Repeat("a", 256)),
		"unique ID of 129 bytes":        v2("\x21", "\x11", 12+3+129, address+"\x05\x00\x81"+strings.Repeat("a", 129)),
		"checksum of 3 bytes":           v2("\x21", "\x11", 12+3+3, address+"\x03\x00\x03abc"),
		"checksum of 5 bytes":           v2("\x21", "\x11", 12+3+5, address+"\x03\x00\x05abcde"),
		"wrong checksum":                v2("\x21", "\x11", 12+3+4, address+"\x03\x00\x04\x00\x00\x00\x01"),
	} {
		if n, h, s := Read([]byte(text)); s != Invalid || n != 0 || h.Client.IsValid() {
			t.Errorf("%s is read as status %d, length %d, %v", name, s, n, h)
		}
	}
}

// summed is a header of version 2 over TCP and IPv4 with a checksum between other values, as the library makes it.
func summed(t testing.TB, padding int) []byte {
	t.Helper()
	header := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(four("1:50000")), net.TCPAddrFromAddrPort(four("2:443")))
	err := header.SetTLVs([]proxyproto.TLV{
		{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, padding)},
		{Type: proxyproto.PP2_TYPE_CRC32C, Value: make([]byte, 4)},
		{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("a.test")},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := header.Format()
	if err != nil {
		t.Fatal(err)
	}
	at := fixed2 + addresses4 + 3 + padding + 3
	binary.BigEndian.PutUint32(text[at:], crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
	return text
}

// TestChecksum: a right one is taken, and no byte of its header may differ but the one that makes it another value.
func TestChecksum(t *testing.T) {
	text := summed(t, 5)
	if n, h, s := Read(text); s != Got || n != len(text) || h.Client != four("1:50000") {
		t.Fatalf("status %d, length %d of %d, %v", s, n, len(text), h)
	}
	kind := fixed2 + addresses4 + 3 + 5
	for i := fixed2; i < len(text); i++ {
		if i == kind {
			continue
		}
		text[i] ^= 1
		if _, h, s := Read(text); s != Invalid && h.Client.IsValid() {
			t.Errorf("with another byte %d it is read as %v", i, h)
		}
		text[i] ^= 1
	}
}

// TestLongest: 16 KiB behind the fixed part, and not a byte more.
func TestLongest(t *testing.T) {
	room := Max - fixed2 - addresses4 - 3 - 7 - 9
	text := summed(t, room)
	if len(text) != Max {
		t.Fatalf("the test makes %d bytes, not %d", len(text), Max)
	}
	if _, _, s := Read(text[:Max-1]); s != NeedMore {
		t.Errorf("without its last byte: status %d", s)
	}
	if n, h, s := Read(text); s != Got || n != Max || h.Client != four("1:50000") {
		t.Errorf("status %d, length %d, %v", s, n, h)
	}
	if _, _, s := Read(summed(t, room+1)); s != Invalid {
		t.Errorf("one byte more: status %d", s)
	}
}

// TestNobody: what is of no kind that comes over TCP, or of the sender itself, leaves the peer's own address.
func TestNobody(t *testing.T) {
	for name, rest := range map[string]string{
		"LOCAL":                       "\x20\x00\x00\x00",
		"LOCAL with addresses":        "\x20\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x01\xbb",
		"LOCAL with something":        "\x20\x11\x00\x03abc",
		"LOCAL of an unknown family":  "\x20\x77\x00\x03abc",
		"UNSPEC":                      "\x21\x00\x00\x00",
		"UNSPEC with something":       "\x21\x00\x00\x05abcde",
		"datagrams over IPv4":         "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x01\xbb",
		"datagrams over IPv6":         "\x21\x22\x00\x24" + strings.Repeat("x", addresses6),
		"a stream of unix sockets":    "\x21\x31\x00\xd8" + strings.Repeat("/", addressesUnix),
		"datagrams of unix sockets":   "\x21\x32\x00\xd8" + strings.Repeat("/", addressesUnix),
		"unix sockets with a padding": "\x21\x31\x00\xdd" + strings.Repeat("/", addressesUnix) + "\x04\x00\x02xx",
	} {
		text := signature2 + rest
		if n, h, s := Read([]byte(text + "more")); s != Got || n != len(text) || h.Client.IsValid() || h.Local.IsValid() {
			t.Errorf("%s: status %d, length %d of %d, %v", name, s, n, len(text), h)
		}
	}
}

// TestWatch: a signature is known in any pieces and at its last byte; whatever differs, at the byte that does; and until
// then nothing is lost.
func TestWatch(t *testing.T) {
	for _, signature := range []string{signature1, signature2} {
		for i := range len(signature) {
			for j := i; j <= len(signature); j++ {
				var w Watch
				if s := w.Next([]byte(signature[:i])); s != NeedMore || w.Held() != signature[:i] {
					t.Fatalf("%q: status %d, %q held", signature[:i], s, w.Held())
				}
				want := NeedMore
				if j == len(signature) {
					want = Got
				}
				if s := w.Next([]byte(signature[i:j])); s != want || w.Held() != signature[:j] {
					t.Errorf("%q and %q: status %d, %q held", signature[:i], signature[i:j], s, w.Held())
				}
			}
			var w Watch
			w.Next([]byte(signature[:i]))
			if s := w.Next([]byte{signature[i] ^ 0x40}); s != Invalid || w.Held() != signature[:i] {
				t.Errorf("%q and another byte: status %d, %q held", signature[:i], s, w.Held())
			}
		}
	}
}

// TestReadAllocates: nothing, for version 2.
func TestReadAllocates(t *testing.T) {
	text := summed(t, 5)
	if n := testing.AllocsPerRun(100, func() { Read(text) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzWatch: however a stream is cut, the answer is that of its first bytes in one piece, and no byte of it is lost.
func FuzzWatch(f *testing.F) {
	for _, signature := range []string{signature1, signature2} {
		for i := range len(signature) + 1 {
			f.Add([]byte(signature+"x"), uint8(i))
			f.Add([]byte(signature[:i]+"x"), uint8(i))
			f.Add([]byte(signature[:i]), uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		want := Invalid
		for _, signature := range []string{signature1, signature2} {
			switch {
			case bytes.HasPrefix(b, []byte(signature)):
				want = Got
			case strings.HasPrefix(signature, string(b)):
				want = NeedMore
			}
		}
		var w Watch
		s := NeedMore
		said := ""
		for rest := b; len(rest) > 0 && s == NeedMore; {
			n := min(len(rest), max(int(size), 1))
			if s = w.Next(rest[:n]); s == NeedMore {
				said += string(rest[:n])
				if w.Held() != said {
					t.Fatalf("of %q only %q is held", said, w.Held())
				}
			}
			rest = rest[n:]
		}
		if s != want {
			t.Errorf("%q in pieces of %d: status %d, want %d", b, size, s, want)
		}
	})
}

// FuzzRead: what is read is what the library reads, but for what this package takes and the library does not, and the
// values, which the library splits and does not judge.
func FuzzRead(f *testing.F) {
	proxyproto.MaxV2HeaderSize = Max - fixed2
	f.Add(summed(f, 5))
	f.Add(summed(f, 300))
	for _, h := range []Header{{Client: four("1:50000"), Local: four("2:443"), Name: []byte("a.test")}, {Client: six("1]:50000"), Local: six("2]:443")}, {}} {
		for _, v := range []Version{V1, V2} {
			text, err := Append(nil, v, &h)
			if err != nil {
				f.Fatal(err)
			}
			for i := range text { // each place where it may be cut
				f.Add(text[:i+1])
			}
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
			sameAsLibrary(t, b[:n], h)
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

// sameAsLibrary compares what was read of one header.
func sameAsLibrary(t *testing.T, text []byte, h Header) {
	t.Helper()
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		if h.Client.IsValid() {
			t.Fatalf("%q is read as %v; the library says %v", text, h, err)
		}
		return // LOCAL of an unknown family, PROXY of none
	}
	var want Header
	if from, to, ok := header.TCPAddrs(); ok && header.Command.IsProxy() {
		want = Header{Client: plain(from.AddrPort()), Local: plain(to.AddrPort())}
	}
	if diff := cmp.Diff(want, h, addrs); diff != "" {
		t.Fatalf("%q:\n%s", text, diff)
	}
	if h.Client.IsValid() {
		if _, err := header.TLVs(); err != nil {
			t.Fatalf("%q is taken; the library says of its values: %v", text, err)
		}
	}
}
