package admin

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

// helloOf is a TLS 1.2 ClientHello of a name that offers a session ID, if it is not empty, and a ticket, if it is not nil.
func helloOf(name string, id, ticket []byte) []byte {
	u16 := binary.BigEndian.AppendUint16
	within := func(b []byte) []byte { return append(u16(nil, uint16(len(b))), b...) }
	extension := func(typ uint16, b []byte) []byte { return append(u16(nil, typ), within(b)...) }
	extensions := extension(0, within(append([]byte{0}, within([]byte(name))...)))
	if ticket != nil {
		extensions = append(extensions, extension(35, ticket)...)
	}
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{byte(len(id))}, id, within([]byte{0xc0, 0x2f}), []byte{1, 0}, within(extensions))
	message := append([]byte{1, 0}, within(body)...)
	return append([]byte{22, 3, 1}, within(message)...)
}

// answering is a server that says to each hello what is no TLS, so that nothing is learned of it.
func answering(t *testing.T) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096)) // what it says does not matter
				_, _ = io.WriteString(c, "220 no TLS here\r\n")
				_, _ = io.Copy(io.Discard, c) // until it is closed
			}()
		}
	}()
	return ln.Addr().String()
}

// TestLookupAgrees: in states as they come, of backends and of what is known, a hello goes where the look-up has said, by the
// same rule, and for the same reason not home.
func TestLookupAgrees(t *testing.T) {
	const backends, rounds, full = 4, 300, 5
	var specs []pool.Spec
	for range backends {
		specs = append(specs, pool.Spec{Addr: answering(t), MaxConns: full})
	}
	p, err := pool.New("default", specs, pool.Options{Queue: balancer.Off})
	if err != nil {
		t.Fatal(err)
	}
	store, err := affinity.NewStore(affinity.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	records := make(chan *balancer.ConnRecord, 1)
	b, err := balancer.New(balancer.Config{
		Listeners: []balancer.Listener{{Addr: "127.0.0.1:0", Default: p}}, Store: store,
		ConnLog: func(r *balancer.ConnRecord) { records <- r },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { store.Run(ctx); ended <- nil }()
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	src := source(t)
	src.Store, src.Pools = store, func() []*pool.Pool { return []*pool.Pool{p} }
	s := serverOf(t, src)

	// Keys A, B and C have one, two and three homes, of D one ticket was seen, sessions and clients have one home each.
	known, all, now := store.Pool(p.Hash()), p.Snapshot().All(), store.Now()
	for i, key := range []string{"A", "B", "C"} {
		for home := range i + 1 {
			for n := range byte(2) {
				known.IssuedTicket(known.HashIdent(ticketOf(key, byte(10*home)+n)), 0, uint32(all[i+home-min(i, 1)].ID), now)
			}
		}
	}
	known.IssuedTicket(known.HashIdent(ticketOf("D", 1)), 0, uint32(all[3].ID), now)
	for i, backend := range all {
		known.IssuedID(known.HashID(sessionID(i)), uint32(backend.ID), now)
	}
	testkit.Eventually(t, "the keys are known", func() bool {
		homes := 0
		for _, held := range known.HeldKeys(now) {
			homes += len(held.Homes)
		}
		return homes == 1+2+3
	})
	client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}) }
	for i, withTicket := range [][]byte{ticketOf("A", 0), nil} { // of either shape
		offer, err := balancer.OfferOf(known, helloOf("a.test", sessionID(0), withTicket), client(i))
		if err != nil {
			t.Fatal(err)
		}
		known.Completed(offer.Client, uint32(all[1+i].ID), now)
	}

	rng := rand.New(rand.NewPCG(1, 2))
	rules, reasons := map[string]int{}, map[string]int{}
	for round := range rounds {
		for _, backend := range all {
			p.SetUp(backend, rng.IntN(6) > 0, "test")
			p.SetDraining(backend, []pool.Drain{5: pool.DrainSoft, 6: pool.DrainHard}[rng.IntN(7)])
			if rng.IntN(6) == 0 {
				for backend.Open() < full {
					backend.Acquire()
				}
			}
		}
		var id, ticket []byte
		if rng.IntN(3) == 0 {
			id = sessionID(rng.IntN(8))
		}
		if rng.IntN(4) > 0 {
			ticket = ticketOf(string(rune('A'+rng.IntN(8))), byte(100+rng.IntN(100)))
		}
		hello, from := helloOf("a.test", id, ticket), client(rng.IntN(4))
		if offer, err := balancer.OfferOf(known, hello, netip.Addr{}); err != nil {
			t.Fatal(err)
		} else if rng.IntN(4) == 0 {
			known.Refused(&offer, affinity.SourceExplore, uint32(all[rng.IntN(backends)].ID), now)
		}
		var told api.Lookup
		ask(t, s, http.MethodPost, "/v1/lookup", api.LookupRequest{Hello: hex.EncodeToString(hello), Client: from.String()}, &told)
		say(t, b, from, hello)
		went, m := <-records, told.Matches[0]
		rule, backend, why := m.Rule, m.Backend, m.Why
		if backend == "" {
			rule, backend = "fresh", went.Backend.String() // as the policy says, or chance
		}
		reason := map[string]string{"": "none", "full": "overloaded"}[why]
		if reason == "" {
			reason = why
		}
		rules[rule]++
		reasons[reason]++
		if rule != went.Source.String() || backend != went.Backend.String() || reason != went.Lost.String() {
			t.Errorf("round %d: the look-up says %+v, it went to %v by %v, lost %v", round, m, went.Backend, went.Source, went.Lost)
		}
		for _, backend := range all {
			for backend.Open() > 0 {
				backend.Release()
			}
		}
	}
	if len(rules) != int(affinity.NumSources) || len(reasons) < 4 {
		t.Errorf("the rules %v and reasons %v were seen, which is not enough", rules, reasons)
	}
}

// say sends a hello from an address, and waits for the answer or the end.
func say(t *testing.T, b *balancer.Balancer, from netip.Addr, hello []byte) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := dialer.DialContext(t.Context(), "tcp", b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Read(make([]byte, 64)) // a reset says as much
}

// TestLookupHello: what a hello is looked up with, and what is refused.
func TestLookupHello(t *testing.T) {
	s := serverOf(t, source(t)) // a session of each backend; the second is down
	hello := helloOf("a.test", sessionID(0), nil)
	var out api.Lookup
	ask(t, s, http.MethodPost, "/v1/lookup", api.LookupRequest{Hello: hex.EncodeToString(hello)}, &out)
	if m := out.Matches[0]; len(out.Matches) != 1 || out.Bytes != len(hello) || m.Kind != "id" || m.Rule != "session" || m.Backend != first {
		t.Errorf("%+v", out)
	}
	for _, request := range []api.LookupRequest{
		{Hello: hex.EncodeToString(hello[:20])},
		{Hello: hex.EncodeToString(hello), Client: "a.test"},
		{Hello: hex.EncodeToString(hello), Kind: "id"},
		{Hello: hex.EncodeToString(hello), Identifier: "00"},
		{Identifier: "00", Client: "127.0.0.1"},
		{Hello: "not a hello!"},
	} {
		if status, text := ask(t, s, http.MethodPost, "/v1/lookup", request, nil); status != http.StatusBadRequest {
			t.Errorf("%.40v: %d %s", request, status, text)
		} else if text == "" {
			t.Error(fmt.Sprint("no reason for ", request))
		}
	}
}
