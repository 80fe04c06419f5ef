package flow

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
	"homing/tlsparse"
)

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
			holds(t, a, 4, most)
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
	if len(conn.Said) == 0 {
		c.tb.Errorf("event %d of nothing said", ev)
	}
	if c.hellos[conn] == 0 || c.final[conn] > 0 {
		c.tb.Errorf("event %d behind %d hellos and %d final events", ev, c.hellos[conn], c.final[conn])
	}
	if ev == tlsparse.EventOpaque || ev == tlsparse.EventInvalid || ev == tlsparse.EventExcess {
		c.final[conn]++
	}
	c.recorder.Answer(conn, s, ev)
}

// FuzzHostile: segments of real handshakes, in any order and changed in any way, of a few conns, more than may be.
func FuzzHostile(f *testing.F) {
	var all [][]seen
	for _, name := range []string{"TLS 1.3, full", "TLS 1.2, full", "TLS 1.3, retried, early data refused", "HTTP"} {
		all = append(all, segments(recorded(f)[name], 700))
	}
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 2, 1, 0, 0, 2, 3, 1, 9, 2, 4, 2, 9, 2, 3, 3, 3, 9, 0, 10, 0, 9, 1, 4, 4, 9, 3, 5, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const most = 1 << 16
		r := &checker{recorder: recorder{tb: t, quiet: true}}
		a := New(Config{MaxConns: 5, MaxBytes: most, Handler: r})
		at := start
		for ops = ops[:min(len(ops), 1200)]; len(ops) >= 4; ops = ops[4:] {
			talk := all[int(ops[0])%len(all)]
			s := talk[int(ops[1])%len(talk)]
			n := int(ops[3])
			switch ops[2] % 16 {
			case 1:
				s.seq, s.data = s.seq+uint32(min(n, len(s.data))), s.data[min(n, len(s.data)):]
			case 2:
				s.data = s.data[:min(n, len(s.data))]
			case 3:
				s.data = bytes.Clone(s.data)
				if len(s.data) > 0 {
					s.data[n%len(s.data)] ^= 1 + byte(n)
				}
			case 4:
				s.seq += uint32(n) << 6
			case 5:
				s.seq -= uint32(n)
			case 6:
				s.ack += uint32(n) << 8
			case 7:
				s.rst = true
			case 8:
				s.fin = true
			case 9:
				s.syn = !s.syn
			case 10:
				s.after = time.Duration(n) * time.Second
			case 11:
				s.cut = min(n, len(s.data))
			case 12:
				s.noACK = !s.noACK
			case 13:
				s.urg = true
			case 14:
				s.from = s.from.other()
			case 15:
				at = at.Add(-time.Duration(n) * time.Second)
			}
			at = feed(t, a, clientOf(int(ops[0])/len(all)%7), at, []seen{s})
			holds(t, a, 5, most)
		}
		a.Flush()
		checkEmpty(t, a)
		if len(r.opened) > 0 {
			t.Errorf("%d conns are not closed", len(r.opened))
		}
	})
}

// holds says that an assembler keeps its bounds and its books.
func holds(tb testing.TB, a *Assembler, conns, most int) {
	tb.Helper()
	held, n := 0, 0
	for i := range a.lists {
		for c := a.lists[i].first; c != nil; c = c.after {
			if a.conns[c.pair] != c || c.stage != stage(i) || (c.hs != nil) != (c.stage <= stageYoung) {
				tb.Fatalf("a conn in stage %d, list %d, with %v", c.stage, i, c.hs)
			}
			if n++; c.hs != nil {
				held += c.hs.held
			}
		}
	}
	s := a.Stats()
	if n != len(a.conns) || held != a.held || n > conns || s.Held > most || a.libraryConns() > conns || a.libraryPages()*pageSize > most {
		tb.Fatalf("%d of %d conns, %d of %d bytes, %d of which are told, the library %d conns and %d pages",
			n, len(a.conns), held, a.held, s.Held, a.libraryConns(), a.libraryPages())
	}
}

// FuzzTampered: segments of a handshake in any order, any number of times, cut in any way: what is told is the begin of the
// truth.
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
