package tlsparse

import (
	"bytes"
	"slices"
	"testing"
)

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

func next(t *testing.T, stream []byte) (Client, Status) {
	t.Helper()
	var c Client
	c.Reset(0)
	return c, c.Next(stream)
}

func TestClientWhole(t *testing.T) {
	msg := fullHello().message()
	stream := append(cut(msg), "later"...)
	c, st := next(t, stream)
	if st != Got || c.End() != len(stream)-5 {
		t.Fatalf("got %v, end %d of %d", st, c.End(), len(stream))
	}
	var h Hello
	if st := c.Parse(stream, nil, &h); st != Got {
		t.Fatal(st)
	}
	if h.Version != 0x0303 || !bytes.Equal(h.SessionID, fill(32, 3)) || !h.HasTicket || !bytes.Equal(h.Ticket, fill(192, 5)) ||
		!h.TLS13 || !h.EarlyData || !h.ECH || !h.HasPSK || h.ManyNames {
		t.Errorf("%+v", h)
	}
	if got := string(h.ServerName()); got != "www.example.com" {
		t.Errorf("name %q", got)
	}
	if h.PSKCount() != 2 || !bytes.Equal(h.PSK(0), fill(240, 1)) || !bytes.Equal(h.PSK(1), fill(32, 2)) || h.PSK(2) != nil || h.PSK(-1) != nil {
		t.Errorf("psk %x", h.psks)
	}
	if !h.HasALPN("h2") || !h.HasALPN("http/1.1") || h.HasALPN("http") {
		t.Errorf("alpn %q", h.ALPN)
	}
}

func TestClientEveryCut(t *testing.T) {
	msg := fullHello().message()
	var want Hello
	if !want.unmarshal(msg) {
		t.Fatal("not well-formed")
	}
	var streams [][]byte
	for i := 1; i < len(msg); i++ {
		streams = append(streams, cut(msg, i))
	}
	streams = append(streams, cut(msg), cutEach(msg, 1), cutEach(msg, 2), slices.Concat(bytes.Repeat(record(22, nil), 32), cut(msg)))
	scratch := make([]byte, DefaultHelloLimit)
	for _, stream := range streams {
		var c Client
		c.Reset(0)
		for n := range stream {
			if st := c.Next(stream[:n]); st != NeedMore {
				t.Fatalf("%v after %d of %d bytes", st, n, len(stream))
			}
		}
		var h Hello
		if st := c.Next(stream); st != Got || c.End() != len(stream) || c.Parse(stream, scratch, &h) != Got {
			t.Fatalf("%v, end %d of %d", st, c.End(), len(stream))
		}
		if !bytes.Equal(h.SessionID, want.SessionID) || !bytes.Equal(h.Ticket, want.Ticket) || !bytes.Equal(h.PSK(0), want.PSK(0)) || h.Shape != want.Shape {
			t.Fatal("another hello")
		}
	}
}
