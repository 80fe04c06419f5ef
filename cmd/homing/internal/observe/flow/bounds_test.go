package flow

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
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
	feed(t, a, clientOf(1), at, all[second:])
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
