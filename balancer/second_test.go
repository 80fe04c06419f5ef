//go:build linux

package balancer

import (
	"bytes"
	"io"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// withChances switches rule (c) of DESIGN.md section 3.4 on.
func withChances(tries int) func(*Config) {
	return func(c *Config) {
		withPool(func(o *pool.Options) { o.SecondChance = pool.SecondChance{Auto: true, Tries: tries, Budget: 1} })(c)
		c.HoldTimeout = patience
	}
}

// TestSecondChance: what becomes of an offer that a guessed backend refused. The
// first backend always refuses; its flight ends in the middle of a message, and
// the rest follows while the others are asked.
func TestSecondChance(t *testing.T) {
	accept13, refuse13 := join(answer{tls13: true, psk: 1}.bytes(), appData(300)), join(answer{tls13: true}.bytes(), appData(2000))
	accept12, refuse12 := join(answer{}.bytes(), ccs(), finished()), join(answer{}.bytes(), certificate(2000), helloDone())
	says := func(flight []byte) func(arrival) { return func(b arrival) { write(t, b, flight) } }
	ends := func(flight []byte) func(arrival) {
		return func(b arrival) { write(t, b, flight); sendFIN(b) }
	}
	for _, test := range []struct {
		name     string
		tls12    bool
		tries    int
		others   []func(arrival) // what the second, the third backend do
		used     int             // whose answer the client gets
		holdTime time.Duration
	}{
		{name: "the second accepts", others: []func(arrival){says(accept13)}, used: 1},
		{name: "the second accepts a ticket", tls12: true, others: []func(arrival){says(accept12)}, used: 1},
		{name: "the second refuses", others: []func(arrival){says(refuse13)}},
		{name: "the second refuses a ticket", tls12: true, others: []func(arrival){says(refuse12)}},
		{name: "the third accepts", tries: 2, others: []func(arrival){says(refuse13), says(accept13)}, used: 2},
		{name: "the third refuses", tries: 2, others: []func(arrival){says(refuse13), says(refuse13)}},
		{name: "two tries are not three", tries: 2, others: []func(arrival){says(refuse13), says(refuse13)}},
		{name: "the second hangs up", others: []func(arrival){ends(nil)}},
		{name: "the second hangs up on a ticket", tls12: true, tries: 2, others: []func(arrival){ends(nil)}},
		{name: "the second resets", others: []func(arrival){func(b arrival) { sendRST(b) }}},
		{name: "the second sends an alert", others: []func(arrival){says(alert(2, 47))}},
		{name: "the second sends an alert to a ticket", tls12: true, tries: 2, others: []func(arrival){ends(alert(2, 47))}},
		{name: "the second asks for another hello", others: []func(arrival){says(answer{retry: true}.bytes())}},
		{name: "the second is no TLS server", others: []func(arrival){says([]byte("220 mail.test ESMTP"))}},
		{name: "the second says nothing", others: []func(arrival){says(nil)}, holdTime: 200 * time.Millisecond},
		{name: "the second says half of it", others: []func(arrival){says(accept13[:30])}, holdTime: 200 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			var order []*server
			for range 4 {
				order = append(order, r.serveByHand())
			}
			tries := max(test.tries, 1)
			r.start(withChances(tries), func(c *Config) {
				if test.holdTime > 0 {
					c.HoldTimeout = test.holdTime
				}
			})
			ticket := r.ticketFor(order...)
			offer, refuse := hello{psks: [][]byte{ticket}}.bytes(), refuse13
			if test.tls12 {
				offer, refuse = hello{ticket: ticket}.bytes(), refuse12
			}
			c := r.dial()
			write(t, c, offer)
			var asked []arrival
			for i := range 1 + len(test.others) {
				b := r.arrival()
				if b.server != order[i] {
					t.Errorf("backend %d was asked, want %d", b.server.index, order[i].index)
				}
				if got := read(t, b, len(offer)); !bytes.Equal(got, offer) {
					t.Error("the hello has changed on its way")
				}
				asked = append(asked, b)
				if i == 0 {
					write(t, b, refuse[:len(refuse)-100])
					continue
				}
				if i == 1 {
					write(t, asked[0], refuse[len(refuse)-100:])
				}
				test.others[i-1](b)
			}
			want := refuse
			if test.used > 0 {
				want = accept13
				if test.tls12 {
					want = accept12
				}
			}
			if got := read(t, c, len(want)); !bytes.Equal(got, want) {
				t.Errorf("the client did not get the flight of backend %d", test.used)
			}
			// The one that is used goes on, both ways, and ends in order; the
			// others are gone.
			b := asked[test.used]
			r.talk(c, b, 1<<20, client(ccs(), []byte("the client's")), backend([]byte("the backend's")))
			for i, other := range asked {
				if i != test.used {
					if _, err := io.Copy(io.Discard, other); err != nil && !isReset(err) && !isClosed(err) {
						t.Errorf("backend %d: %v", i, err)
					}
				}
			}
			sendFIN(c)
			if rest, err := io.ReadAll(b); len(rest) > 0 || err != nil {
				t.Errorf("the backend got %q and %v, want FIN", rest, err)
			}
			b.Close()
			rec := r.ends(1, "--")
			verdict := VerdictRefused
			if test.used > 0 {
				verdict = VerdictAccepted
			}
			if rec.Verdict != verdict || rec.Source != affinity.SourceExplore || rec.Backend.String() != order[test.used].addr || rec.Tries != 1+len(test.others) {
				t.Errorf("record %+v", *rec)
			}
			s := r.b.Stats()
			if s.SecondChances != uint64(len(test.others)) || s.Replays != 0 || s.Routes[affinity.SourceExplore] != 1 {
				t.Errorf("%d second chances, %d replays, routes %v", s.SecondChances, s.Replays, s.Routes)
			}
		})
	}
}

// A second backend that refuses the connection leaves the first answer.
func TestSecondChanceConnectFails(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		r := newRig(t)
		order := []*server{r.serveByHand()}
		if deaf {
			order = append(order, r.deafServer())
		} else {
			order = append(order, r.unserved())
		}
		r.start(withChances(1), func(c *Config) { c.ConnectTimeout = 600 * time.Millisecond })
		offer := hello{psks: [][]byte{r.ticketFor(order...)}}.bytes()
		c := r.dial()
		write(t, c, offer)
		b := r.arrival()
		read(t, b, len(offer))
		refuse := join(answer{tls13: true}.bytes(), appData(2000))
		r.talk(c, b, 1<<20, backend(refuse), client(ccs()), backend(appData(10)))
		b.Close()
		c.Close()
		if rec := r.ends(1, "--"); rec.Verdict != VerdictRefused || rec.Backend.String() != order[0].addr {
			t.Errorf("record %+v", *rec)
		}
		if s := r.b.Stats(); s.SecondChances != 1 || s.ConnectFailures != 1 {
			t.Errorf("%d second chances, %d connect failures", s.SecondChances, s.ConnectFailures)
		}
		r.stop()
	}
}

// A client that goes on while the second backend is asked has decided: the first
// answer counts, and its backend gets everything.
func TestClientGoesOnDuringSecondChance(t *testing.T) {
	refuse := join(answer{tls13: true}.bytes(), appData(500))
	for _, test := range []struct {
		name      string
		more      string
		fin       bool
		connected bool // the second backend has the hello; otherwise it is deaf
	}{
		{"bytes while connecting", "more", false, false},
		{"FIN while connecting", "", true, false},
		{"bytes", "more", false, true},
		{"bytes and FIN", "more", true, true},
		{"FIN", "", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			order := []*server{r.serveByHand()}
			if test.connected {
				order = append(order, r.serveByHand())
			} else {
				order = append(order, r.deafServer())
			}
			r.start(withChances(1))
			offer := hello{psks: [][]byte{r.ticketFor(order...)}}.bytes()
			c := r.dial()
			write(t, c, offer)
			b := r.arrival()
			read(t, b, len(offer))
			write(t, b, refuse)
			r.await("the second is asked", func() bool { return r.b.Stats().SecondChances == 1 })
			if test.connected {
				read(t, r.arrival(), len(offer))
			}
			write(t, c, []byte(test.more))
			if test.fin {
				sendFIN(c)
			}
			if got := read(t, c, len(refuse)); !bytes.Equal(got, refuse) {
				t.Error("the client did not get the first answer")
			}
			if got := read(t, b, len(test.more)); string(got) != test.more {
				t.Errorf("the first backend got %q", got)
			}
			if test.fin {
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the first backend got %v, want FIN", err)
				}
			}
			r.talk(c, b, 1<<20, backend([]byte("the backend's")))
			b.Close()
			c.Close()
			r.ends(1, "--")
		})
	}
	t.Run("RST", func(t *testing.T) {
		r := newRig(t)
		order := []*server{r.serveByHand(), r.serveByHand()}
		r.start(withChances(1))
		offer := hello{psks: [][]byte{r.ticketFor(order...)}}.bytes()
		c := r.dial()
		write(t, c, offer)
		first := r.arrival()
		read(t, first, len(offer))
		write(t, first, refuse)
		second := r.arrival()
		sendRST(c)
		for _, b := range []arrival{first, second} {
			if _, err := io.Copy(io.Discard, b); !isReset(err) {
				t.Errorf("a backend got %v, want RST", err)
			}
		}
		r.ends(1, "CA")
	})
}

// The client's home is a guess too: its refusal gets a second chance, and stays
// the answer, by rule client, if that fails.
func TestSecondChanceAfterClientHome(t *testing.T) {
	for _, accepts := range []bool{true, false} {
		r := newRig(t)
		for range 3 {
			r.serveByHand()
		}
		r.start(withChances(1))
		home := r.teach(hello{tls13: true}, backend(answer{tls13: true}.bytes(), appData(900)), client(ccs(), appData(50)), backend(appData(200)))
		r.settle()
		offer := hello{psks: [][]byte{noName(1)}}.bytes()
		c := r.dial()
		write(t, c, offer)
		first := r.arrival()
		read(t, first, len(offer))
		if first.server != home {
			t.Errorf("asked backend %d first, the client's home is %d", first.server.index, home.index)
		}
		flight := join(answer{tls13: true}.bytes(), appData(900))
		write(t, first, flight)
		second := r.arrival()
		read(t, second, len(offer))
		verdict, source := VerdictRefused, affinity.SourceClient
		if accepts {
			flight = join(answer{tls13: true, psk: 1}.bytes(), appData(100))
			verdict, source = VerdictAccepted, affinity.SourceExplore
		}
		write(t, second, flight)
		read(t, c, len(flight))
		first.Close()
		second.Close()
		c.Close()
		if rec := r.last(2); rec.Verdict != verdict || rec.Source != source || accepts != (rec.Lost == LostNone) {
			t.Errorf("accepts %v: record %+v", accepts, *rec)
		}
		r.stop()
	}
}
