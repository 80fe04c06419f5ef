package integration

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	mrand "math/rand/v2"
	"net"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	"homing/bench/tlscore"
	"homing/bench/unruly"
	"homing/cmd/homing/internal/api"
)

// poisoner is a client that has sessions of its own at three nginx, and tries to have them pass for others.
type poisoner struct {
	addr     string
	from     func() *net.TCPAddr
	options  tlscore.Options
	retry    []byte             // what each of the three asks with
	sessions []*tlscore.Session // by server
	resumed  int                // its handshakes that did
	open     []net.Conn         // those of crowd
}

// newPoisoner gets the sessions at the servers themselves: through homing it would take longer, and no more.
func newPoisoner(t *testing.T, servers []*farm.Nginx, cert *farm.Certificate, from func() *net.TCPAddr) *poisoner {
	t.Helper()
	p := &poisoner{from: from, options: optionsOf(tlscore.OfferPSK, cert)}
	for _, n := range servers {
		m, err := meetFrom(t.Context(), from(), n.Addr(), p.options)
		if err != nil || len(m.sessions) == 0 {
			t.Fatalf("no session at %s: %v", n.Name(), err)
		}
		p.sessions = append(p.sessions, m.sessions[len(m.sessions)-1])
	}
	o := p.options
	o.First = &tlscore.Deviation{NoShares: true}
	raw, err := tlsclient.Dial(t.Context(), from(), servers[0].Addr())
	if err == nil {
		p.retry, err = unruly.LearnRetry(raw, &o)
	}
	testkit.Check(t, err)
	return p
}

// junkUnder is an identity as nginx issues them, under the name of another's key.
func junkUnder(name []byte) []byte {
	b := make([]byte, 240)
	_, _ = rand.Read(b) // never fails
	copy(b, name)
	return b
}

// try makes one handshake: a first hello with what it likes, and a second with a session of its own.
func (p *poisoner) try(ctx context.Context, s *tlscore.Session, first *tlscore.Deviation, order unruly.Order) error {
	resumed, err := p.shake(ctx, s, first, order)
	if resumed {
		p.resumed++
	}
	return err
}

func (p *poisoner) shake(ctx context.Context, s *tlscore.Session, first *tlscore.Deviation, order unruly.Order) (resumed bool, err error) {
	raw, err := tlsclient.Dial(ctx, p.from(), p.addr)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	o := p.options
	o.Session, o.First = s, first
	if order.Ahead != 0 {
		order.Retry = p.retry
	}
	c, err := unruly.Shake(raw, &o, order)
	if err != nil {
		return false, err
	}
	return c.State().Resumed, c.Ask(httpRequest)
}

// crowd opens so many conns that hold their places at the backend of a name and say no more: where there are more than 64 above one
// and a half times the mean, the next one under the name goes elsewhere.
func (p *poisoner) crowd(t *testing.T, name []byte, conns int) {
	t.Helper()
	for range conns {
		raw, err := p.stay(t.Context(), name)
		if raw != nil {
			p.open = append(p.open, raw)
		}
		testkit.Check(t, err)
	}
}

// leave closes what crowd opened.
func (p *poisoner) leave() {
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// stay opens one of them, which the caller closes, on an error too.
func (p *poisoner) stay(ctx context.Context, name []byte) (net.Conn, error) {
	raw, err := tlsclient.Dial(ctx, p.from(), p.addr)
	if err != nil {
		return nil, err
	}
	o := p.options
	o.Session, o.First = p.sessions[0], &tlscore.Deviation{Identities: [][]byte{junkUnder(name)}}
	hello, err := o.Hello()
	if err == nil {
		_, err = raw.Write(hello)
	}
	if err == nil {
		_, err = raw.Read(make([]byte, 1)) // it is there
	}
	return raw, err
}

// orders are those that a server takes.
func orders() []unruly.Order {
	change := unruly.ChangeCipherSpec()
	return []unruly.Order{
		{},
		{With: change},
		{Before: change},
		{Before: change, Behind: change},
		{Ahead: -1},
		{With: change, Ahead: -1},
		{With: change, Ahead: 100},
		{With: change, Chunk: 3},
	}
}

// earlyOrders are those of a hello that announces early data.
func earlyOrders() []unruly.Order {
	data := unruly.EarlyData(1000)
	return []unruly.Order{{With: data}, {Before: data}, {With: data, Before: data, Behind: data}, {With: data, Ahead: -1}, {With: data, Ahead: 7}}
}

// underOthers makes each server accept a session of its own while the first hello has an identity under another one's key, in every
// order.
func (p *poisoner) underOthers(t *testing.T) {
	t.Helper()
	const tries = 160
	for victim := range p.sessions {
		name := p.sessions[victim].Ticket[:16]
		p.crowd(t, name, 160)
		for i := range tries {
			first := &tlscore.Deviation{NoShares: true, Identities: [][]byte{junkUnder(name)}}
			list := orders()
			if i%4 == 3 {
				list, first.EarlyData = earlyOrders(), true
			}
			// Whether it comes to the server of that one is chance: by turns it could keep step with the balancer's own turns, and never come.
			other := (victim + 1 + mrand.IntN(2)) % len(p.sessions)
			resumed := p.resumed
			if err := p.try(t.Context(), p.sessions[other], first, list[i/4%len(list)]); err != nil {
				t.Errorf("try %d: %v", i, err)
			}
			// The crowd stands at the limit. Where its last one left room for one more, that one would be each try.
			if p.resumed == resumed {
				p.crowd(t, name, 1)
			}
		}
		p.leave()
	}
}

// underNames makes servers accept sessions while the first hello has identities under so many names that nobody has: two of each.
func (p *poisoner) underNames(t *testing.T, names int) {
	t.Helper()
	for i := range names {
		name := make([]byte, 16)
		_, _ = rand.Read(name) // never fails
		for range 2 {
			first := &tlscore.Deviation{NoShares: true, Identities: [][]byte{junkUnder(name)}}
			if err := p.try(t.Context(), p.sessions[mrand.IntN(len(p.sessions))], first, orders()[1+i%2]); err != nil {
				t.Fatalf("name %d: %v", i, err)
			}
		}
	}
}

// heldKeys asks for the ticket keys.
func (h *homing) heldKeys(t *testing.T) []api.TicketKey {
	t.Helper()
	var keys api.TicketKeys
	testkit.Check(t, h.ask(t.Context(), "/v1/ticket-keys", &keys))
	return keys.TicketKeys
}

// trueKeys checks that what is known of ticket keys is what there is: one of each server, at that server.
func (h *homing) trueKeys(t *testing.T, servers []*farm.Nginx) {
	t.Helper()
	home := map[string]int{}
	keys := h.heldKeys(t)
	for _, k := range keys {
		if len(k.Backends) != 1 || k.Length != 16 {
			t.Errorf("a key of %d bytes with homes %v", k.Length, k.Backends)
			continue
		}
		home[k.Backends[0].Address]++
	}
	for _, n := range servers {
		if home[n.Addr()] != 1 {
			t.Errorf("%d keys of %s", home[n.Addr()], n.Name())
		}
	}
	if len(keys) != len(servers) {
		t.Errorf("%d ticket keys are known, there are %d", len(keys), len(servers))
	}
}

// A client that puts others' key names into its first hello, and sessions of its own into the second, moves nothing: three nginx,
// homing with its defaults, all orders of bytes; 400 names that nobody has on top. Good clients resume as before, and only what
// the servers have is known.
func TestIntegrationSecondHelloPoisons(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	h := startHoming(t, addrs(servers))
	h.probed(t, servers)
	good := users(t, h.addr, 12, goUser(cert, tls.VersionTLS13))
	before := reconnect(t, h.addr, good, 90)
	p := newPoisoner(t, servers, cert, tlsclient.RandomLoopback)
	p.addr = h.addr

	p.underOthers(t)
	resumed := p.resumed
	after := reconnect(t, h.addr, good, 90)
	t.Logf("good clients before: %v", &before)
	t.Logf("after %d of the hostile one's sessions were accepted: %v", resumed, &after)
	p.underNames(t, 400)
	last := reconnect(t, h.addr, good, 90)
	t.Logf("after 400 names: %v; %d ticket keys", &last, len(h.heldKeys(t)))
	if resumed < 10 || p.resumed-resumed < 100 {
		t.Errorf("%d and %d of the hostile sessions were accepted: this is no attack", resumed, p.resumed-resumed)
	}
	for _, c := range []*tally{&before, &after, &last} {
		if c.accepted != c.offered {
			t.Errorf("%v", c)
		}
	}
	h.trueKeys(t, servers)
	if n := h.metrics(t)[`homing_table_entries{table="sessions"}`]; n > 0 {
		t.Errorf("%v exact entries, of servers that name their keys", n)
	}
}

// Nor does it move anything at another node, which replicates what the attacked one learns.
func TestIntegrationSecondHelloPoisonsNoOtherNode(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	var flags []string
	for _, n := range servers {
		flags = append(flags, "--backend", n.Addr())
	}
	w := newTown(t, flags...)
	w.build(t, 2)
	attacked, other := &w.nodes[0].homing, &w.nodes[1].homing
	for _, h := range []*homing{attacked, other} {
		h.awaitKeys(t, len(servers))
	}
	good := users(t, other.addr, 12, goUser(cert, tls.VersionTLS13))
	before := reconnect(t, other.addr, good, 45)
	p := newPoisoner(t, servers, cert, tlsclient.RandomLoopback)
	p.addr = attacked.addr
	p.underOthers(t)
	p.underNames(t, 50)
	after := reconnect(t, other.addr, good, 45)
	t.Logf("%d of the hostile one's sessions were accepted; good clients at the other node before: %v; after: %v", p.resumed, &before, &after)
	if p.resumed < 10 {
		t.Errorf("%d of the hostile sessions were accepted: this is no attack", p.resumed)
	}
	for _, c := range []*tally{&before, &after} {
		if c.accepted != c.offered {
			t.Errorf("%v", c)
		}
	}
	for _, h := range []*homing{attacked, other} {
		h.trueKeys(t, servers)
		if n := h.metrics(t)[`homing_table_entries{table="sessions"}`]; n > 0 {
			t.Errorf("%v exact entries, of servers that name their keys", n)
		}
	}
}
