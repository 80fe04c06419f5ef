package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"math"
	mrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/bench/tlsclient"
	"homing/cmd/homing/internal/api"
)

const (
	// boost is by how much more of an attack there is while it is thought to be the best.
	boost = 5
	// attackPlaces bounds the tries of one attack that are under way; what comes beyond is left out.
	attackPlaces = 400
	// attackPatience is how long a conn that says nothing, or stays, is kept.
	attackPatience = 10 * time.Second
	// stayRate times boost times attackPatience is 100 conns at two nodes, fewer than the 64 at each that any backend may have. With
	// more than 64 above 1.5 times the mean it is overloaded, and passed over, whoever holds them.
	stayRate = 2
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
	accepted atomic.Int64 // own sessions, behind a first hello that named others' keys
	watch    []user
	calm     time.Duration // what a conn of these takes when all is calm
	weapons  []*weapon
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
		a.villains = append(a.villains, newVillain(t, onslaughtBridge+"-66", gossipKeyOf(t, o.attacked),
			strings.TrimSuffix(h.addr, "443")+"7946"))
	}
	a.readMembers(t)
	at := func(version uint16) tlsclient.Config {
		cfg := clientConfig(o.cert, version)
		cfg.Source = func() *net.TCPAddr { return clientAt(251, 1+mrand.IntN(254)) }
		return cfg
	}
	id, ticket, psk := tlsclient.NewID(at(tls.VersionTLS12)), newGoClient(at(tls.VersionTLS12)), newGoClient(at(tls.VersionTLS13))
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
	testkit.Check(t, a.nodes[0].ask(t.Context(), "/v1/cluster", &view))
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

// report tells what was done, and whether it was what it should be.
func (a *attacker) report(t *testing.T) {
	t.Helper()
	for _, w := range a.weapons {
		t.Logf("%-56s %6d tries, %4d unanswered, %d hits; chosen %3.0f times, effect %.3f",
			w.name, w.tries.Load(), w.unanswered.Load(), w.hits.Load(), w.rounds, w.effect/max(1, w.rounds))
		if n := w.tries.Load(); n == 0 || w.unanswered.Load() > 1+n/10 {
			t.Errorf("%s: %d of %d tries were not answered: this is no attack", w.name, w.unanswered.Load(), n)
		}
		if n := w.hits.Load(); n > 0 {
			t.Errorf("%s: %d answers that should not have come", w.name, n)
		}
	}
	t.Logf("%d of the attacker's sessions were accepted behind others' names", a.accepted.Load())
	if a.accepted.Load() < 10 {
		t.Error("that is no attack")
	}
}
