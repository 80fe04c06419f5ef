package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"math"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/tlsclient"
	"homing/bench/tlscore"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

const (
	// boost is by how much more of an attack there is while it is thought to be the best.
	boost = 5
	// attackPlaces bounds the tries of one attack that are under way; what comes beyond is left out.
	attackPlaces = 400
	// attackPatience is how long a conn that says nothing, or stays, is kept.
	attackPatience = 10 * time.Second
	// attackRound is how long one attack is tried before its effect is looked at.
	attackRound = time.Second
)

// weapon is one kind of attack.
type weapon struct {
	name string
	rate float64 // tries a second, boost times as many while it is chosen
	try  func(ctx context.Context) (hit bool, err error)

	chosen      atomic.Bool
	tries, hits atomic.Int64 // hits are answers that say that it worked
	unanswered  atomic.Int64
	rounds      float64
	effect      float64       // sum over the rounds, each 0 to 1
	places      chan struct{} // of tries under way
}

func (w *weapon) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	due := 0.0
	const tick = 50 * time.Millisecond
	for ctx.Err() == nil {
		sleep(ctx, tick)
		rate := w.rate
		if w.chosen.Load() {
			rate *= boost
		}
		for due += rate * tick.Seconds(); due >= 1; due-- {
			select {
			case w.places <- struct{}{}:
			default:
				continue
			}
			all.Go(func() {
				defer func() { <-w.places }()
				hit, err := w.try(ctx)
				w.tries.Add(1)
				if hit {
					w.hits.Add(1)
				}
				if err != nil {
					w.unanswered.Add(1)
				}
			})
		}
	}
}

// attacker has sessions of its own at all servers, a host with the gossip key, a backend of a tenant's, and watches by clients of its
// own what its attacks do to others. It spends most on what has had the most effect.
type attacker struct {
	nodes    []*homing
	bad      *hostileBackend
	poison   []*poisoner // for each node
	villains []*villain  // for each node
	agents   []api.Member
	spoken   atomic.Uint32
	id       []byte // a hello that offers a session ID that is known
	fresh    []byte
	old      oldTicket
	masses   atomic.Int64
	victim   atomic.Int64 // whose key's name is used by those who stay
	width    atomic.Int64 // addresses
	watch    []user
	calm     time.Duration // what a conn of these takes when all is calm
	weapons  []*weapon
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

func newAttacker(t *testing.T, o *onslaught) *attacker {
	t.Helper()
	a := &attacker{nodes: o.attacked.nodes, bad: o.bad}
	a.width.Store(1)
	a.bad.tickets.Store(2)
	p := newPoisoner(t, o.servers, o.cert, a.from)
	for _, h := range a.nodes {
		own := *p
		own.addr = h.addr
		a.poison = append(a.poison, &own)
		a.villains = append(a.villains, newVillain(t, onslaughtBridge+"-66", gossipKeyOf(t, o.attacked), strings.TrimSuffix(h.addr, "443")+"7946"))
	}
	a.readMembers(t)
	at := func(version uint16) tlsclient.Config {
		cfg := clientConfig(o.cert, version)
		cfg.Source = func() *net.TCPAddr { return clientAt(251, 1+mrand.IntN(254)) }
		return cfg
	}
	id, ticket, psk := tlsclient.NewID(at(tls.VersionTLS12)), tlsclient.New(at(tls.VersionTLS12)), tlsclient.New(at(tls.VersionTLS13))
	var err error
	if a.fresh, err = psk.Hello(); err != nil {
		t.Fatal(err)
	}
	a.watch = []user{id, ticket, psk}
	for _, u := range a.watch {
		if _, err := u.Get(t.Context(), a.nodes[0].addr); err != nil {
			t.Fatal(err)
		}
	}
	if a.id, err = id.Hello(); err != nil {
		t.Fatal(err)
	}
	if a.old.hello, err = ticket.Hello(); err != nil {
		t.Fatal(err)
	}
	a.old.at = bytes.Index(a.old.hello, ticket.Ticket())
	a.old.to = a.old.at + len(ticket.Ticket())
	if _, a.calm = a.look(t.Context(), 5); a.calm == 0 {
		t.Fatal("the attacker's own clients are not served")
	}
	a.weapons = a.arsenal()
	for _, w := range a.weapons {
		w.places = make(chan struct{}, attackPlaces)
	}
	return a
}

// readMembers reads what the hostile agent is told by gossip: who the others are.
func (a *attacker) readMembers(t *testing.T) {
	t.Helper()
	var view api.Cluster
	if err := a.nodes[0].ask(t.Context(), "/v1/cluster", &view); err != nil {
		t.Fatal(err)
	}
	for _, m := range view.Members {
		if m.Role == "agent" {
			a.agents = append(a.agents, m)
		}
	}
}

// from is one of the attacker's addresses, each in a network of its own.
func (a *attacker) from() *net.TCPAddr { return clientAt(mrand.IntN(int(a.width.Load())), 66) }

func (a *attacker) node() int { return mrand.IntN(len(a.nodes)) }

// look has the watching clients reconnect n times each: the share of the offers that were not accepted, and the mean time.
func (a *attacker) look(ctx context.Context, n int) (lost float64, mean time.Duration) {
	var offers, bad int
	var took time.Duration
	for range n {
		for _, u := range a.watch {
			begun := time.Now()
			r, err := u.Get(ctx, a.nodes[a.node()].addr)
			took += time.Since(begun)
			offers++
			if err != nil || !r.Resumed {
				bad++
			}
		}
	}
	return float64(bad) / float64(offers), took / time.Duration(offers)
}

// run attacks until ctx is done, with everything at once, and most of what has done the most harm so far: UCB1 over the weapons. An
// effect is what the attacker can see: offers of its own clients that were lost, answers to its tries that should not have
// come, and, less, that conns take longer.
func (a *attacker) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range a.weapons {
		all.Go(func() { w.run(ctx) })
	}
	for n := 1; ctx.Err() == nil; n++ {
		w := a.best(float64(n))
		a.victim.Store(mrand.Int64N(3))
		w.chosen.Store(true)
		begun, hits := time.Now(), w.hits.Load()
		sleep(ctx, attackRound/2)
		lost, mean := a.look(ctx, 2)
		sleep(ctx, attackRound-time.Since(begun))
		w.chosen.Store(false)
		if ctx.Err() != nil {
			break
		}
		slower := min(0.2, max(0, float64(mean-a.calm)/float64(20*a.calm)))
		w.rounds++
		w.effect += min(1, lost+slower+math.Min(1, float64(w.hits.Load()-hits)))
	}
	all.Wait()
}

func (a *attacker) best(n float64) (best *weapon) {
	most := math.Inf(-1)
	for _, w := range a.weapons {
		worth := math.Inf(1)
		if w.rounds > 0 {
			worth = w.effect/w.rounds + 0.2*math.Sqrt(2*math.Log(n)/w.rounds)
		}
		if worth > most {
			best, most = w, worth
		}
	}
	return best
}

// arsenal is all attacks, with their rates: 105 tries a second in all, and at most 50 more while the most frequent one is boosted.
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
		{name: "conns that stay at one backend", rate: 2, try: a.stay},
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
	_, err := p.shake(ctx, p.sessions[own], first, list[mrand.IntN(len(list))])
	return false, err // accepted is what it always is
}

func (a *attacker) underNew(ctx context.Context) (bool, error) {
	p := a.poison[a.node()]
	name := junkUnder(nil)[:nameBytes]
	var errs [2]error
	for i := range errs {
		first := &tlscore.Deviation{NoShares: true, Identities: [][]byte{junkUnder(name)}}
		_, errs[i] = p.shake(ctx, p.sessions[mrand.IntN(len(p.sessions))], first, orders()[1+mrand.IntN(2)])
	}
	return false, errors.Join(errs[:]...)
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
		return false, nil //nolint:nilerr // refused, as it should be
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
			return false, nil //nolint:nilerr // it was hung up on, as it may be
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

// report tells what was done.
func (a *attacker) report(t *testing.T) {
	t.Helper()
	for _, w := range a.weapons {
		t.Logf("%-56s %6d tries, %4d unanswered, %d hits; chosen %3.0f times, effect %.3f",
			w.name, w.tries.Load(), w.unanswered.Load(), w.hits.Load(), w.rounds, w.effect/max(1, w.rounds))
	}
}
