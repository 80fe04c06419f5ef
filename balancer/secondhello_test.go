//go:build linux

package balancer

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/tlsparse"
)

// secondOrder is an order in which a client can send two hellos and what goes with them: with the first one, when the
// server has that, and when the server has asked for the second.
type secondOrder struct {
	name                 string
	with, before, behind func(second []byte) []byte
	hello                func(h *hello) // changes the second hello
	early                bool
	unread               bool
}

func secondOrders() []secondOrder {
	whole := func(second []byte) []byte { return second }
	after := func(parts ...[]byte) func([]byte) []byte {
		return func(second []byte) []byte { return append(join(parts...), second...) }
	}
	only := func(parts ...[]byte) func([]byte) []byte { return func([]byte) []byte { return join(parts...) } }
	return []secondOrder{
		{name: "in turn", behind: whole},
		{name: "behind CCS", behind: after(ccs())},
		{name: "CCS with the first", with: only(ccs()), behind: whole},
		{name: "CCS before it is asked for", before: only(ccs()), behind: whole},
		{name: "CCS everywhere", with: only(ccs()), before: only(ccs()), behind: after(ccs(), ccs())},
		{name: "early data with the first", with: only(ccs(), appData(1000)), behind: whole, early: true},
		{name: "early data before and after", before: only(appData(300), appData(40)), behind: after(appData(500)), early: true},
		{name: "with the first", with: whole},
		{name: "with the first, behind CCS", with: after(ccs())},
		{name: "before it is asked for", before: whole},
		{
			name: "in three parts",
			with: func(b []byte) []byte { return b[:20] }, before: func(b []byte) []byte { return b[20:150] }, behind: func(b []byte) []byte { return b[150:] },
		},
		{name: "in records of three bytes", behind: func(b []byte) []byte { return records(22, b[5:], 3) }},
		{name: "with bytes behind it", behind: func(b []byte) []byte { return join(b, appData(30)) }},
		{name: "twice", behind: func(b []byte) []byte { return join(b, hello{psks: [][]byte{named("of the third one", 9)}}.bytes()) }},
		{name: "with another name and protocol", behind: whole, hello: func(h *hello) { h.names, h.alpn = []string{"b.test"}, []string{"h3"} }},
		{name: "of 15 KiB", behind: whole, hello: func(h *hello) { h.pad = 15 << 10 }},

		{name: "too long", behind: whole, hello: func(h *hello) { h.pad = 17 << 10 }, unread: true},
		{name: "behind too much early data", before: only(appData(9000), appData(9000)), behind: whole, early: true, unread: true},
		{name: "behind an alert", behind: after(alert(1, 112)), unread: true},
		{name: "behind half a record", with: only([]byte{23, 3, 3, 0}), behind: whole, unread: true},
		{name: "with two names", behind: whole, hello: func(h *hello) { h.names = []string{"a.test", "b.test"} }, unread: true},
		{name: "no hello", behind: only(records(22, message(11, make([]byte, 40)), 100)), unread: true},
	}
}

// TestSecondHello: after a HelloRetryRequest everything that is learned speaks of the second hello, in whatever order
// its bytes come, and of the first one nothing is; if the second cannot be read, nothing at all is learned.
func TestSecondHello(t *testing.T) {
	first, genuine := named("what another one", 1), named("what is its own.", 2)
	for _, order := range secondOrders() {
		for _, verdict := range []Verdict{VerdictAccepted, VerdictRefused} {
			for _, size := range []int{1 << 20, 1} {
				t.Run(fmt.Sprintf("%s/%v/%d", order.name, verdict, size), func(t *testing.T) {
					opening := hello{psks: [][]byte{first}, names: []string{"a.test"}, early: order.early}
					second := hello{psks: [][]byte{genuine}, names: []string{"a.test"}}
					if order.hello != nil {
						order.hello(&second)
					}
					part := func(f func([]byte) []byte) []byte {
						if f == nil {
							return nil
						}
						return f(second.bytes())
					}
					answered := answer{tls13: true}
					if verdict == VerdictAccepted {
						answered.psk = 1
					}

					r := newRig(t)
					s := r.serveByHand()
					r.start(func(c *Config) { c.HoldTimeout, c.HelloLimit = patience, 16<<10 })
					c := r.dial()
					sent := join(opening.bytes(), part(order.with))
					for rest := sent; len(rest) > 0; rest = rest[min(size, len(rest)):] {
						write(t, c, rest[:min(size, len(rest))])
					}
					b := r.arrival()
					read(t, b, len(sent))
					r.talk(c, b, size, client(part(order.before)), backend(answer{retry: true}.bytes(), ccs()), client(part(order.behind)),
						backend(answered.bytes(), appData(900)))
					r.talk(c, b, 1<<20, client(ccs(), appData(60)), backend(appData(50)))
					b.Close()
					c.Close()
					if rec := r.last(1); rec.Verdict != verdict || rec.Offer != affinity.OfferPSK {
						t.Errorf("verdict %v of offer %v", rec.Verdict, rec.Offer)
					}
					r.wantsSecond(s, c, order.unread, verdict, first, genuine, &opening, &second)
				})
			}
		}
	}
}

// wantsSecond checks all tables after a second hello.
func (r *rig) wantsSecond(s *server, c net.Conn, unread bool, v Verdict, first, genuine []byte, opening, second *hello) {
	r.Helper()
	known, id := r.known(), uint32(s.backend.ID)
	of := [2]affinity.Offer{{Kind: affinity.OfferPSK}, {Kind: affinity.OfferPSK}}
	of[0].Add(known.HashIdent(first))
	of[1].Add(known.HashIdent(genuine))
	for i, o := range of {
		learn := i == 1 && !unread
		if got := known.Find(&o, now()).Source == affinity.SourceSession; got != (learn && v == VerdictAccepted) {
			r.Errorf("identity %d: its home is known: %v", i, got)
		}
		if got := known.Hint(&o, now()) != 0; got != (learn && v == VerdictAccepted) {
			r.Errorf("identity %d: hinted at: %v", i, got)
		}
		if got := known.WasRefused(&o, id, now()); got != (learn && v == VerdictRefused) {
			r.Errorf("identity %d: known as refused: %v", i, got)
		}
	}
	var name []string
	if !unread {
		name = second.names
	}
	if got := r.pool.Names().Top(8, time.Now()); !slices.Equal(got, name) {
		r.Errorf("names %v have completed a handshake, want %v", got, name)
	}
	for i, h := range []*hello{opening, second} {
		want := uint32(0)
		if !unread && (i == 1 || slices.Equal(h.names, second.names)) {
			want = id
		}
		if got := known.Find(&affinity.Offer{Kind: affinity.OfferPSK, Client: r.clientKey(c, h), N: 1}, now()).ID; got != want {
			r.Errorf("hello %d: home of the client %d, want %d", i, got, want)
		}
	}
}

// clientKey is what the client c is known by when it sends h.
func (r *rig) clientKey(c net.Conn, h *hello) affinity.Key {
	r.Helper()
	var parser tlsparse.Client
	var parsed tlsparse.Hello
	b := h.bytes()
	parser.Reset(tlsparse.MaxHelloLimit)
	if parser.Next(b); parser.Parse(b, make([]byte, tlsparse.MaxHelloLimit), &parsed) != tlsparse.Got {
		r.Fatal("no hello")
	}
	addr := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	return r.known().HashClient(addr, []byte(h.names[0]), parsed.Shape)
}

// What is kept of a second hello that does not end is bounded, in length by that of hellos, and given up for those who
// need the memory.
func TestSecondHelloMemory(t *testing.T) {
	const limit = 64 << 10
	endless := records(22, message(1, make([]byte, 15<<10)), 1)
	for name, test := range map[string]struct {
		sent  []byte
		conns int
		most  uint64 // bytes
	}{
		"in records of one byte": {endless[:60<<10], 1, 32 << 10}, // the next larger buffer
		"early data":             {join(appData(8000), appData(8000)), 1, 1 << 10},
		"many":                   {endless[:15<<10], 20, limit + 32<<10},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			r.start(func(c *Config) { c.BufferMemory = limit })
			opening := hello{tls13: true}.bytes()
			for range test.conns {
				c := r.dial()
				write(t, c, opening)
				b := r.arrival()
				read(t, b, len(opening))
				r.talk(c, b, 1000, backend(answer{retry: true}.bytes()), client(test.sent))
				if used := r.b.Stats().BufferBytes; used > test.most {
					t.Errorf("%d bytes of buffers, want at most %d", used, test.most)
				}
			}
		})
	}
}
