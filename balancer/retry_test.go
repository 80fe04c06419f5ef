//go:build linux

package balancer

import (
	"bytes"
	"io"
	"testing"

	"homing/balancer/pool"
)

// TestReplayOfHangUp is rule (b): a backend that ends a TLS 1.2 ticket offer
// without a ServerHello, as NSS and wolfSSL do to foreign tickets, and each
// condition that forbids the replay.
func TestReplayOfHangUp(t *testing.T) {
	ticket := named("sixteen bytes nm", 1)
	offer := hello{ticket: ticket, id: fixed('i')}
	fin := func(b arrival) { sendFIN(b) }
	rst := func(b arrival) { sendRST(b) }
	says := func(flight []byte) func(arrival) {
		return func(b arrival) { write(t, b, flight); sendFIN(b) }
	}
	for _, test := range []struct {
		name   string
		hello  hello
		behind []byte // from the client, with its hello
		more   []byte // from the client, when the backend has the hello
		fin    bool   // of the client
		teach  bool   // the ticket's home is known
		poor   bool   // the budget is empty
		hangUp func(arrival)
		flight []byte // what the client gets when there is no replay
		replay bool
	}{
		{name: "FIN", hello: offer, hangUp: fin, replay: true},
		{name: "RST", hello: offer, hangUp: rst, replay: true},
		{name: "bad_record_mac", hello: offer, hangUp: says(alert(2, 20)), replay: true},
		{name: "illegal_parameter", hello: offer, hangUp: says(alert(2, 47)), replay: true},
		{name: "decode_error", hello: offer, hangUp: says(alert(2, 50)), replay: true},
		{name: "internal_error", hello: offer, hangUp: says(alert(2, 80)), replay: true},
		{name: "a warning and FIN", hello: offer, hangUp: says(alert(1, 112)), replay: true},
		{name: "half a ServerHello and FIN", hello: offer, hangUp: says(answer{}.bytes()[:20]), replay: true},
		{name: "of a TLS 1.3 client with a ticket", hello: hello{ticket: ticket, tls13: true}, hangUp: fin, replay: true},

		{name: "another alert", hello: offer, hangUp: says(alert(2, 40)), flight: alert(2, 40)},
		{name: "behind the ServerHello", hello: offer, hangUp: says(answer{}.bytes()), flight: answer{}.bytes()},
		{
			name: "alert behind the ServerHello", hello: offer,
			hangUp: says(join(answer{}.bytes(), alert(2, 47))), flight: join(answer{}.bytes(), alert(2, 47)),
		},
		{name: "a later byte", hello: offer, more: []byte{22}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "a later byte with the hello", hello: offer, behind: []byte{22}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "a FIN of the client", hello: offer, fin: true, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "early_data", hello: hello{ticket: ticket, early: true}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "proven home", hello: offer, teach: true, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "PSK", hello: hello{psks: [][]byte{ticket}}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "PSK beside the ticket", hello: hello{ticket: ticket, psks: [][]byte{ticket}}, hangUp: says(alert(2, 80)), flight: alert(2, 80)},
		{name: "session ID", hello: hello{id: fixed('i')}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "fresh", hello: hello{ticket: []byte{}}, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
		{name: "no budget", hello: offer, poor: true, hangUp: says(alert(2, 47)), flight: alert(2, 47)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveByHand()
			}
			r.prepare(pool.Options{}, func(c *Config) { c.HoldTimeout = patience }, withPool(func(o *pool.Options) { o.SecondChance.Budget = 1e-9 }))
			if test.poor {
				r.share().budget = 0
			}
			r.run()
			n := 1
			if test.teach {
				r.teachTicket(ticket)
				n++
			}
			c := r.dial()
			sent := join(test.hello.bytes(), test.behind)
			write(t, c, sent)
			first := r.arrival()
			read(t, first, len(sent))
			if test.more != nil {
				write(t, c, test.more)
			}
			if test.fin {
				sendFIN(c)
			}
			test.hangUp(first)
			if !test.replay {
				if got, err := io.ReadAll(c); !bytes.Equal(got, test.flight) || err != nil {
					t.Errorf("the client got %x and %v, want %x and FIN", got, err, test.flight)
				}
				c.Close()
				first.Close()
				r.last(n)
				if s := r.b.Stats(); s.SecondChances != 0 || (s.NoBudget == 1) != test.poor || s.Connects != uint64(n) {
					t.Errorf("%d second chances, %d without budget, %d connects", s.SecondChances, s.NoBudget, s.Connects)
				}
				return
			}
			second := r.arrival()
			if second.server == first.server {
				t.Error("the same backend was asked again")
			}
			if got := read(t, second, len(sent)); !bytes.Equal(got, sent) {
				t.Error("the replay has other bytes")
			}
			r.talk(c, second, 1<<20, backend(answer{}.bytes(), certificate(500)), client(ccs()), backend(ccs()))
			c.Close()
			second.Close()
			rec := r.last(n)
			if rec.Backend.String() != second.server.addr || rec.Tries != 2 || rec.Verdict != VerdictRefused {
				t.Errorf("record %+v", *rec)
			}
			if s := r.b.Stats(); s.SecondChances != 1 || s.ConnectFailures != 0 {
				t.Errorf("%d second chances, %d connect failures", s.SecondChances, s.ConnectFailures)
			}
			if !first.server.backend.Up() {
				t.Error("a hang-up has marked the backend down")
			}
		})
	}
}

// Rule (b) holds once: the second hang-up is the answer. And with nobody else to
// ask, the first is.
func TestReplayOfHangUpOnce(t *testing.T) {
	for servers := 1; servers <= 3; servers++ {
		r := newRig(t)
		for range servers {
			r.serveByHand()
		}
		r.start(func(c *Config) { c.HoldTimeout = patience })
		c := r.dial()
		offer := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
		write(t, c, offer)
		for range min(servers, 2) {
			b := r.arrival()
			read(t, b, len(offer))
			write(t, b, alert(2, 47))
			sendFIN(b)
		}
		if got, err := io.ReadAll(c); !bytes.Equal(got, alert(2, 47)) || err != nil {
			t.Errorf("%d servers: the client got %x and %v, want the alert", servers, got, err)
		}
		if s := r.b.Stats(); s.SecondChances != uint64(min(servers, 2)-1) || s.Connects != uint64(min(servers, 2)) {
			t.Errorf("%d servers: %d second chances, %d connects", servers, s.SecondChances, s.Connects)
		}
		r.stop()
	}
}
