package tlsparse

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fullHello has every extension that is read, twice the usual number of PSKs.
func fullHello() helloSpec {
	return helloSpec{
		sessionID: fill(32, 3),
		extensions: [][]byte{
			sni("WWW.Example.com"), ext(35, fill(192, 5)), alpn("h2", "http/1.1"),
			versions(0x1a1a, 0x0304, 0x0303), ext(0xfe0d, fill(100, 2)), ext(42),
			psk(fill(240, 1), fill(32, 2)),
		},
	}
}

func TestClientFields(t *testing.T) {
	stream := append(cut(fullHello().message()), "a later byte"...)
	r := read(stream, 0, false)
	if r.status != Got || r.end != len(stream)-len("a later byte") {
		t.Fatalf("%v, end %d of %d", r.status, r.end, len(stream))
	}
	h := &r.hello
	if h.Version != 0x0303 || !bytes.Equal(h.SessionID, fill(32, 3)) || !h.HasTicket || !bytes.Equal(h.Ticket, fill(192, 5)) ||
		!h.TLS13 || !h.EarlyData || !h.ECH || !h.HasPSK || h.ManyNames {
		t.Errorf("fields:\n%s", &r)
	}
	if got := string(h.ServerName()); got != "www.example.com" {
		t.Errorf("name %q", got)
	}
	if h.PSKCount() != 2 || !bytes.Equal(h.PSK(0), fill(240, 1)) || !bytes.Equal(h.PSK(1), fill(32, 2)) || h.PSK(2) != nil || h.PSK(-1) != nil {
		t.Errorf("PSKs:\n%s", &r)
	}
	if !h.offers("h2") || !h.offers("http/1.1") || h.offers("http") || (&Hello{}).offers("h2") {
		t.Errorf("ALPN %q", h.ALPN)
	}
}

// prefixes asserts that stream is a hello to its last byte: every strict prefix
// is NeedMore, seen for the first time (not in long streams: that is quadratic)
// and byte by byte. It returns the reading.
func prefixes(t *testing.T, what string, stream []byte, limit int, second bool) reading {
	t.Helper()
	grown := newClient(limit, second)
	for n := range stream {
		if st := grown.Next(stream[:n]); st != NeedMore {
			t.Fatalf("%s: %v when %d of %d bytes have come one by one", what, st, n, len(stream))
		}
		if len(stream) > 3000 && n%50 != 0 {
			continue
		}
		if st := newClient(limit, second).Next(stream[:n]); st != NeedMore {
			t.Fatalf("%s: %v for the first %d of %d bytes", what, st, n, len(stream))
		}
	}
	r := finish(grown, stream, grown.Next(stream))
	if r.status != Got || r.end != len(stream) {
		t.Fatalf("%s: %v, end %d of %d", what, r.status, r.end, len(stream))
	}
	return r
}

// TestClientEveryPrefix takes each recorded hello as it was sent.
func TestClientEveryPrefix(t *testing.T) {
	for _, g := range loadGoldens(t) {
		want := read(g.stream, 0, g.second)
		if got := prefixes(t, g.name, g.stream, 0, g.second); !got.equal(&want) {
			t.Errorf("%s, byte by byte:\n%s", g.name, &got)
		}
		// Each cut in two segments.
		for n := range g.stream {
			c := newClient(0, g.second)
			c.Next(g.stream[:n])
			if got := finish(c, g.stream, c.Next(g.stream)); got.end != want.end || !got.equal(&want) {
				t.Fatalf("%s, cut at %d:\n%s", g.name, n, &got)
			}
		}
	}
}

// TestClientEveryRecordCut takes each recorded hello and cuts it anew over two
// records at every point, and over records of equal size.
func TestClientEveryRecordCut(t *testing.T) {
	for _, g := range loadGoldens(t) {
		msg := naiveFrame(g.stream, DefaultHelloLimit, g.second).message
		want := read(g.stream, 0, g.second)
		for n := 1; n < len(msg); n++ {
			stream := cut(msg, n)
			if got := read(stream, 0, false); got.end != len(stream) || !got.equal(&want) {
				t.Fatalf("%s, records cut at %d:\n%s", g.name, n, &got)
			}
		}
		for _, n := range []int{1, 2, 3, 5, 100} {
			if got := prefixes(t, g.name, cutEach(msg, n), 0, false); !got.equal(&want) {
				t.Fatalf("%s, in records of %d bytes:\n%s", g.name, n, &got)
			}
		}
	}
}

// TestClientPrefixOfCut combines both: a hello over two records, cut at every
// point, and every prefix of that.
func TestClientPrefixOfCut(t *testing.T) {
	msg := fullHello().message()
	want := read(cut(msg), 0, false)
	for n := 1; n < len(msg); n++ {
		got := prefixes(t, fmt.Sprintf("records cut at %d", n), cut(msg, n), 0, false)
		if !got.equal(&want) {
			t.Fatalf("cut at %d:\n%s", n, &got)
		}
	}
}

func TestClientFraming(t *testing.T) {
	msg := fullHello().message()
	empty := record(22, nil)
	minimal := helloSpec{}.message()
	bigHello := func(size int) []byte {
		base := len(helloSpec{extensions: [][]byte{ext(21)}}.message())
		return helloSpec{extensions: [][]byte{ext(21, make([]byte, size-base))}}.message()
	}
	tests := []struct {
		name   string
		stream []byte
		limit  int
		want   Status
	}{
		{"nothing", nil, 0, NeedMore},
		{"32 empty records in front", join(bytes.Repeat(empty, 32), cut(msg)), 0, Got},
		{"33 empty records in front", join(bytes.Repeat(empty, 33), cut(msg)), 0, Invalid},
		{"empty records inside", join(record(22, msg[:2]), empty, empty, record(22, msg[2:])), 0, Got},
		{"nothing but empty records", bytes.Repeat(empty, 33), 0, Invalid},
		{"a record of 2^14 bytes", join(u8(22), u16(0x0301), u16(1<<14)), 0, NeedMore},
		{"a longer record", join(u8(22), u16(0x0301), u16(1<<14+1)), 0, Invalid},
		{"an SSL 3.0 record", join(u8(22), u16(0x0300), vec16(msg)), 0, Got},
		{"a record of the future", join(u8(22), u16(0x03ff), vec16(msg)), 0, Got},
		{"major version 4", join(u8(22), u16(0x0401), vec16(msg)), 0, Opaque},
		{"major version 4, two bytes", join(u8(22), u8(4)), 0, Opaque},
		{"an alert first", record(21, []byte{1, 0}), 0, Opaque},
		{"application data first", record(23, fill(40, 1)), 0, Opaque},
		{"change cipher spec first", record(20, u8(1)), 0, Opaque},
		{"an alert inside", join(record(22, msg[:9]), record(21, []byte{1, 0})), 0, Invalid},
		{"change cipher spec inside", join(record(22, msg[:9]), record(20, u8(1))), 0, Invalid},
		{"another version inside", join(record(22, msg[:9]), u8(22), u8(2)), 0, Invalid},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), 0, Opaque},
		{"one byte of SSH", []byte("S"), 0, Opaque},
		{"a ServerHello", record(22, message(2, fill(70, 1))), 0, Opaque},
		{"a record that could be anything", []byte{22, 3, 1, 0, 4, 9}, 0, Opaque},
		{"no extensions at all", cut(minimal), 0, Got},
		{"an empty message", record(22, message(1, nil)), 0, Invalid},
		{"at the default limit", cutEach(bigHello(DefaultHelloLimit), 1<<14), 0, Got},
		{"above the default limit", cutEach(bigHello(DefaultHelloLimit+1), 1<<14), 0, Invalid},
		{"at a limit", cut(msg), len(msg), Got},
		{"above a limit", cut(msg), len(msg) - 1, Invalid},
		{"at the highest limit", cutEach(bigHello(MaxHelloLimit), 1<<14), MaxHelloLimit, Got},
		{"above the highest limit", cutEach(bigHello(MaxHelloLimit), 1<<14), MaxHelloLimit - 1, Invalid},
		{"a limit that is too high", cutEach(bigHello(MaxHelloLimit+1), 1<<14), 1 << 20, Invalid},
		{"16 MiB announced", cutEach(join([]byte{1, 255, 255, 255}, make([]byte, MaxHelloLimit-4)), 1<<14), MaxHelloLimit, Invalid},
		{"16 MiB announced, a byte less than the limit", cutEach(join([]byte{1, 255, 255, 255}, make([]byte, MaxHelloLimit-5)), 1<<14), MaxHelloLimit, NeedMore},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(tt.stream, tt.limit, false)
			if got.status != tt.want {
				t.Errorf("%v, want %v", got.status, tt.want)
			}
			if tooLong := tt.want == Invalid && (strings.Contains(tt.name, "above") || strings.Contains(tt.name, "16 MiB") || strings.Contains(tt.name, "too high")); got.tooLong != tooLong {
				t.Errorf("too long: %t", got.tooLong)
			}
			grown := newClient(tt.limit, false)
			for n := range tt.stream {
				grown.Next(tt.stream[:n])
			}
			if whole := finish(grown, tt.stream, grown.Next(tt.stream)); whole.end != got.end || !whole.equal(&got) {
				t.Errorf("byte by byte %v", whole.status)
			}
			limit := tt.limit
			if limit == 0 {
				limit = DefaultHelloLimit
			}
			if d := got.differs(naiveClient(tt.stream, min(limit, MaxHelloLimit), false)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestClientPart: of a hello that is longer than the limit, whatever that is, the name is read if its extension is there as
// a whole; so it is of one that has not all come. Nothing else than where it goes is told.
func TestClientPart(t *testing.T) {
	msgs := [][]byte{fullHello().message(), helloSpec{extensions: [][]byte{ext(21, fill(600, 0)), alpn("h2"), sni("last.test")}}.message()}
	for _, g := range loadGoldens(t) {
		if !g.second {
			msgs = append(msgs, naiveFrame(g.stream, DefaultHelloLimit, false).message)
		}
	}
	named := 0
	for _, msg := range msgs {
		whole := read(cut(msg), 0, false)
		for limit := 5; limit < len(msg); limit++ {
			for _, stream := range [][]byte{cut(msg), cutEach(msg, 100)} {
				var h Hello
				c := newClient(limit, false)
				if st := c.Next(stream); st != Invalid || !c.TooLong() {
					t.Fatalf("limit %d of %d: %v", limit, len(msg), st)
				}
				want := naivePart(msg, limit)
				got := c.ParsePart(stream, make([]byte, limit), &h)
				if got != (want != "") || string(h.ServerName()) != want {
					t.Fatalf("limit %d of %d: %t, name %q, want %q", limit, len(msg), got, h.ServerName(), want)
				}
				if got {
					named++
				}
				if h.ALPN != nil && !bytes.Equal(h.ALPN, whole.hello.ALPN) || h.HasPSK || h.PSKCount() > 0 || h.Ticket != nil || h.SessionID != nil {
					t.Fatalf("limit %d of %d: %+v", limit, len(msg), &h)
				}
				// The same of one that has come that far.
				some := stream[:c.End()]
				c = newClient(0, false)
				if st := c.Next(some); st != NeedMore || c.ParsePart(some, make([]byte, DefaultHelloLimit), &h) != got || string(h.ServerName()) != want {
					t.Fatalf("%d of %d bytes: %v, name %q, want %q", limit, len(msg), st, h.ServerName(), want)
				}
			}
		}
	}
	if named < 1000 {
		t.Errorf("a name was read %d times only", named)
	}
}

// TestClientPartOfNothing: what is malformed in its first bytes, has several names, or is whole, has no part to go by.
func TestClientPartOfNothing(t *testing.T) {
	pad := ext(21, fill(900, 0))
	for name, msg := range map[string][]byte{
		"no name":                  helloSpec{extensions: [][]byte{alpn("h2"), pad}}.message(),
		"two names":                helloSpec{extensions: [][]byte{sni("a.test", "b.test"), pad}}.message(),
		"two extensions":           helloSpec{extensions: [][]byte{sni("a.test"), sni("b.test"), pad}}.message(),
		"a name of nothing":        helloSpec{extensions: [][]byte{ext(0, vec16(u8(0), vec16())), pad}}.message(),
		"a block of another size":  helloSpec{extensions: [][]byte{sni("a.test"), pad}, trailer: fill(3, 1)}.message(),
		"PSK before others":        helloSpec{extensions: [][]byte{sni("a.test"), psk(fill(32, 1)), alpn("h2"), pad}}.message(),
		"a session ID of 33 bytes": helloSpec{sessionID: fill(33, 1), extensions: [][]byte{sni("a.test"), pad}}.message(),
		"no extensions":            join([]byte{1, 0, 4, 0}, helloSpec{}.message()[4:], make([]byte, 900)),
	} {
		c := newClient(500, false)
		stream := cut(msg)
		var h Hello
		if st := c.Next(stream); st != Invalid || !c.TooLong() {
			t.Fatalf("%s: %v", name, st)
		}
		if c.ParsePart(stream, make([]byte, 500), &h) || len(h.ServerName()) > 0 {
			t.Errorf("%s: goes to %q", name, h.ServerName())
		}
	}
	stream := cut(fullHello().message())
	c := newClient(0, false)
	var h Hello
	if c.ParsePart(stream, make([]byte, 500), &h) {
		t.Error("before Next")
	}
	c.Next(stream)
	if c.ParsePart(stream, make([]byte, 500), &h) {
		t.Error("after Got")
	}
}

// TestClientSSLv2 has the SSLv2-compatible hello of OpenSSL 0.9.8 (RFC 5246,
// Appendix E.2): decided at its first byte, and told from other things.
func TestClientSSLv2(t *testing.T) {
	body := join(u8(1), u16(0x0301), u16(9), u16(0), u16(16), []byte{0, 0, 0x2f, 1, 0, 0x80, 0, 0, 4}, fill(16, 1))
	stream := join(u16(0x8000|len(body)), body)
	for n := 1; n <= len(stream); n++ {
		if r := read(stream[:n], 0, false); r.status != Opaque || !r.sslv2 {
			t.Fatalf("%d bytes: %v, SSLv2 %t", n, r.status, r.sslv2)
		}
	}
	if r := read([]byte("\x00\x00\x00\x2d"), 0, false); r.status != Opaque || r.sslv2 {
		t.Errorf("SMB: %v, SSLv2 %t", r.status, r.sslv2)
	}
}

// TestClientMisuse asserts that nothing but an answer comes of calls in the wrong order.
func TestClientMisuse(t *testing.T) {
	stream := cut(fullHello().message(), 100)
	c := newClient(0, false)
	h := Hello{Version: 1}
	if st := c.Parse(stream, nil, &h); st != Invalid || h.Version != 0 {
		t.Errorf("Parse before Got: %v", st)
	}
	c.Next(stream[:50])
	if st := c.Next(stream[:20]); st != NeedMore {
		t.Errorf("a stream that shrinks: %v", st)
	}
	if st := c.Next(stream); st != Got {
		t.Fatal(st)
	}
	if st := c.Next(nil); st != Got {
		t.Errorf("after Got: %v", st)
	}
	scratch := make([]byte, 1000)
	for _, tt := range []struct {
		name            string
		stream, scratch []byte
	}{{"no scratch", stream, nil}, {"a shorter stream", stream[:200], scratch}, {"an empty stream", nil, scratch}} {
		if st := c.Parse(tt.stream, tt.scratch, &h); st != Invalid {
			t.Errorf("%s: %v", tt.name, st)
		}
	}
	if st := c.Parse(stream, scratch, &h); st != Got {
		t.Errorf("at last: %v", st)
	}
}

func TestClientSecond(t *testing.T) {
	hello := cut(fullHello().message(), 50, 60)
	ccs := record(20, u8(1))
	early := record(23, fill(1000, 1))
	for _, tt := range []struct {
		name   string
		stream []byte
		want   Status
	}{
		{"plain", hello, Got},
		{"change cipher spec", slices.Concat(ccs, hello), Got},
		{"refused early data", slices.Concat(ccs, early, early, hello), Got},
		{"early data first", slices.Concat(early, ccs, hello), Got},
		{"early data as long as a TLS 1.2 record", slices.Concat(bytes.Repeat(record(23, fill(1<<14, 1)), 4), hello), Invalid}, // above the limit
		{"a record of no length there is", join(u8(23), u16(0x0303), u16(maxCiphertext+1)), Invalid},
		{"change cipher spec of two bytes", slices.Concat(record(20, []byte{1, 1}), hello), Invalid},
		{"change cipher spec inside", slices.Concat(hello[:55], ccs, hello[55:]), Invalid},
		{"change cipher spec for ever", bytes.Repeat(ccs, 12000), Invalid},
		{"an alert", record(21, []byte{2, 40}), Opaque},
		{"0x80", []byte{0x80}, Opaque},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := read(tt.stream, 0, true)
			if got.status != tt.want || got.sslv2 {
				t.Errorf("%v, want %v", got.status, tt.want)
			}
			if got.status == Got && got.end != len(tt.stream) {
				t.Errorf("end %d of %d", got.end, len(tt.stream))
			}
			if d := got.differs(naiveClient(tt.stream, DefaultHelloLimit, true)); d != "" {
				t.Error(d)
			}
			if tt.want == Got {
				prefixes(t, tt.name, tt.stream, 0, true)
			}
		})
	}
}
