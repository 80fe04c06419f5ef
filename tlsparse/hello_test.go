package tlsparse

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func extensionsOnly(extensions ...[]byte) helloSpec { return helloSpec{extensions: extensions} }

// TestHelloInvalid has one sentence for each way to be malformed; the naive
// parser must find the same.
func TestHelloInvalid(t *testing.T) {
	binders := func(n int) []byte { return vec16(bytes.Repeat(vec8(fill(32, 1)), n)) }
	identity := join(vec16(fill(40, 1)), u32(1))
	for _, tt := range []struct {
		name string
		spec helloSpec
	}{
		{"a session ID of 33 bytes", helloSpec{sessionID: fill(33, 1)}},
		{"no cipher suites", helloSpec{suites: []byte{}}},
		{"half a cipher suite", helloSpec{suites: fill(3, 1)}},
		{"no compression methods", helloSpec{compression: []byte{}}},
		{"a byte behind the extensions", helloSpec{extensions: [][]byte{sni("a")}, trailer: u8(0)}},
		{"a byte in place of the extensions", helloSpec{trailer: u8(0)}},
		{"an extension block that is too long", helloSpec{trailer: join(u16(9), ext(35))}},
		{"half an extension header", extensionsOnly(ext(35), u16(23))},
		{"an extension longer than the block", extensionsOnly(join(u16(35), u16(1)))},
		{"a duplicate extension", extensionsOnly(ext(35), ext(23), ext(35))},
		{"a duplicate of an unknown extension", extensionsOnly(ext(0x1234), ext(23), ext(0x1234))},
		{"the highest type twice", extensionsOnly(ext(0xffff), ext(0xffff))},
		{"an empty server_name", extensionsOnly(ext(0))},
		{"an empty list of names", extensionsOnly(ext(0, u16(0)))},
		{"an empty name", extensionsOnly(sni(""))},
		{"an empty second name", extensionsOnly(sni("a", ""))},
		{"half a name", extensionsOnly(ext(0, vec16(u8(0), u16(2), u8('a'))))},
		{"a byte behind the names", extensionsOnly(join(u16(0), vec16(vec16(u8(0), vec16(u8('a'))), u8(0))))},
		{"an empty ALPN", extensionsOnly(ext(16))},
		{"an empty list of protocols", extensionsOnly(ext(16, u16(0)))},
		{"an empty protocol", extensionsOnly(alpn("h2", ""))},
		{"half a protocol", extensionsOnly(ext(16, vec16(u8(3), u16(0))))},
		{"a byte behind the protocols", extensionsOnly(ext(16, vec16(vec8(u8('a'))), u8(0)))},
		{"empty supported_versions", extensionsOnly(ext(43))},
		{"an empty list of versions", extensionsOnly(versions())},
		{"half a version", extensionsOnly(ext(43, vec8(fill(3, 1))))},
		{"a byte behind the versions", extensionsOnly(ext(43, vec8(u16(0x0304)), u8(0)))},
		{"early_data with a body", extensionsOnly(ext(42, u32(1)))},
		{"pre_shared_key before another", extensionsOnly(psk(fill(40, 1)), ext(35))},
		{"an empty pre_shared_key", extensionsOnly(ext(41))},
		{"no identities", extensionsOnly(ext(41, u16(0), binders(1)))},
		{"no binders", extensionsOnly(ext(41, vec16(identity), u16(0)))},
		{"no list of binders", extensionsOnly(ext(41, vec16(identity)))},
		{"fewer binders than identities", extensionsOnly(ext(41, vec16(identity, identity), binders(1)))},
		{"more binders than identities", extensionsOnly(ext(41, vec16(identity), binders(2)))},
		{"an empty binder", extensionsOnly(ext(41, vec16(identity), vec16(vec8())))},
		{"half a binder", extensionsOnly(ext(41, vec16(identity), vec16(u8(32), fill(31, 1))))},
		{"an empty identity", extensionsOnly(psk(fill(40, 1), nil))},
		{"an identity without its age", extensionsOnly(ext(41, vec16(vec16(fill(40, 1))), binders(1)))},
		{"a byte behind the binders", extensionsOnly(ext(41, vec16(identity), binders(1), u8(0)))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream := cut(tt.spec.message())
			r := read(stream, 0, false)
			if r.status != Invalid || r.tooLong {
				t.Errorf("%v", r.status)
			}
			if d := r.differs(naiveClient(stream, DefaultHelloLimit, false)); d != "" {
				t.Error(d)
			}
			if r.hello.SessionID != nil || r.hello.Shape != 0 || r.hello.HasTicket {
				t.Error("something is left in the hello")
			}
			// The set of extensions seen is clean again: a good hello is good.
			if h := r.hello; !h.unmarshal(fullHello().message()) || h.seen != (extensionSet{}) {
				t.Error("a good hello after it is not")
			}
		})
	}
}

// TestHelloTruncated cuts every recorded hello short and mends the lengths above
// the cut, so that only the parser of the fields can notice.
func TestHelloTruncated(t *testing.T) {
	for _, g := range loadGoldens(t) {
		msg := naiveFrame(g.stream, DefaultHelloLimit, g.second).message
		for n := 4; n < len(msg); n++ {
			short := message(1, msg[4:n])
			got := read(cutEach(short, 1<<14), 0, false)
			want := naiveClient(cutEach(short, 1<<14), DefaultHelloLimit, false)
			if d := got.differs(want); d != "" {
				t.Fatalf("%s at %d: %s", g.name, n, d)
			}
			// A hello may end behind its compression methods, nowhere else.
			if got.status == Got && len(want.types) > 0 {
				t.Fatalf("%s: a hello at %d of %d", g.name, n, len(msg))
			}
		}
	}
}

// none says why a hello with a server_name has no name to go by.
func none(h *Hello) string {
	switch {
	case h.ManyNames && h.NoHostName:
		return "both"
	case h.ManyNames:
		return "many names"
	case h.NoHostName:
		return "no host name"
	}
	return ""
}

func TestServerNames(t *testing.T) {
	long := strings.Repeat("a.", 127)
	other := func(name string) []byte { return join(u8(1), vec16([]byte(name))) }
	host := func(name string) []byte { return join(u8(0), vec16([]byte(name))) }
	for _, tt := range []struct {
		name string
		ext  []byte
		want string
		none string
	}{
		{"plain", sni("example.com"), "example.com", ""},
		{"upper case", sni("EXAMPLE.Com"), "example.com", ""},
		{"trailing dot", sni("example.com."), "example.com", ""},
		{"only the last dot is cut", sni("example.com.."), "example.com.", ""},
		{"a dot", sni("."), "", "no host name"},
		{"255 bytes", sni(long + "x"), long + "x", ""},
		{"256 bytes", sni(long + "xx"), "", "no host name"},
		{"4,000 bytes", sni(strings.Repeat("a", 4000)), "", "no host name"},
		{"not ASCII, not folded", sni("\xc3\x84.EXAMPLE"), "\xc3\x84.example", ""},
		{"not printable, as crypto/tls has it", sni("a\x00b"), "a\x00b", ""},
		{"an address", sni("192.0.2.1"), "192.0.2.1", ""},
		{"the same name twice", sni("a.example", "a.example"), "", "many names"},
		{"two names", sni("a.example", "b.example"), "", "many names"},
		{"a long name and another", sni(strings.Repeat("a", 300), "b.example"), "", "many names"},
		{"a name of another type", ext(0, vec16(other("a"))), "", ""},
		{"a host name behind it", ext(0, vec16(other("a"), host("b.example"))), "b.example", ""},
		{"a host name before it", ext(0, vec16(host("b.example"), other("a"))), "b.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream := cut(extensionsOnly(tt.ext).message())
			r := read(stream, 0, false)
			if r.status != Got || string(r.hello.ServerName()) != tt.want || none(&r.hello) != tt.none {
				t.Errorf("%v: %q, %s", r.status, r.hello.ServerName(), none(&r.hello))
			}
			if d := r.differs(naiveClient(stream, DefaultHelloLimit, false)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestHelloReuse asserts that nothing of one hello is left in the next.
func TestHelloReuse(t *testing.T) {
	var h Hello
	if !h.unmarshal(fullHello().message()) || !h.unmarshal(helloSpec{}.message()) {
		t.Fatal("not well-formed")
	}
	got := reading{status: Got, hello: h}
	var fresh Hello
	fresh.unmarshal(helloSpec{}.message())
	want := reading{status: Got, hello: fresh}
	if got.String() != want.String() || h.PSK(0) != nil {
		t.Errorf("left over:\n%s", &got)
	}
}

// TestManyPSKs has more identities than a Hello keeps.
func TestManyPSKs(t *testing.T) {
	var ids [][]byte
	for i := range 100 {
		ids = append(ids, fill(40, i))
	}
	r := read(cut(extensionsOnly(psk(ids...)).message()), 0, false)
	if r.status != Got || r.hello.PSKCount() != 100 || !bytes.Equal(r.hello.PSK(7), ids[7]) || r.hello.PSK(8) != nil {
		t.Errorf("%v, %d", r.status, r.hello.PSKCount())
	}
}

// TestManyExtensions has as many extensions as 64 KiB hold: all different, and
// with the last one a duplicate of the first.
func TestManyExtensions(t *testing.T) {
	var all [][]byte
	for typ := range 16000 {
		all = append(all, ext(0x8000+typ)) // none that is read
	}
	if r := read(cutEach(extensionsOnly(all...).message(), 1<<14), MaxHelloLimit, false); r.status != Got {
		t.Errorf("16,000 extensions: %v", r.status)
	}
	all = append(all, all[0])
	if r := read(cutEach(extensionsOnly(all...).message(), 1<<14), MaxHelloLimit, false); r.status != Invalid {
		t.Errorf("16,000 and one: %v", r.status)
	}
}

// TestShapeRules asserts what does not change a shape, and what does.
func TestShapeRules(t *testing.T) {
	base := func() helloSpec {
		return helloSpec{suites: join(u16(0x1301), u16(0xc02f)), extensions: [][]byte{sni("a"), ext(10, u16(0)), ext(35), versions(0x0304)}}
	}
	shape := func(s helloSpec) uint64 { return read(cut(s.message()), 0, false).hello.Shape }
	want := shape(base())
	same := map[string]func(s *helloSpec){
		"order of extensions": func(s *helloSpec) { slices.Reverse(s.extensions) },
		"order of suites":     func(s *helloSpec) { s.suites = join(u16(0xc02f), u16(0x1301)) },
		"GREASE":              func(s *helloSpec) { s.suites = append(s.suites, 0x3a, 0x3a); s.extensions[2] = ext(0xfafa) },
		"padding, cookie, PSK": func(s *helloSpec) {
			s.extensions = append(s.extensions, ext(21), ext(44), ext(45), ext(42), psk(fill(40, 1)))
		},
		"session ID":   func(s *helloSpec) { s.sessionID = fill(32, 1) },
		"another name": func(s *helloSpec) { s.extensions[0] = sni("b") },
	}
	for name, change := range same {
		s := base()
		if change(&s); shape(s) != want {
			t.Errorf("%s changes the shape", name)
		}
	}
	other := map[string]func(s *helloSpec){
		"version":                      func(s *helloSpec) { s.version = 0x0302 },
		"another suite":                func(s *helloSpec) { s.suites = join(u16(0x1301), u16(0xc030)) },
		"another extension":            func(s *helloSpec) { s.extensions[1] = ext(11, u16(0)) },
		"no extensions":                func(s *helloSpec) { s.extensions = nil },
		"a suite that is no GREASE":    func(s *helloSpec) { s.suites = append(s.suites, 0x3a, 0x4a) },
		"an extension for its suite":   func(s *helloSpec) { s.suites = append(s.suites, 0, 99) },
		"the same number as extension": func(s *helloSpec) { s.extensions = append(s.extensions, ext(99)) },
	}
	seen := map[uint64]string{want: "the base"}
	for name, change := range other {
		s := base()
		change(&s)
		if twin, ok := seen[shape(s)]; ok {
			t.Errorf("%s has the shape of %s", name, twin)
		}
		seen[shape(s)] = name
	}
}

// The key shares are there as they stand; what is none ends the walk, and no hello is refused for it.
func TestKeyShares(t *testing.T) {
	share := func(group, size int) []byte { return join(u16(group), vec16(fill(size, 1))) }
	for _, tc := range []struct {
		name string
		body []byte
		want []uint16
	}{
		{"X25519MLKEM768 and X25519", vec16(share(0x11ec, 1216), share(29, 32)), []uint16{0x11ec, 29}},
		{"none: the server is to ask", vec16(), nil},
		{"nothing", nil, nil},
		{"a cut share", vec16(share(29, 32), []byte{0, 23, 0, 65}), []uint16{29}},
		{"a cut list", []byte{0, 9, 0, 29}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h Hello
			spec := extensionsOnly(ext(51, tc.body))
			if !h.unmarshal(spec.message()) {
				t.Fatal("refused")
			}
			var got []uint16
			for group, rest, ok := NextKeyShare(h.KeyShares); ok; group, rest, ok = NextKeyShare(rest) {
				got = append(got, group)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("groups %x, want %x", got, tc.want)
			}
		})
	}
}
