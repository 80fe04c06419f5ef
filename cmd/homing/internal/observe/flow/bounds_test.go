package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
	"homing/tlsparse"
)

// client n of many.
func clientOf(n int) ends {
	return ends{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 50000), usual.server}
}

// TestMaxConns: conns that are over give way to new ones, then those without a handshake, and what was open is closed with a
// reason.
func TestMaxConns(t *testing.T) {
	r := &recorder{tb: t}
	a := New(Config{MaxConns: 100, Handler: r})
	all := full(t)
	at := feed(t, a, clientOf(1), start, all[:second]) // a handshake goes on
	at = feed(t, a, clientOf(2), at, all[:reply])      // one is dark
	at = feed(t, a, clientOf(3), at, all)              // one is over
	for n := range 1000 {
		at = feed(t, a, clientOf(100+n), at, all[:1])
	}
	if s := a.Stats(); s.Open != 100 || len(a.conns) != 100 || s.Ends[EndMemory] != 902 {
		t.Errorf("%d open, %d in the table, %d evicted", s.Open, len(a.conns), s.Ends[EndMemory])
	}
	at = feed(t, a, clientOf(1), at, all[second:])
	if c := r.conns[0]; !c.Settled {
		t.Error("a handshake has given way to bare conns")
	}
	a.Flush()
	checkEmpty(t, a)
	if len(r.opened) > 0 {
		t.Errorf("%d conns are open still", len(r.opened))
	}
}

// TestMaxBytes: what handshakes hold is bounded, in order, ahead of something, and as fragments.
func TestMaxBytes(t *testing.T) {
	const most = 1 << 20
	hello := recorded(t)["TLS 1.3, full"][0].data
	for name, part := range map[string]func(n int) []seen{
		"part of a hello": func(int) []seen {
			return []seen{{from: client, seq: clientISN + 1, data: hello[:1000]}}
		},
		"ahead, in single bytes": func(n int) (all []seen) {
			for i := range 20 {
				all = append(all, seen{from: client, seq: clientISN + 10 + 2*uint32(i), data: hello[:1]})
			}
			return all
		},
		"an answer without a hello": func(int) []seen {
			return []seen{{from: server, seq: serverISN + 1, ack: clientISN + 1, data: make([]byte, 30_000)}}
		},
	} {
		r := &recorder{tb: t, quiet: true}
		a := New(Config{MaxBytes: most, Handler: r})
		at := start
		for n := range 2000 {
			at = feed(t, a, clientOf(n), at, segments(nil, 1)[:2])
			at = feed(t, a, clientOf(n), at, part(n))
			if a.held > most || a.libraryPages()*pageSize > most {
				t.Fatalf("%s: %d held, %d pages in the library", name, a.held, a.libraryPages())
			}
		}
		if s := a.Stats(); s.Ends[EndMemory] == 0 || s.Held < most/2 || s.MaxHeld > most+most/4 {
			t.Errorf("%s: %d evicted, %d held, %d at most", name, s.Ends[EndMemory], s.Held, s.MaxHeld)
		}
		a.Flush()
		checkEmpty(t, a)
	}
	r := &recorder{tb: t, quiet: true}
	a := New(Config{MaxBytes: most, Handler: r})
	big := full(t)[answer]
	for n := range 2000 {
		b := fragments(clientOf(n).frame(t, &big), layers.LinkTypeEthernet, 800)[0]
		a.Packet(capture.Packet{Time: start, Data: b, Length: len(b), LinkType: layers.LinkTypeEthernet})
		if held := a.Stats().Held; held > most {
			t.Fatalf("%d bytes of fragments are held", held)
		}
	}
}

// TestOneConn: what is kept of one conn is bounded, whatever it sends.
func TestOneConn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	hello := recorded(t)["TLS 1.3, full"][0].data
	chunk := make([]byte, 1400)
	for name, next := range map[string]func(i int) seen{
		"ahead for ever": func(i int) seen {
			return seen{from: client, seq: clientISN + 2 + uint32(i*len(chunk)), data: chunk}
		},
		"ahead anywhere": func(int) seen {
			return seen{from: client, seq: rng.Uint32(), data: chunk}
		},
		"early data without end": func(i int) seen {
			if i == 0 {
				return seen{from: client, seq: clientISN + 1, data: hello}
			}
			return seen{from: client, seq: clientISN + 1 + uint32(len(hello)+(i-1)*len(chunk)), data: chunk}
		},
		"a server that waits for no hello": func(i int) seen {
			return seen{from: server, seq: serverISN + 1 + uint32(i*len(chunk)), ack: clientISN + 1, data: chunk}
		},
		"a hello without end": func(i int) seen {
			b := []byte{22, 3, 1, 0, 1, 0}
			if i == 0 {
				b = []byte{22, 3, 1, 0, 4, 1, 0, 0xff, 0xff}
				return seen{from: client, seq: clientISN + 1, data: b}
			}
			return seen{from: client, seq: clientISN + 10 + uint32((i-1)*len(b)), data: b}
		},
	} {
		r := &recorder{tb: t, quiet: true}
		a := New(Config{Handler: r})
		at := feed(t, a, usual, start, segments(nil, 1)[:3])
		for i := range 10_000 {
			s := next(i)
			at = feed(t, a, usual, at, []seen{s})
			if a.held > 1<<20 {
				t.Fatalf("%s: %d bytes held", name, a.held)
			}
		}
		a.Flush()
		checkEmpty(t, a)
	}
}

// TestLate: what has gone quiet is closed as time passes, without a packet of its own; and a capture that begins a minute
// earlier is another one.
func TestLate(t *testing.T) {
	all := full(t)
	r := &recorder{tb: t}
	a := New(Config{Handler: r})
	at := feed(t, a, clientOf(1), start, all[:second])
	at = feed(t, a, clientOf(2), at, all[:reply])
	at = feed(t, a, clientOf(3), at, all)
	tick := func(t time.Time) {
		for range 4 {
			a.Packet(capture.Packet{Time: t})
		}
	}
	tick(at.Add(10 * time.Second))
	if n := len(a.conns); n != 2 {
		t.Errorf("%d conns in the table behind 10 seconds", n)
	}
	tick(at.Add(2 * time.Minute))
	if s := a.Stats(); s.Open != 1 || s.Ends[EndGap] != 1 && s.Ends[EndIdle] != 1 {
		t.Errorf("%d open behind 2 minutes: %v", s.Open, s.Ends)
	}
	at = feed(t, a, clientOf(1), at.Add(2*time.Minute), all[reply:reply+1]) // of one that is told of no more
	if s := a.Stats(); s.Conns != 3 {
		t.Errorf("%d conns: one counts again", s.Conns)
	}
	tick(at.Add(30 * time.Minute))
	tick(at.Add(50 * time.Minute))
	if s := a.Stats(); s.Open != 0 || len(a.conns) != 0 {
		t.Errorf("%d open behind half an hour, %d in the table", s.Open, len(a.conns))
	}
	feed(t, a, clientOf(4), at.Add(time.Hour), all[:second])
	feed(t, a, clientOf(5), at.Add(time.Hour-time.Second), all[:second]) // another queue's
	if s := a.Stats(); s.Open != 2 {
		t.Errorf("%d open", s.Open)
	}
	feed(t, a, clientOf(6), at, all[:second])
	if s := a.Stats(); s.Open != 1 || s.Ends[EndCapture] != 2 {
		t.Errorf("%d open behind a step back: %v", s.Open, s.Ends)
	}
	a.Flush()
	checkEmpty(t, a)
}

// TestDarkCostsNothing: behind the handshake a conn's packets are looked up, and allocate nothing.
func TestDarkCostsNothing(t *testing.T) {
	r := &recorder{tb: t}
	a := New(Config{Handler: r})
	all := full(t)
	feed(t, a, usual, start, all[:reply+1])
	bulk := seen{from: server, seq: all[reply].ack, ack: all[reply].seq + uint32(len(all[reply].data)), data: make([]byte, 1400)}
	b := usual.frame(t, &bulk)
	p := capture.Packet{Time: start.Add(time.Second), Data: b, Length: len(b), LinkType: layers.LinkTypeEthernet}
	if n := testing.AllocsPerRun(1000, func() { a.Packet(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if a.held != 0 {
		t.Errorf("%d bytes held", a.held)
	}
}

// FuzzPackets: whatever is captured, what is held is bounded, and what is told keeps its order.
func FuzzPackets(f *testing.F) {
	for _, talk := range recorded(f) {
		f.Add(script(f, segments(talk, 1460)), uint16(1))
	}
	f.Add(script(f, full(f)), uint16(1))
	f.Add(script(f, full(f)), uint16(113))
	f.Fuzz(func(t *testing.T, b []byte, link uint16) {
		const most = 1 << 16
		r := &checker{recorder: recorder{tb: t, quiet: true}}
		a := New(Config{MaxConns: 4, MaxBytes: most, Handler: r})
		at := start
		for len(b) >= 3 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-3)
			at = at.Add(time.Duration(b[2]) * 100 * time.Millisecond)
			data := b[3 : 3+n]
			b = b[3+n:]
			a.Packet(capture.Packet{Time: at, Data: data, Length: len(data) + int(data0(data))%2, LinkType: layers.LinkType(link)})
			if s := a.Stats(); s.Held > most || len(a.conns) > 4 || a.libraryConns() > 4 || a.libraryPages()*pageSize > most {
				t.Fatalf("%d held, %d conns, the library %d conns and %d pages", s.Held, len(a.conns), a.libraryConns(), a.libraryPages())
			}
		}
		a.Flush()
		checkEmpty(t, a)
		if len(r.opened) > 0 {
			t.Errorf("%d conns are not closed", len(r.opened))
		}
	})
}

func data0(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// script is segments as FuzzPackets takes them.
func script(tb testing.TB, all []seen) (b []byte) {
	tb.Helper()
	for i := range all {
		frame := usual.frame(tb, &all[i])
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(frame))), 1)
		b = append(b, frame...)
	}
	return b
}

// checker is a recorder that holds an Assembler to its order.
type checker struct {
	recorder
	hellos, final map[*Conn]int
}

func (c *checker) Hello(conn *Conn, h *tlsparse.Hello, size int) {
	if c.hellos == nil {
		c.hellos, c.final = map[*Conn]int{}, map[*Conn]int{}
	}
	c.hellos[conn]++
	if c.hellos[conn] != conn.Hellos || conn.Hellos > 2 || conn.Hellos == 2 && !conn.Retried {
		c.tb.Errorf("hello %d, counted as %d, retried %t", c.hellos[conn], conn.Hellos, conn.Retried)
	}
	c.recorder.Hello(conn, h, size)
}

func (c *checker) Answer(conn *Conn, s *tlsparse.Server, ev tlsparse.Event) {
	if c.hellos[conn] == 0 || c.final[conn] > 0 {
		c.tb.Errorf("event %d behind %d hellos and %d final events", ev, c.hellos[conn], c.final[conn])
	}
	if ev == tlsparse.EventOpaque || ev == tlsparse.EventInvalid || ev == tlsparse.EventExcess {
		c.final[conn]++
	}
	c.recorder.Answer(conn, s, ev)
}

// FuzzTampered: segments of a handshake in any order, cut and changed in any way: as long as no byte of a copy differs from
// the true one, what is told is the begin of the truth; and what is told of a conn with other bytes is not judged, or is
// told of the bytes that came alone.
func FuzzTampered(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 1, 2, 4, 3, 3, 5, 7, 6, 8})
	f.Add([]byte{0, 1, 2, 0x44, 0x83, 3, 5, 7, 6, 8})
	all := full(f)
	want, _ := observe(f, Config{}, all)
	truth, _ := events(want)
	f.Fuzz(func(t *testing.T, order []byte) {
		var some []seen
		for _, o := range order[:min(len(order), 200)] {
			s := all[int(o&0x3f)%len(all)]
			if n := len(s.data); o&0x40 != 0 && n > 2 {
				s.seq, s.data = s.seq+uint32(n/3), s.data[n/3:]
			}
			if n := len(s.data); o&0x80 != 0 && n > 2 {
				s.data, s.fin = s.data[:n*2/3], false
			}
			some = append(some, s)
		}
		r, a := observe(t, Config{}, some)
		got, _ := events(r)
		if a.stats.Conns > 1 {
			return
		}
		for i, line := range got {
			if i >= len(truth) || truth[i] != line {
				t.Fatalf("%q, where the truth is %q", got, truth)
			}
		}
	})
}

// TestMemory: the memory of many conns is what Config says of it.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 50 MB")
	}
	all := full(t)
	measure := func(part []seen, n int) float64 {
		var before, after runtime.MemStats
		a := New(Config{Handler: &recorder{tb: t, quiet: true}})
		r := a.cfg.Handler.(*recorder)
		for range 3 { // what pools have kept is gone by then
			runtime.GC()
		}
		runtime.ReadMemStats(&before)
		at := start
		for i := range n {
			at = feed(t, a, clientOf(i), at, part).Add(-time.Duration(len(part)) * time.Millisecond)
		}
		r.opened, r.tickets = nil, nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(a)
		return float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n)
	}
	bare, dark := measure(all[:1], 20_000), measure(all[:reply], 20_000)
	t.Logf("bare: %.0f bytes, dark: %.0f bytes", bare, dark)
	if bare > 2500 || dark > 1000 {
		t.Errorf("a conn without a handshake takes %.0f bytes, one in the dark %.0f", bare, dark)
	}
}
