//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// turn is what one side of a dialog says.
type turn struct {
	from  side
	bytes []byte
}

func client(b ...[]byte) turn  { return turn{sideClient, join(b...)} }
func backend(b ...[]byte) turn { return turn{sideBackend, join(b...)} }

// talk lets both sides say their turns in order, each heard whole by the other before the next, in writes of at most
// size bytes.
func (r *rig) talk(c, b net.Conn, size int, turns ...turn) {
	r.Helper()
	for i, t := range turns {
		from, to := c, b
		if t.from == sideBackend {
			from, to = b, c
		}
		for rest := t.bytes; len(rest) > 0; {
			n := min(size, len(rest))
			write(r, from, rest[:n])
			rest = rest[n:]
		}
		if got := read(r, to, len(t.bytes)); !bytes.Equal(got, t.bytes) {
			r.Fatalf("turn %d: %d bytes arrived, but not those that were sent", i, len(got))
		}
	}
}

// learned says what is known of an identifier: the backend's home, or none.
type learned struct {
	kind affinity.OfferKind
	id   []byte
	want bool
}

func (r *rig) knows(l learned) bool {
	known := r.known()
	o := affinity.Offer{Kind: l.kind}
	if l.kind == affinity.OfferID {
		o.ID, o.HasID = known.HashID(l.id), true
	} else {
		o.Add(known.HashIdent(l.id))
	}
	return known.Find(&o, now()).Source == affinity.SourceSession
}

func fixed(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// TestLearn: DESIGN.md section 3.1, row by row. Each dialog is held twice, at one byte a write too.
func TestLearn(t *testing.T) {
	own, issued := fixed('o'), fixed('i')
	ticket, other, fresh := named("no name, no name", 1), named("other first half", 2), named("yet another half", 3)
	clientFinish := join(records(22, message(16, make([]byte, 66)), 1<<14), ccs(), finished())
	full := func(id []byte) turn { return backend(answer{id: id}.bytes(), certificate(3000), helloDone()) }
	id, tkt, psk := affinity.OfferID, affinity.OfferTicket, affinity.OfferPSK

	for _, test := range []struct {
		name    string
		hello   hello
		dialog  []turn
		cut     bool // the backend resets behind the dialog
		ech     bool
		learned []learned
		verdict Verdict
		offer   affinity.OfferKind
	}{
		{
			name: "an ID is learned when the server's ChangeCipherSpec passes", hello: hello{},
			dialog:  []turn{full(issued), client(clientFinish), backend(ccs(), finished())},
			learned: []learned{{id, issued, true}},
		}, {
			name: "and not before", hello: hello{}, cut: true,
			dialog:  []turn{full(issued), client(clientFinish)},
			learned: []learned{{id, issued, false}},
		}, {
			name: "the echo of the client's ID is no issue", hello: hello{id: own},
			dialog:  []turn{full(own), client(clientFinish), backend(ccs(), finished())},
			learned: []learned{{id, own, false}}, verdict: VerdictRefused, offer: id,
		}, {
			name: "a refused ID and the new one", hello: hello{id: own},
			dialog:  []turn{full(issued), client(clientFinish), backend(ccs(), finished())},
			learned: []learned{{id, own, false}, {id, issued, true}}, verdict: VerdictRefused, offer: id,
		}, {
			name: "an accepted ID is learned", hello: hello{id: own},
			dialog:  []turn{backend(answer{id: own}.bytes(), ccs(), finished()), client(ccs(), finished())},
			learned: []learned{{id, own, true}}, verdict: VerdictAccepted, offer: id,
		}, {
			name: "so is one of a TLS 1.3 client, which looked random", hello: hello{id: own, tls13: true},
			dialog:  []turn{backend(answer{id: own}.bytes(), ccs(), finished()), client(ccs(), finished())},
			learned: []learned{{id, own, true}}, verdict: VerdictAccepted, offer: id,
		}, {
			name: "legacy_session_id in TLS 1.3 is nothing", hello: hello{id: own, tls13: true},
			dialog:  []turn{backend(answer{id: own, tls13: true}.bytes(), ccs(), appData(900)), client(ccs(), appData(60)), backend(appData(50))},
			learned: []learned{{id, own, false}}, verdict: VerdictNone, offer: affinity.OfferNone,
		}, {
			name: "even where a broken server does not echo it", hello: hello{id: own, tls13: true},
			dialog:  []turn{backend(answer{id: issued, tls13: true}.bytes(), ccs(), appData(900)), client(ccs(), appData(60)), backend(appData(50))},
			learned: []learned{{id, own, false}, {id, issued, false}}, verdict: VerdictNone, offer: affinity.OfferNone,
		}, {
			name: "the fresh ID beside an accepted ticket is no issue (JSSE)", hello: hello{ticket: ticket},
			dialog:  []turn{backend(answer{id: issued}.bytes(), ccs(), finished()), client(ccs(), finished())},
			learned: []learned{{id, issued, false}, {tkt, ticket, false}}, verdict: VerdictAccepted, offer: tkt,
		}, {
			name: "nor is the client's token; the new ticket is (Go, JSSE)", hello: hello{ticket: ticket, id: own},
			dialog:  []turn{backend(answer{id: own}.bytes(), newTicket(300, fresh), ccs(), finished()), client(ccs(), finished())},
			learned: []learned{{id, own, false}, {tkt, ticket, false}, {tkt, fresh, true}}, verdict: VerdictAccepted, offer: tkt,
		}, {
			name: "a full handshake issues both", hello: hello{ticket: []byte{}},
			dialog:  []turn{full(issued), client(clientFinish), backend(newTicket(0, fresh), ccs(), finished())},
			learned: []learned{{id, issued, true}, {tkt, fresh, true}},
		}, {
			name: "an empty ticket is ignored", hello: hello{ticket: []byte{}},
			dialog:  []turn{full(nil), client(clientFinish), backend(newTicket(300, nil), ccs(), finished())},
			learned: []learned{{tkt, []byte{0}, false}},
		}, {
			name: "a ticket before the server's ChangeCipherSpec is none yet", hello: hello{ticket: []byte{}}, cut: true,
			dialog:  []turn{full(nil), client(clientFinish), backend(newTicket(300, fresh))},
			learned: []learned{{tkt, fresh, false}},
		}, {
			name: "a handshake has one ticket, or teaches nothing", hello: hello{ticket: []byte{}},
			dialog:  []turn{full(issued), client(clientFinish), backend(newTicket(300, fresh), newTicket(300, other), ccs(), finished())},
			learned: []learned{{tkt, fresh, false}, {tkt, other, false}, {id, issued, false}},
		}, {
			name: "a refused ticket", hello: hello{ticket: ticket, id: own},
			dialog:  []turn{full(nil), client(clientFinish), backend(newTicket(300, fresh), ccs(), finished())},
			learned: []learned{{tkt, ticket, false}, {tkt, fresh, true}, {id, own, false}}, verdict: VerdictRefused, offer: tkt,
		}, {
			name: "of two identities the selected one alone is learned", hello: hello{psks: [][]byte{ticket, other}, id: own},
			dialog:  []turn{backend(answer{id: own, tls13: true, psk: 2}.bytes(), ccs(), appData(100)), client(ccs(), appData(50))},
			learned: []learned{{psk, ticket, false}, {psk, other, true}, {id, own, false}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "an identity out of range is nobody's", hello: hello{psks: [][]byte{ticket, other}},
			dialog:  []turn{backend(answer{tls13: true, psk: 3}.bytes(), appData(100)), client(appData(50))},
			learned: []learned{{psk, ticket, false}, {psk, other, false}}, verdict: VerdictUnknown, offer: psk,
		}, {
			name: "a refused identity", hello: hello{psks: [][]byte{ticket}},
			dialog:  []turn{backend(answer{tls13: true}.bytes(), appData(2000)), client(appData(50)), backend(appData(250))},
			learned: []learned{{psk, ticket, false}}, verdict: VerdictRefused, offer: psk,
		}, {
			name: "a server without TLS 1.3 says nothing of a PSK", hello: hello{psks: [][]byte{ticket}, id: own},
			dialog:  []turn{full(issued), client(clientFinish), backend(ccs(), finished())},
			learned: []learned{{psk, ticket, false}, {id, issued, true}}, verdict: VerdictRefused, offer: psk,
		}, {
			name: "one that resumes beside the PSK says nothing either", hello: hello{psks: [][]byte{ticket}, id: own},
			dialog:  []turn{backend(answer{id: own}.bytes(), ccs(), finished()), client(ccs(), finished())},
			learned: []learned{{psk, ticket, false}, {id, own, false}}, verdict: VerdictUnknown, offer: psk,
		}, {
			name: "after HelloRetryRequest the index counts the second hello", hello: hello{psks: [][]byte{ticket, other}},
			dialog: []turn{
				backend(answer{retry: true}.bytes(), ccs()), client(ccs(), hello{psks: [][]byte{other}}.bytes()),
				backend(answer{tls13: true, psk: 1}.bytes(), appData(100)), client(appData(50)),
			},
			learned: []learned{{psk, ticket, false}, {psk, other, true}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "behind early data too", hello: hello{psks: [][]byte{ticket, other}, early: true},
			dialog: []turn{
				client(appData(20)), backend(answer{retry: true}.bytes()), client(hello{psks: [][]byte{other}}.bytes()),
				backend(answer{tls13: true, psk: 1}.bytes(), appData(100)),
			},
			learned: []learned{{psk, ticket, false}, {psk, other, true}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "of a second hello that was not read nothing is learned", hello: hello{psks: [][]byte{ticket}},
			dialog: []turn{
				backend(answer{retry: true}.bytes()), client(alert(1, 112), hello{psks: [][]byte{ticket}}.bytes()),
				backend(answer{tls13: true, psk: 1}.bytes(), appData(100)),
			},
			learned: []learned{{psk, ticket, false}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "one without a PSK leaves nothing to judge", hello: hello{psks: [][]byte{ticket}},
			dialog: []turn{
				backend(answer{retry: true}.bytes()), client(hello{tls13: true, ticket: other}.bytes()),
				backend(answer{tls13: true}.bytes(), appData(100)),
			},
			learned: []learned{{psk, ticket, false}, {tkt, other, false}}, verdict: VerdictUnknown, offer: psk,
		}, {
			name: "GREASE ECH is looked up as usual", hello: hello{psks: [][]byte{ticket}, ech: true},
			dialog:  []turn{backend(answer{tls13: true, psk: 1}.bytes(), appData(100))},
			learned: []learned{{psk, ticket, true}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "where backends hold ECH keys it creates nothing", hello: hello{psks: [][]byte{ticket}, ech: true}, ech: true,
			dialog:  []turn{backend(answer{tls13: true, psk: 1}.bytes(), appData(100))},
			learned: []learned{{psk, ticket, false}}, verdict: VerdictAccepted, offer: psk,
		}, {
			name: "an alert behind the ServerHello says nothing", hello: hello{ticket: ticket}, cut: true,
			dialog:  []turn{backend(alert(1, 112), answer{}.bytes(), alert(2, 40))},
			learned: []learned{{tkt, ticket, false}}, verdict: VerdictUnknown, offer: tkt,
		},
	} {
		for _, size := range []int{1 << 20, 1} {
			t.Run(test.name, func(t *testing.T) {
				r := newRig(t)
				s := r.serveByHand()
				r.start(withPool(func(o *pool.Options) { o.ECH = test.ech }))
				c := r.dial()
				sent := test.hello.bytes()
				write(t, c, sent)
				b := r.arrival()
				if got := read(t, b, len(sent)); !bytes.Equal(got, sent) {
					t.Fatal("the hello has changed on its way")
				}
				if test.cut {
					last := len(test.dialog) - 1
					r.talk(c, b, size, test.dialog[:last]...)
					if test.dialog[last].from == sideClient {
						r.talk(c, b, size, test.dialog[last])
					} else {
						write(t, b, test.dialog[last].bytes)
					}
					b.Close()
				} else {
					r.talk(c, b, size, test.dialog...)
					b.Close()
				}
				sendFIN(c)
				if _, err := io.ReadAll(c); err != nil {
					t.Error(err)
				}
				rec := r.last(1)
				if rec.Offer != test.offer || rec.Verdict != test.verdict || rec.Backend.String() != s.addr {
					t.Errorf("offer %v, verdict %v, want %v, %v", rec.Offer, rec.Verdict, test.offer, test.verdict)
				}
				for _, l := range test.learned {
					if got := r.knows(l); got != l.want {
						t.Errorf("%v %.17q: known %v, want %v", l.kind, l.id, got, l.want)
					}
				}
			})
		}
	}
}

// teachID lets a backend issue a session ID and returns it.
func (r *rig) teachID(id []byte) *server {
	r.Helper()
	return r.teach(hello{}, backend(answer{id: id}.bytes(), certificate(10), ccs()))
}

// teachTicket lets a backend issue a ticket and returns it.
func (r *rig) teachTicket(ticket []byte) *server {
	r.Helper()
	return r.teach(hello{ticket: []byte{}}, backend(answer{}.bytes(), certificate(10), newTicket(300, ticket), ccs()))
}

func (r *rig) teach(h hello, turns ...turn) *server {
	r.Helper()
	return r.teachFrom(0, h, turns...)
}

func (r *rig) teachFrom(from int, h hello, turns ...turn) *server {
	r.Helper()
	n := len(r.ended(0))
	var addr netip.Addr
	if from > 0 {
		addr = source(from)
	}
	c := r.dialFrom(addr)
	write(r, c, h.bytes())
	b := r.arrival()
	read(r, b, len(h.bytes()))
	r.talk(c, b, 1<<20, turns...)
	c.Close()
	b.Close()
	r.ended(n + 1)
	return b.server
}
