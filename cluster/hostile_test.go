package cluster

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/balancer/pool"
	"homing/bench/testkit"
)

// besieged is a node with a pool, three agents on addresses of their own, and a villain.
type besieged struct {
	*villain
	node   *testMember
	pool   *pool.Pool
	agents []*testMember
	log    *testkit.Log
}

const besiegedPool = "127.0.0.11:443, 127.0.0.12:443, 127.0.0.13:443"

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{villain: &villain{key(1)}, pool: webPool(t), log: new(testkit.Log)}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	var discovery *Discovery
	ready := make(chan struct{})
	b.node = startMember(t, Config{
		Keys: ringOf(t, key(1)), Log: log, NodeKeys: [][]byte{key(100)}, Pools: []*pool.Pool{b.pool},
		Changed: func() { <-ready; discovery.Wake() },
	})
	discovery = NewDiscovery(b.node, DiscoverConfig{Pools: []DiscoverPool{{Pool: b.pool}}, Log: log})
	close(ready)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	running.Go(func() { discovery.Run(ctx) })
	for i := range byte(3) {
		ip := netip.AddrFrom4([4]byte{127, 0, 0, 11 + i})
		cfg := announcing(netip.AddrPortFrom(ip, 443).String(), 1)
		cfg.Keys, cfg.Bind = ringOf(t, key(1)), netip.AddrPortFrom(ip, 0)
		b.agents = append(b.agents, startMember(t, cfg, b.node))
	}
	testkit.Eventually(t, "the pool has all three", func() bool { return show(b.pool) == besiegedPool })
	return b
}

// unmoved does something for a while, and looks whether the pool changes.
func (b *besieged) unmoved(t *testing.T, what string, attack func(round uint32)) {
	t.Helper()
	for round := range uint32(10) {
		attack(round)
		for range 10 {
			if got := show(b.pool); got != besiegedPool {
				t.Fatalf("%s, round %d: the pool is %.200s", what, round, got)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestHostileFakes: agents that are not there never come into the pool, push nobody out of it, and are hardly spoken
// of.
func TestHostileFakes(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	all := fakes(t, 5000, announcing("127.0.0.1:443", 1).Meta)
	lines := strings.Count(b.log.String(), "\n")
	b.unmoved(t, "5,000 fakes", func(uint32) { b.push(t, b.node.Addr(), all...) })
	if n := strings.Count(b.log.String(), "\n") - lines; n > 10 {
		t.Errorf("%d lines in the log, of them the last: %.300s", n, b.log.String()[max(0, len(b.log.String())-300):])
	}
	late := announcing("127.0.0.14:443", 1)
	late.Keys, late.Bind = ringOf(t, key(1)), netip.MustParseAddrPort("127.0.0.14:0")
	startMember(t, late, b.node)
	testkit.Eventually(t, "a genuine one comes in although the fakes were first", func() bool {
		return show(b.pool) == besiegedPool+", 127.0.0.14:443"
	})
}

// TestHostileForgery: what others say of an agent does nothing: not that it drains, is down or leaves, has another
// weight, another backend or another address, nor that it is dead.
func TestHostileForgery(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	victim := b.agents[0].Self()
	for _, tt := range []struct {
		what  string
		forge func(*Meta)
	}{
		{"it drains", func(m *Meta) { m.State = StateDraining }},
		{"it is down", func(m *Meta) { m.State = StateDown }},
		{"it leaves", func(m *Meta) { m.State = StateLeaving }},
		{"it weighs 1000", func(m *Meta) { m.Announced.Weight = 1000 }},
		{"it has another backend", func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("127.0.0.11:444") }},
	} {
		forged := victim.Meta
		tt.forge(&forged)
		b.unmoved(t, tt.what, func(round uint32) {
			b.push(t, b.node.Addr(), says(t, victim.ID, victim.Addr, forged, 1000+round))
		})
	}
	b.unmoved(t, "it is dead", func(round uint32) {
		b.packet(t, b.node.Addr(),
			pack(t, villainDeadMsg,
				villainDead{Incarnation: math.MaxUint32 - 100 + round, Node: victim.ID, From: victim.ID}))
	})
	own := netip.MustParseAddrPort("127.0.0.66:7946")
	b.unmoved(t, "it moved", func(round uint32) {
		left := says(t, victim.ID, victim.Addr, victim.Meta, math.MaxUint32-50+round)
		left.State = stateLeft
		b.push(t, b.node.Addr(), left, says(t, victim.ID, own, victim.Meta, math.MaxUint32-50+round))
	})
	imposter := victim.Meta
	imposter.State, imposter.Announced.Started = StateDraining, math.MaxInt64
	b.unmoved(t, "another speaks for it", func(round uint32) {
		b.push(t, b.node.Addr(), says(t, "imposter", own, imposter, 1+round),
			says(t, "imposter too", netip.AddrPortFrom(victim.Addr.Addr(), 9), imposter, 1+round))
	})
	if err := b.agents[0].Update(func(m *Meta) { m.State = StateDraining }); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "its own word counts, after all that was said of it", func() bool {
		return strings.HasPrefix(show(b.pool), "127.0.0.11:443 draining")
	})
}

// TestHostileCommands: garbage in the place of commands costs one line, whatever it calls itself.
func TestHostileCommands(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	const many = 2000
	for i := range many {
		command := append([]byte{messageCommand, 2, byte(i), byte(i >> 8)}, make([]byte, 60)...)
		b.packet(t, b.node.Addr(), append([]byte{villainUserMsg}, command...))
	}
	sealed, err := (&Order{
		Op: OpDrain, Backend: netip.MustParseAddrPort("127.0.0.11:443"),
		Plan: pool.DrainPlan{Mode: pool.DrainSoft},
	}).Seal(key(100), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.node.Command(t.Context(), sealed); err != nil {
		t.Errorf("a command of one who may: %v", err)
	}
	testkit.Eventually(t, "it is said", func() bool { return strings.Contains(b.log.String(), "a command is refused") })
	if n := strings.Count(b.log.String(), "a command is refused"); n != 1 {
		t.Errorf("%d lines for %d messages of garbage", n, many)
	}
}

// TestHostileFlapping: an agent of its own right that changes its mind all the time moves nobody else, and is spoken of
// a few times.
func TestHostileFlapping(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	cfg := announcing("127.0.0.66:443", 1)
	cfg.Keys, cfg.Bind = ringOf(t, key(1)), netip.MustParseAddrPort("127.0.0.66:0")
	flapper := startMember(t, cfg, b.node)
	testkit.Eventually(t, "it is there", func() bool { return show(b.pool) == besiegedPool+", 127.0.0.66:443" })
	lines := strings.Count(b.log.String(), "\n")
	seen := make(map[string]bool)
	for i := range 60 {
		state := []State{StateDown, StateServing, StateDraining}[i%3]
		if err := flapper.Update(func(m *Meta) { m.State = state; m.Announced.Weight = uint16(1 + i) }); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			now := show(b.pool)
			if !strings.HasPrefix(now, besiegedPool) {
				t.Fatalf("the pool is %s", now)
			}
			seen[now] = true
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err := flapper.Update(func(m *Meta) { m.State = StateDown }); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "its last word counts", func() bool { return show(b.pool) == besiegedPool })
	if n := strings.Count(b.log.String(), "\n") - lines; n > 6 || len(seen) < 2 {
		t.Errorf("%d lines for 60 changes, of which the pool followed %d:\n%s", n, len(seen), b.log.String())
	}
}
