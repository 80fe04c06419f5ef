//go:build linux

package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/tlsparse"
)

// decideRig is a loop that is not run, before 16 backends that know their ticket
// keys, and a conn in it.
func decideRig(tb testing.TB) (*loop, *conn, []byte) {
	const backends = 16
	var specs []pool.Spec
	for i := range backends {
		specs = append(specs, pool.Spec{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(9000+i)).String()})
	}
	p, err := pool.New("test", specs, pool.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	store, err := affinity.NewStore(affinity.Config{Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		store.Run(ctx)
	}()
	b, err := New(Config{Listeners: []Listener{{Addr: "127.0.0.1:0", Default: p}}, Store: store})
	if err != nil {
		tb.Fatal(err)
	}
	l := b.loops[0]
	tb.Cleanup(b.Close)
	known := store.Pool(p.Hash())
	l.unix = now()
	r := &rig{TB: tb, b: b, pool: p, store: store}
	for i, backend := range p.Snapshot().All() {
		for j := range 4 { // two tickets of a name will do, but for one pair in 256
			known.IssuedTicket(known.HashIdent(named(keyName(i), j)), 3600, uint32(backend.ID), now())
		}
	}
	r.await("all ticket keys are known", func() bool { return r.keys16() == backends })
	cancel()
	<-ran
	c := l.conns.take()
	c.lane = l.inlets[0].gate.fallback
	c.hs = l.takeHandshake()
	c.hs.peer = netip.MustParseAddrPort("192.0.2.1:40000")
	ticket := named(keyName(2), 99)
	// A hello of 1.7 kB, as browsers send.
	return l, c, paddedTo(hello{psks: [][]byte{ticket}, names: []string{"a.test"}}, 1700)
}

// keyName is the name of a ticket key, of 16 bytes, like no other's from the first on.
func keyName(i int) string { return fmt.Sprintf("%04d, a key name", i) }

// parseAndDecide is what a loop does between the hello's last byte and the connect.
func parseAndDecide(l *loop, c *conn, sent []byte) *pool.Backend {
	hs := c.hs
	known := c.lane.known
	hs.parser.Reset(c.lane.cfg.HelloLimit)
	if hs.parser.Next(sent) != tlsparse.Got || hs.parser.Parse(sent, l.scratch, &l.hello) != tlsparse.Got {
		return nil
	}
	hs.offer = offerOf(known, &l.hello, 0)
	hs.offer.Client = known.HashClient(hs.peer.Addr(), l.hello.ServerName(), l.hello.Shape)
	return find(l, c)
}

func find(l *loop, c *conn) *pool.Backend {
	hs := c.hs
	hs.home = c.lane.known.Find(&hs.offer, l.unix)
	d := l.decide(c)
	hs.source = d.Rule
	return d.Backend
}

// The benchmarks below have this to thank for meaning something.
func TestDecideByTicketKey(t *testing.T) {
	l, c, sent := decideRig(t)
	b := parseAndDecide(l, c, sent)
	if b == nil || c.hs.source != affinity.SourceTicketKey || b != c.lane.pool.Snapshot().All()[2] {
		t.Fatalf("routed to %v by %v", b, c.hs.source)
	}
	if n := testing.AllocsPerRun(100, func() { parseAndDecide(l, c, sent) }); n != 0 {
		t.Errorf("%v heap objects a route", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	l, c, sent := decideRig(b)
	b.Run("ticket key", func(b *testing.B) {
		parseAndDecide(l, c, sent)
		b.ReportAllocs()
		for b.Loop() {
			if find(l, c) == nil {
				b.Fatal("no backend")
			}
		}
	})
	b.Run("ticket key with 1.7 kB hello", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(sent)))
		for b.Loop() {
			if parseAndDecide(l, c, sent) == nil {
				b.Fatal("no backend")
			}
		}
	})
}
