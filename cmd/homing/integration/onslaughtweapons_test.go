package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	mrand "math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"homing/bench/tlsclient"
	"homing/bench/tlscore"
	"homing/bench/unruly"
	"homing/cluster"
)

// arsenal is all attacks, with their rates: 108 tries a second in all, and at most 80 more while one is chosen.
func (a *attacker) arsenal() []*weapon {
	hello := func(make func() []byte) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			_, err := firstAnswer(ctx, a.nodes[a.node()].addr, a.from(), make())
			return false, err
		}
	}
	return []*weapon{
		{name: "a second hello, the first with junk under another's key", rate: 4, try: a.underOther},
		{name: "a second hello, the first with junk under a new name", rate: 4, try: a.underNew},
		{name: "junk under a known key's name, TLS 1.3", rate: 10, try: hello(func() []byte { return a.psk(a.keyName()) })},
		{name: "junk under a known key's name, TLS 1.2", rate: 10, try: hello(func() []byte { return a.old.junk(a.keyName()) })},
		{name: "junk under a new name, for second chances", rate: 10, try: hello(func() []byte { return a.psk(nil) })},
		{name: "a known session ID, and no more", rate: 5, try: hello(func() []byte { return a.id })},
		{name: "fresh hellos, and no more", rate: 10, try: hello(func() []byte { return a.fresh })},
		{name: "a forged PROXY header in pieces", rate: 4, try: a.forgeProxy},
		{name: "hellos that are none", rate: 8, try: a.hostileHello(false)},
		{name: "hellos without an end", rate: 3, try: a.hostileHello(true)},
		{name: "silence to clients, nodes and operators", rate: 9, try: a.silent},
		{name: "conns that stay at one backend", rate: stayRate, try: a.stay},
		{name: "tickets in masses, of a tenant's backend", rate: 20, try: a.tickets},
		{name: "agents that drain, forged", rate: 2, try: a.forge(func(m *cluster.Meta) { m.State = cluster.StateDraining })},
		{name: "agents that leave, forged", rate: 2, try: a.forge(func(m *cluster.Meta) { m.State = cluster.StateLeaving })},
		{name: "agents with a weight of 1000, forged", rate: 1, try: a.forge(func(m *cluster.Meta) { m.Announced.Weight = 1000 })},
		{name: "agents that are dead, forged", rate: 2, try: a.gossip(func(v *villain) { v.packets(goodbyes(a.agents, a.spoken.Add(1000))...) })},
		{name: "others that speak for agents", rate: 1, try: a.gossip(func(v *villain) {
			v.push(speakers(a.agents, netip.MustParseAddrPort(onslaughtNetwork+"66:7946"), a.spoken.Add(1)))
		})},
		{name: "500 garbage commands", rate: 0.4, try: a.gossip(func(v *villain) { v.packets(garbage(500)...) })},
		{name: "1,000 agents that there are not", rate: 0.2, try: a.gossip(func(v *villain) { v.push(fakes(1000)) })},
	}
}

func (a *attacker) keyName() []byte {
	s := a.poison[0].sessions
	return s[mrand.IntN(len(s))].Ticket[:nameBytes]
}

// psk is a hello with junk under a name; nil: one that nobody has.
func (a *attacker) psk(name []byte) []byte {
	o := a.poison[0].options
	o.Session, o.First = a.poison[0].sessions[0], &tlscore.Deviation{Identities: [][]byte{junkUnder(name)}}
	b, err := o.Hello()
	if err != nil {
		panic(err) // the options are ours
	}
	return b
}

func (a *attacker) underOther(ctx context.Context) (bool, error) {
	p := a.poison[a.node()]
	own, list := mrand.IntN(len(p.sessions)), orders()
	victim := (own + 1 + mrand.IntN(len(p.sessions)-1)) % len(p.sessions)
	first := &tlscore.Deviation{NoShares: true, Identities: [][]byte{junkUnder(p.sessions[victim].Ticket[:nameBytes])}}
	if mrand.IntN(4) == 0 {
		list, first.EarlyData = earlyOrders(), true
	}
	return false, a.shake(ctx, p, own, first, list[mrand.IntN(len(list))])
}

func (a *attacker) underNew(ctx context.Context) (bool, error) {
	p := a.poison[a.node()]
	name := junkUnder(nil)[:nameBytes]
	var errs [2]error
	for i := range errs {
		first := &tlscore.Deviation{NoShares: true, Identities: [][]byte{junkUnder(name)}}
		errs[i] = a.shake(ctx, p, mrand.IntN(len(p.sessions)), first, orders()[1+mrand.IntN(2)])
	}
	return false, errors.Join(errs[:]...)
}

// shake counts those that were accepted: only these could poison anything.
func (a *attacker) shake(ctx context.Context, p *poisoner, own int, first *tlscore.Deviation, order unruly.Order) error {
	resumed, err := p.shake(ctx, p.sessions[own], first, order)
	if resumed {
		a.accepted.Add(1)
	}
	return err
}

// forgeProxy sends a header that its address may not send, cut behind its first byte. It must not be answered.
func (a *attacker) forgeProxy(ctx context.Context) (hit bool, err error) {
	header := [][]byte{
		[]byte("PROXY TCP4 198.19.200.1 198.18.79.11 1 443\r\n"),
		[]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x13\xc8\x01\xc6\x12\x4f\x0b\x00\x01\x01\xbb"),
	}[mrand.IntN(2)]
	conn, err := tlsclient.Dial(ctx, a.from(), a.nodes[a.node()].addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	cut := 1 + mrand.IntN(5)
	if err := write(conn, header[:cut]); err != nil {
		return false, nil // refused, as it should be
	}
	sleep(ctx, 20*time.Millisecond)
	if write(conn, append(bytes.Clone(header[cut:]), a.fresh...)) != nil {
		return false, nil // likewise
	}
	n, _ := conn.Read(make([]byte, 1)) // how it ended is no matter
	return n > 0, nil
}

func (a *attacker) hostileHello(held bool) func(context.Context) (bool, error) {
	var kinds []junk
	for _, kind := range junkKinds() {
		if kind.held == held {
			kinds = append(kinds, kind)
		}
	}
	return func(ctx context.Context) (bool, error) {
		conn, err := tlsclient.Dial(ctx, a.from(), a.nodes[a.node()].addr)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		j := newJunkmaker([][]byte{a.fresh, a.old.hello})
		if err := kinds[mrand.IntN(len(kinds))].send(j, conn); err != nil {
			return false, nil // it was hung up on, as it may be
		}
		patience := lingering
		if held {
			patience = attackPatience
		}
		untilClosed(conn, patience)
		return false, nil
	}
}

func (a *attacker) silent(ctx context.Context) (bool, error) {
	h := a.nodes[a.node()]
	addr := []string{h.addr, h.admin, strings.TrimSuffix(h.addr, "443") + "7947"}[mrand.IntN(3)]
	conn, err := tlsclient.Dial(ctx, a.from(), addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	untilClosed(conn, attackPatience)
	return false, nil
}

func (a *attacker) stay(ctx context.Context) (bool, error) {
	p := a.poison[a.node()]
	conn, err := p.stay(ctx, p.sessions[a.victim.Load()].Ticket[:nameBytes])
	if conn != nil {
		defer conn.Close()
		sleep(ctx, attackPatience)
	}
	return false, err
}

// tickets has the tenant's backend issue: 2 tickets at a time, and once in a while 20,000.
func (a *attacker) tickets(ctx context.Context) (bool, error) {
	if a.masses.Add(1)%100 == 0 {
		a.bad.tickets.Store(20_000)
		defer a.bad.tickets.Store(2)
	}
	err := a.bad.visit(ctx, a.from(), a.nodes[a.node()].addr)
	if errors.Is(err, io.EOF) {
		err = nil // too many tickets, and cut off for it
	}
	return false, err
}

func (a *attacker) gossip(do func(v *villain)) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) {
		do(a.villains[a.node()])
		return false, nil
	}
}

func (a *attacker) forge(change func(*cluster.Meta)) func(context.Context) (bool, error) {
	return a.gossip(func(v *villain) { v.push(forged(a.agents, a.spoken.Add(1000), change)) })
}

// oldTicket is a hello of TLS 1.2 with a ticket.
type oldTicket struct {
	hello  []byte
	at, to int // the ticket
}

// junk is the hello with junk under a key's name.
func (o *oldTicket) junk(name []byte) []byte {
	b := bytes.Clone(o.hello)
	_, _ = rand.Read(b[o.at:o.to]) // never fails
	copy(b[o.at:], name)
	return b
}
