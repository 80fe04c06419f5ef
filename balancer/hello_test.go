//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"homing/balancer/affinity"
)

// TestUnreadHello: unknown must not mean weaker. What cannot be read goes to the pool as fresh, byte for byte, or
// nowhere.
func TestUnreadHello(t *testing.T) {
	id := fixed('i')
	valid := hello{id: id}.bytes()
	for _, test := range []struct {
		name    string
		sent    []byte
		outcome HelloOutcome
	}{
		{"SSLv2", join([]byte{0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16}, make([]byte, 37)), HelloSSLv2},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), HelloOpaque},
		{"one byte", []byte("G"), HelloOpaque},
		{"a TLS server speaks", answer{id: id}.bytes(), HelloOpaque},
		{"trailing bytes in the hello", records(22, message(1, append(hello{id: id}.message()[4:], 1, 2, 3)), 1<<14), HelloInvalid},
		{"a broken second record", join(valid[:3], []byte{0, 10}, valid[5:15], []byte("no record")), HelloInvalid},
		{"beyond the limit", records(22, message(1, make([]byte, 64<<10)), 1<<14), HelloTooLong},
		{"a length beyond the limit, announced", records(22, join([]byte{1, 255, 255, 255}, make([]byte, 64<<10-4)), 1<<14), HelloTooLong},
		{"beyond the limit, with a name, and malformed", records(22, message(1, append(hello{names: []string{"a.test"}, pad: 60000, suites: 5000}.message()[4:], 1)), 1<<14), HelloTooLong},
		{"two server names", hello{id: id, names: []string{"a.test", "b.test"}}.bytes(), HelloNames},
		{"a server name of 4,000 bytes", hello{id: id, names: []string{strings.Repeat("a", 4000)}}.bytes(), HelloNoName},
		{"a dot for a server name", hello{id: id, names: []string{"."}}.bytes(), HelloNoName},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 2 {
				r.serveByHand()
			}
			r.start(func(c *Config) {
				strict := c.Listeners[0]
				strict.Name, strict.TLS = "strict", TLSRequire
				c.Listeners = append(c.Listeners, strict)
			})
			home := r.teachID(id) // an ID that would send a readable hello there
			for i := range 4 {
				c := r.dial()
				write(t, c, test.sent)
				b := r.arrival()
				if got := read(t, b, len(test.sent)); !bytes.Equal(got, test.sent) {
					t.Error("the bytes have changed on their way")
				}
				r.talk(c, b, 1<<20, backend(answer{id: fixed('j')}.bytes(), certificate(10), ccs()), client([]byte("and more")), backend([]byte("x")))
				c.Close()
				b.Close()
				rec := r.ends(2+i, "--")
				if rec.Hello != test.outcome || rec.Source != affinity.SourceFresh || rec.Offer != affinity.OfferNone {
					t.Errorf("hello %v, source %v, offer %v", rec.Hello, rec.Source, rec.Offer)
				}
			}
			if r.knows(learned{affinity.OfferID, fixed('j'), true}) {
				t.Error("learned from an answer to what was not read")
			}
			if n := home.taken.Load(); n != 3 { // taught, and half of the four
				t.Errorf("the home of the ID got %d conns of 5, not its share", n)
			}

			r.addr = r.b.Addrs()[1].String()
			c := r.dial()
			write(t, c, test.sent)
			if _, err := io.Copy(io.Discard, c); !isReset(err) {
				t.Errorf("tls: require: the client got %v, want RST", err)
			}
			rec := r.ends(6, "PH")
			if rec.Hello != test.outcome || rec.Backend.IsValid() {
				t.Errorf("tls: require: hello %v, backend %v", rec.Hello, rec.Backend)
			}
			if s := r.b.Stats(); s.Hellos[test.outcome] != 5 || s.Terminations[CauseRefused][PhaseHello] != 1 || s.Connects != 5 {
				t.Errorf("hellos %v, terminations %v, %d connects", s.Hellos, s.Terminations, s.Connects)
			} else if s.Refused[RefusedNoTLS] != 1 || rec.Refused != RefusedNoTLS || rec.Listener != "strict" || rec.Pool != "" {
				t.Errorf("refused %v, record %+v", s.Refused, rec)
			}
		})
	}
}

// TestHelloInPieces: a hello is found and found home however it is cut: over segments, over records of one byte, up to
// the limit that is set.
func TestHelloInPieces(t *testing.T) {
	ticket := named("sixteen bytes nm", 1)
	small := hello{ticket: ticket, names: []string{"A.Test."}}
	for _, test := range []struct {
		name  string
		sent  []byte
		limit int
		write int // bytes
	}{
		{"records of one byte", records(22, small.message(), 1), 0, 1 << 20},
		{"byte by byte", small.bytes(), 0, 1},
		{"records of one byte, byte by byte", records(22, small.message(), 1), 0, 1},
		{"16 KiB", paddedTo(small, 16<<10), 0, 1 << 20},
		{"16 KiB in records of one byte", records(22, paddedMessage(small, 16<<10), 1), 0, 1 << 20},
		{"64 KiB", paddedTo(small, 64<<10), 0, 1 << 20},
		{"64 KiB in records of 20 bytes", records(22, paddedMessage(small, 64<<10), 20), 0, 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveByHand()
			}
			r.start(func(c *Config) { c.HelloLimit = test.limit })
			home := r.teachTicket(ticket)
			c := r.dial()
			go func() {
				for rest := test.sent; len(rest) > 0; rest = rest[min(test.write, len(rest)):] {
					write(t, c, rest[:min(test.write, len(rest))])
				}
			}()
			b := r.arrival()
			if got := read(t, b, len(test.sent)); !bytes.Equal(got, test.sent) || b.server != home {
				t.Error("the hello has changed on its way, or has missed its home")
			}
			r.talk(c, b, 1<<20, backend(answer{}.bytes(), ccs()), client(ccs()))
			b.Close()
			c.Close()
			rec := r.ends(2, "--")
			if rec.SNI != "a.test" || rec.Verdict != VerdictAccepted || rec.Source != affinity.SourceSession {
				t.Errorf("record %+v", *rec)
			}
		})
	}
}

// TestHelloSizes: up to the limit a hello goes home, whatever it holds. Beyond, it goes where the name in its first
// bytes says, with tls: require too, and is fresh there; the bytes stay what they were. The longest that there can be
// has 128 KiB: what says that it has more is no hello.
func TestHelloSizes(t *testing.T) {
	const kib = 1 << 10
	named := []string{"a.test"}
	sized := func(h hello, n int) []byte {
		h.suites = max(n-60*kib, 0) / 2 // the extensions may have 64 KiB
		return paddedMessage(h, n)
	}
	psk := noName(1)
	for _, test := range []struct {
		name  string
		msg   []byte
		size  int // bytes in one record
		limit int
		home  bool // it is read whole
		pool  string
	}{
		{"17 KiB, name first", sized(hello{names: named, psks: [][]byte{psk}}, 17*kib), 1 << 14, 0, true, "a"},
		{"40 KiB, name last", sized(hello{names: named, psks: [][]byte{psk}, late: true}, 40*kib), 1 << 14, 0, true, "a"},
		{"64 KiB, name last", sized(hello{names: named, psks: [][]byte{psk}, late: true}, 64*kib), 1 << 14, 0, true, "a"},
		{"64 KiB in records of one byte", sized(hello{names: named, psks: [][]byte{psk}}, 64*kib), 1, 0, false, "a"},
		{"64 KiB and a byte, name first", sized(hello{names: named, psks: [][]byte{psk}}, 64*kib+1), 1 << 14, 0, false, "a"},
		{"70 KiB, name first", sized(hello{names: named, psks: [][]byte{psk}}, 70*kib), 1 << 14, 0, false, "a"},
		{"70 KiB, name last", sized(hello{names: named, psks: [][]byte{psk}, late: true}, 70*kib), 1 << 14, 0, false, "test"},
		{"100 KiB, name first", sized(hello{names: named, psks: [][]byte{psk}}, 100*kib), 1 << 14, 0, false, "a"},
		{"100 KiB, name and protocol", sized(hello{names: []string{"b.test"}, alpn: []string{"h2"}}, 100*kib), 1 << 14, 0, false, "h2"},
		{"17 KiB with a limit of 16, name first", sized(hello{names: named, psks: [][]byte{psk}}, 17*kib), 1 << 14, 16 * kib, false, "a"},
		{"200 KiB, name first", append(message(1, make([]byte, 200*kib))[:4], sized(hello{names: named}, 100*kib)[4:]...), 1 << 14, 0, false, "test"},
	} {
		for _, mode := range []TLSMode{TLSAuto, TLSRequire} {
			t.Run(test.name+", "+mode.String(), func(t *testing.T) {
				s := newSite(t, (*rig).serveByHand)
				s.start(s.routed, func(c *Config) { c.Listeners[0].TLS, c.HelloLimit = mode, test.limit })
				c := s.dial()
				sent := records(22, test.msg, test.size)
				go func() { _, _ = c.Write(sent) }() // a reset shows in what follows
				if mode == TLSRequire && test.pool == "test" {
					if rec := s.ends(1, "PH"); rec.Hello != HelloTooLong || rec.Refused != RefusedNoTLS {
						t.Errorf("record %+v", *rec)
					}
					return
				}
				b := s.arrival()
				if got := read(t, b, len(sent)); !bytes.Equal(got, sent) {
					t.Error("the hello has changed on its way")
				}
				if test.home {
					s.talk(c, b, 1<<20, backend(answer{tls13: true, psk: 1}.bytes(), appData(10)))
				} else {
					s.talk(c, b, 1<<20, backend([]byte("an answer")), client([]byte("and more")))
				}
				b.Close()
				c.Close()
				rec := s.last(1)
				verdict, outcome, name := VerdictNone, HelloTooLong, ""
				if test.home {
					verdict, outcome = VerdictAccepted, HelloTLS
				}
				if test.pool != "test" {
					name = "a.test"
					if test.pool == "h2" {
						name = "b.test"
					}
				}
				if rec.Pool != test.pool || rec.Verdict != verdict || rec.Hello != outcome || rec.SNI != name {
					t.Errorf("record %+v", *rec)
				}
			})
		}
	}
}

// TestHelloMemory: while it is not whole, a hello takes one buffer of 128 KiB at most, whatever its limit.
func TestHelloMemory(t *testing.T) {
	for _, size := range []int{1, 1 << 14} {
		r := newRig(t)
		r.serve(func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
		r.start()
		c := r.dial()
		sent := records(22, paddedMessage(hello{}, 64<<10), size)
		most := uint64(0)
		for at := 0; at < len(sent)-1; {
			n := min(4<<10, len(sent)-1-at)
			if _, err := c.Write(sent[at : at+n]); err != nil {
				break
			}
			at += n
			r.await("the piece is read", func() bool { s := r.b.Stats(); return s.BytesIn >= uint64(at) || s.PreHello == 0 })
			r.settle() // in the midst of a move both buffers count
			if s := r.b.Stats(); s.PreHello > 0 {
				most = max(most, s.BufferBytes)
			} else {
				break // given up
			}
		}
		if most < 64<<10 || most > 128<<10 {
			t.Errorf("in records of %d bytes: %d bytes of buffers", size, most)
		}
		r.stop()
	}
}

// paddedTo is h in records with a message of n bytes.
func paddedTo(h hello, n int) []byte { return records(22, paddedMessage(h, n), 1<<14) }

func paddedMessage(h hello, n int) []byte {
	h.pad = 1
	h.pad += n - len(h.message())
	return h.message()
}
