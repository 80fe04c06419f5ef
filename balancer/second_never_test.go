//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"testing"

	"homing/balancer/pool"
)

// TestNoSecondChance has each condition that forbids rule (c): the refusal is the
// answer, and no other backend hears of it.
func TestNoSecondChance(t *testing.T) {
	refuse := join(answer{tls13: true}.bytes(), appData(500))
	for _, test := range []struct {
		name   string
		edit   func(*Config)
		poor   bool
		proven bool // the offer was sent home
		early  bool
		behind []byte
		more   []byte
		fin    bool
		retry  bool // HelloRetryRequest comes first
		alone  bool
	}{
		{name: "off", edit: withPool(func(o *pool.Options) { o.SecondChance.Auto = false })},
		{name: "no budget", poor: true},
		{name: "home", proven: true},
		{name: "early data", early: true},
		{name: "a later byte", more: []byte{20}},
		{name: "a later byte with the hello", behind: []byte{20}},
		{name: "FIN", fin: true},
		{name: "after HelloRetryRequest", retry: true},
		{name: "no other backend", alone: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			if !test.alone {
				r.serveByHand()
			}
			edits := []func(*Config){withChances(3)}
			if test.edit != nil {
				edits = append(edits, test.edit)
			}
			if test.poor {
				edits = append(edits, withPool(func(o *pool.Options) { o.SecondChance.Budget = 1e-9 }))
			}
			r.prepare(pool.Options{}, edits...)
			if test.poor {
				r.share().budget = 0
			}
			r.run()
			n, ticket := 1, named("sixteen bytes nm", 1)
			if test.proven {
				r.teachTicket(ticket)
				n++
			}
			offer := join(hello{psks: [][]byte{ticket}, early: test.early}.bytes(), test.behind)
			c := r.dial()
			write(t, c, offer)
			b := r.arrival()
			read(t, b, len(offer))
			if test.more != nil {
				r.talk(c, b, 1<<20, client(test.more))
			}
			if test.fin {
				sendFIN(c)
			}
			if test.retry {
				r.talk(c, b, 1<<20, backend(answer{retry: true}.bytes()), client(offer))
			}
			r.talk(c, b, 1<<20, backend(refuse))
			b.Close()
			if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
				t.Errorf("the client got %d more bytes and %v, want FIN", len(rest), err)
			}
			c.Close()
			if rec := r.last(n); rec.Verdict != VerdictRefused || rec.Tries != 1 {
				t.Errorf("record %+v", *rec)
			}
			if s := r.b.Stats(); s.SecondChances != 0 || (s.NoBudget > 0) != test.poor || s.Connects != uint64(n) {
				t.Errorf("%d second chances, %d without budget, %d connects", s.SecondChances, s.NoBudget, s.Connects)
			}
		})
	}
}

// What the client has sent counts too when it is not read yet: the refusal and a
// later byte come in one batch, the refusal first.
func TestNoSecondChanceForUnreadByte(t *testing.T) {
	refuse := join(answer{tls13: true}.bytes(), appData(500))
	for name, more := range map[string]func(*net.TCPConn){
		"byte": func(c *net.TCPConn) { write(t, c, []byte{20}) },
		"FIN":  func(c *net.TCPConn) { sendFIN(c) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			r.serveByHand()
			r.start(withChances(1))
			offer := hello{psks: [][]byte{named("sixteen bytes nm", 1)}}.bytes()
			c := r.dial()
			write(t, c, offer)
			b := r.arrival()
			read(t, b, len(offer))
			thaw := r.freeze()
			write(t, b, refuse)
			more(c)
			thaw()
			if got := read(t, c, len(refuse)); !bytes.Equal(got, refuse) {
				t.Error("the client did not get the first answer")
			}
			if s := r.b.Stats(); s.SecondChances != 0 {
				t.Errorf("%d second chances", s.SecondChances)
			}
		})
	}
}
