//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// pending is the number of bytes that c has received and not read.
func pending(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHold: of an offer the client gets nothing before the verdict, and then
// everything; of a fresh hello nothing is held.
func TestHold(t *testing.T) {
	id, ticket := fixed('i'), named("sixteen bytes nm", 1)
	record, header := 5, 4
	for _, test := range []struct {
		name   string
		hello  hello
		answer []byte
		held   int // bytes until the verdict
	}{
		{"a fresh hello", hello{}, join(answer{id: id}.bytes(), certificate(20)), 1},
		{"a fresh TLS 1.3 hello with its random ID", hello{tls13: true, id: id}, answer{tls13: true, id: id}.bytes(), 1},
		{
			"an ID refused: up to the header of the Certificate",
			hello{id: id},
			join(answer{}.bytes(), certificate(20)), len(answer{}.bytes()) + record + header,
		},
		{
			"an ID accepted: up to the ChangeCipherSpec",
			hello{id: id},
			join(answer{id: id}.bytes(), ccs(), finished()), len(answer{id: id}.bytes()) + len(ccs()),
		},
		{
			"a ticket refused",
			hello{ticket: ticket},
			join(answer{}.bytes(), certificate(20)), len(answer{}.bytes()) + record + header,
		},
		{
			"a ticket accepted and renewed: up to the ticket's first byte",
			hello{ticket: ticket},
			join(answer{}.bytes(), newTicket(300, ticket), ccs()), len(answer{}.bytes()) + record + header + 7,
		},
		{
			"a PSK accepted: up to the end of the ServerHello",
			hello{psks: [][]byte{ticket}},
			join(answer{tls13: true, psk: 1}.bytes(), appData(20)), len(answer{tls13: true, psk: 1}.bytes()),
		},
		{
			"a PSK refused",
			hello{psks: [][]byte{ticket}},
			join(answer{tls13: true}.bytes(), appData(20)), len(answer{tls13: true}.bytes()),
		},
		{
			"HelloRetryRequest commits",
			hello{psks: [][]byte{ticket}},
			join(answer{retry: true}.bytes(), ccs()), len(answer{retry: true}.bytes()),
		},
		{"an alert", hello{psks: [][]byte{ticket}}, join(alert(2, 40), alert(2, 40)), len(alert(2, 40))},
		{
			"an alert behind the ServerHello",
			hello{ticket: ticket},
			join(answer{}.bytes(), alert(2, 40)), len(answer{}.bytes()) + len(alert(2, 40)),
		},
		{
			"a warning is no answer",
			hello{psks: [][]byte{ticket}},
			join(alert(1, 112), answer{tls13: true}.bytes()), len(alert(1, 112)) + len(answer{tls13: true}.bytes()),
		},
		{"what is no TLS", hello{ticket: ticket}, []byte("HTTP/1.1 400 Bad Request\r\n"), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			r.start(func(c *Config) { c.HoldTimeout = patience })
			c := r.dial()
			write(t, c, test.hello.bytes())
			b := r.arrival()
			read(t, b, len(test.hello.bytes()))
			// To the last byte before the verdict, over it, and on.
			said := 0
			for _, upTo := range []int{min(3, test.held-1), test.held - 1, test.held, len(test.answer)} {
				write(t, b, test.answer[said:upTo])
				said = upTo
				r.await("the bytes are read", func() bool { return r.b.Stats().BytesOut == uint64(said) })
				r.settle()
				if got := pending(t, c); said < test.held && got > 0 {
					t.Fatalf("after %d bytes of the answer the client has %d, want none before %d", said, got, test.held)
				}
				if said >= test.held { // the kernel may take its time
					r.await("the bytes are with the client", func() bool { return pending(t, c) == said })
				}
			}
			if got := read(t, c, len(test.answer)); !bytes.Equal(got, test.answer) {
				t.Error("the answer has changed on its way")
			}
		})
	}
}

// Holding is bounded in bytes: beyond, the answer goes on with verdict unknown.
func TestHoldLimit(t *testing.T) {
	for _, chunk := range []int{7, 700, 64 << 10} {
		r := newRig(t)
		r.serveByHand()
		r.start(func(c *Config) { c.HoldTimeout = patience })
		c := r.dial()
		offer := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
		write(t, c, offer)
		b := r.arrival()
		read(t, b, len(offer))
		flight := bytes.Repeat(alert(1, 112), (20<<10)/len(alert(1, 112)))
		for rest := flight; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			write(t, b, rest[:min(chunk, len(rest))])
		}
		if got := read(t, c, len(flight)); !bytes.Equal(got, flight) {
			t.Error("the flight has changed on its way")
		}
		if used := r.b.Stats().BufferBytes; used > 32<<10 {
			t.Errorf("%d bytes of buffers for a hold limit of 16 KiB", used)
		}
		b.Close()
		sendFIN(c)
		if rec := r.last(1); rec.Verdict != VerdictUnknown || rec.Source != affinity.SourceExplore {
			t.Errorf("verdict %v, source %v", rec.Verdict, rec.Source)
		}
		if s := r.b.Stats(); s.Verdicts[affinity.OfferTicket][VerdictUnknown] != 1 {
			t.Errorf("verdicts %v", s.Verdicts)
		}
		r.stop()
	}
}

// Holding is bounded in time, from the sending of the hello.
func TestHoldTimeout(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	const hold = 150 * time.Millisecond
	r.start(func(c *Config) { c.HoldTimeout = hold })
	c := r.dial()
	offer := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
	begun := time.Now()
	write(t, c, offer)
	b := r.arrival()
	read(t, b, len(offer))
	part := answer{}.bytes()
	write(t, b, part)
	read(t, c, len(part))
	if took := time.Since(begun); took < hold {
		t.Errorf("released after %v, want %v", took, hold)
	}
	if s := r.b.Stats(); s.Routes[affinity.SourceExplore] != 1 {
		t.Errorf("routes %v", s.Routes)
	}
	// What comes later is relayed at once, and still says what became of the offer.
	r.talk(c, b, 1<<20, backend(ccs(), finished()), client(ccs(), finished()))
	b.Close()
	c.Close()
	if rec := r.last(1); rec.Verdict != VerdictAccepted {
		t.Errorf("verdict %v", rec.Verdict)
	}
}

// narrowSend makes the kernel take little at a time from the balancer for a
// client. Before run.
func (r *rig) narrowSend() {
	fd := r.b.loops[0].inlets[0].fd
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096); err != nil {
		r.Fatal(err)
	}
}

// A client takes what was held slower than the backend goes on to send: nothing
// is lost, nothing overtakes, and the end comes last.
func TestHoldTimeoutBeforeSlowClient(t *testing.T) {
	offer := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
	held, more := bytes.Repeat(alert(1, 112), 40<<10), certificate(100)
	verdict := join(answer{}.bytes(), ccs(), finished())
	for _, test := range []struct {
		name    string
		reset   bool
		verdict bool // ends the holding, not the time
	}{{"FIN", false, false}, {"RST", true, false}, {"FIN behind the verdict", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			reset := test.reset
			r := newRig(t)
			r.serveByHand()
			r.prepare(pool.Options{}, func(c *Config) {
				c.HoldLimit, c.HoldTimeout = 1<<20, 100*time.Millisecond
				if test.verdict {
					c.HoldTimeout = patience
				}
			})
			r.narrowSend()
			r.run()
			c := r.dialNarrow()
			write(t, c, offer)
			b := r.arrival()
			read(t, b, len(offer))
			write(t, b, held)
			if test.verdict {
				r.await("held", func() bool { return r.b.Stats().BytesOut == uint64(len(held)) })
				write(t, b, verdict)
			}
			r.await("released", func() bool { return r.b.Stats().Routes[affinity.SourceExplore] == 1 })
			want := join(held, more)
			if test.verdict {
				want = join(held, verdict, more)
			}
			write(t, b, more)
			if !test.verdict { // the next chunk was being read already
				r.await("read", func() bool { return r.b.Stats().BytesOut == uint64(len(want)) })
			}
			if reset {
				sendRST(b)
			} else {
				b.Close()
			}
			r.settle()
			got, err := io.ReadAll(c)
			switch {
			case !reset && (err != nil || !bytes.Equal(got, want)):
				t.Errorf("got %d bytes and %v, want %d and a FIN", len(got), err, len(want))
			case reset && (err == nil || !bytes.HasPrefix(want, got)):
				t.Errorf("got %d bytes and %v, want a prefix of %d and a RST", len(got), err, len(want))
			}
		})
	}
}
