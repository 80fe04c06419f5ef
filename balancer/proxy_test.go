//go:build linux

package balancer

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"homing/balancer/pool"
	"homing/balancer/proxyheader"
)

// header is what a proxy or the balancer says first.
func header(t testing.TB, v proxyheader.Version, h proxyheader.Header) []byte {
	t.Helper()
	text, err := proxyheader.Append(nil, v, &h)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func portOf(c net.Conn) netip.AddrPort {
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func everybody() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// The header that a backend gets says who the client is and what it connected to, in both versions, behind each replay
// too, and what the client says follows it byte for byte.
func TestHeaderSent(t *testing.T) {
	for _, v := range []pool.ProxyHeader{pool.ProxyV1, pool.ProxyV2} {
		t.Run(v.String(), func(t *testing.T) {
			r := newRig(t)
			r.unserved() // the hello goes there first, or not: each backend gets one header
			r.serveByHand()
			r.startPool(pool.Options{ProxyHeader: v})
			for range 2 {
				c := r.dial()
				first := hello{names: []string{"WWW.a.test."}, tls13: true}.bytes()
				write(t, c, first)
				b := r.arrival()
				said := proxyheader.Header{Client: portOf(c), Local: netip.MustParseAddrPort(r.addr), Name: []byte("www.a.test")}
				want := append(header(t, proxyheader.Version(v), said), first...)
				if got := read(t, b, len(want)); !bytes.Equal(got, want) {
					t.Fatalf("the backend got\n%q, want\n%q", got, want)
				}
				r.talk(c, b, 1<<20, backend(answer{}.bytes()), client([]byte("more")))
				c.Close()
			}
		})
	}
}

// A header from a trusted proxy is taken off however it is cut, and its client counts: in the record, towards the
// backend, and for what is known of a client.
func TestHeaderTaken(t *testing.T) {
	who := proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("192.0.2.1:443")}
	first := hello{names: []string{"a.test"}, tls13: true}.bytes()
	for _, size := range []int{1, 7, 1 << 20} {
		for _, v := range []proxyheader.Version{proxyheader.V1, proxyheader.V2} {
			r := newRig(t)
			r.serveByHand()
			r.startPool(pool.Options{ProxyHeader: pool.ProxyV2}, func(c *Config) { c.Listeners[0].AcceptProxy = everybody() })
			c := r.dial()
			for rest := append(header(t, v, who), first...); len(rest) > 0; {
				n := min(size, len(rest))
				write(t, c, rest[:n])
				rest = rest[n:]
			}
			b := r.arrival()
			passed := who
			passed.Name = []byte("a.test")
			want := append(header(t, proxyheader.V2, passed), first...)
			if got := read(t, b, len(want)); !bytes.Equal(got, want) {
				t.Fatalf("the backend got\n%q, want\n%q", got, want)
			}
			r.talk(c, b, 1<<20, backend(answer{}.bytes()))
			c.Close()
			b.Close()
			if rec := r.last(1); rec.Client != who.Client {
				t.Errorf("in pieces of %d: the record has the client %v", size, rec.Client)
			}
			r.stop()
		}
	}
}

// Nobody is spoken for by LOCAL, or by a connection of another kind than TCP: the peer itself is the client, as for the
// checks of a proxy in front. A header may be long.
func TestHeaderLocal(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.Listeners[0].AcceptProxy = everybody() })
	v2 := func(command, family byte, block []byte) []byte {
		return append(append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family, byte(len(block)>>8), byte(len(block))), block...)
	}
	padded := append(make([]byte, 216), append([]byte{0x04, byte((16384 - 219) >> 8), byte((16384 - 219) & 0xff)}, make([]byte, 16384-219)...)...)
	for i, said := range [][]byte{
		header(t, proxyheader.V2, proxyheader.Header{}),
		header(t, proxyheader.V1, proxyheader.Header{}),
		v2(0x20, 0x11, make([]byte, 12)),
		v2(0x21, 0x00, nil),
		v2(0x21, 0x12, make([]byte, 12)),
		v2(0x21, 0x31, make([]byte, 216)),
		v2(0x21, 0x31, padded),
	} {
		c := r.dial()
		first := hello{tls13: true}.bytes()
		r.pieces(c, r.b.Stats().BytesIn, said[:len(said)-1])
		write(t, c, append(said[len(said)-1:], first...))
		b := r.arrival()
		if got := read(t, b, len(first)); !bytes.Equal(got, first) {
			t.Fatalf("the backend got %q", got)
		}
		from := portOf(c)
		c.Close()
		b.Close()
		if rec := r.last(i + 1); rec.Client != from {
			t.Errorf("header %d: the record has the client %v, want %v", i, rec.Client, from)
		}
	}
}

// A header that is missing, malformed, endless, or from somebody who may not send one is refused, and no backend hears
// of it.
func TestHeaderRefused(t *testing.T) {
	trusted, others := everybody(), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	good := header(t, proxyheader.V1, proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.7:1"), Local: netip.MustParseAddrPort("192.0.2.1:443")})
	binary := header(t, proxyheader.V2, proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.7:1"), Local: netip.MustParseAddrPort("192.0.2.1:443")})
	plain := hello{tls13: true}.bytes()
	lying := func(header []byte, value string) []byte {
		header = append(bytes.Clone(header), value...)
		header[15] += byte(len(value))
		return header
	}
	for name, c := range map[string]struct {
		networks []netip.Prefix
		sent     []byte
	}{
		"missing":               {trusted, plain},
		"value too long":        {trusted, append(lying(binary, "\x04\x00\x09x"), plain...)},
		"wrong checksum":        {trusted, append(lying(binary, "\x03\x00\x04abcd"), plain...)},
		"malformed":             {trusted, []byte("PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n")},
		"endless":               {trusted, append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 200)...)},
		"spoofed, version 1":    {others, append(bytes.Clone(good), plain...)},
		"spoofed, version 2":    {others, append(bytes.Clone(binary), plain...)},
		"two, one behind other": {trusted, append(bytes.Clone(good), append(bytes.Clone(good), plain...)...)},
	} {
		r := newRig(t)
		r.serve(func(*net.TCPConn) { t.Errorf("%s: a backend was asked", name) })
		r.start(func(cfg *Config) { cfg.Listeners[0].AcceptProxy = c.networks })
		conn := r.dial()
		write(t, conn, c.sent)
		if rec := r.ends(1, "PH"); rec.Refused != RefusedHeader {
			t.Errorf("%s: refused for %v", name, rec.Refused)
		}
		if s := r.b.Stats(); s.Refused[RefusedHeader] != 1 || s.Connects != 0 {
			t.Errorf("%s: %v refused, %d connects", name, s.Refused, s.Connects)
		}
		r.stop()
	}
}
