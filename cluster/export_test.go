//go:build linux

package cluster

import (
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

func (s *GossipSockets) again(t *testing.T) *GossipSockets {
	t.Helper()
	file, err := s.UDP.File()
	testkit.Check(t, err)
	defer file.Close()
	copied, err := net.FilePacketConn(file)
	testkit.Check(t, err)
	return &GossipSockets{TCP: testkit.Again(t, s.TCP), UDP: copied.(*net.UDPConn)}
}

// A node's process is replaced five times in a row: to the others nothing happens, and what the newest says of itself
// counts, which shows that its incarnation is the highest.
func TestMemberIsReplaced(t *testing.T) {
	t.Parallel()
	log := new(testkit.Log)
	peer := startMember(t, Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	elder := startMember(t, Config{ID: "node"}, peer)
	agent := startMember(t, announcing("127.0.0.1:443", 1), peer)
	for _, m := range []*testMember{peer, elder} {
		testkit.Eventually(t, "all see all", func() bool { return len(m.Members()) == 2 })
	}
	states := []State{StateDraining, StateServing, StateDraining, StateServing, StateDraining}
	testkit.Check(t, elder.Update(func(m *Meta) { m.Version = "0" }))
	for i, state := range states {
		cfg := Config{ID: "node", Bind: elder.Addr(), Sockets: elder.ExportSockets().again(t), Meta: elder.Self().Meta}
		heir, err := Create(cfg)
		testkit.Check(t, err)
		if heir.Addr() != elder.Addr() {
			t.Errorf("the heir is at %s, not %s", heir.Addr(), elder.Addr())
		}
		heir.Import(elder.Export())
		if got := heir.Members(); len(got) != 2 || slices.ContainsFunc(got, alive) {
			t.Errorf("the heir begins with %v", got)
		}
		elder.crash()
		elder = runMember(t, heir)
		testkit.Eventually(t, "the heir meets all",
			func() bool { return elder.sees(peer.cfg.ID, alive) && elder.sees(agent.cfg.ID, alive) })
		testkit.Check(t, elder.Update(func(m *Meta) { m.State = state; m.Version = strings.Repeat("1", i+1) }))
		testkit.Eventually(t, "its word counts", func() bool {
			return peer.sees("node", func(m Member) bool { return m.Meta.State == state && len(m.Meta.Version) == i+1 })
		})
	}
	for _, word := range []string{"vanished", "left", "refused"} {
		if n := log.Lines(word); n > 0 {
			t.Errorf("%s:\n%s", word, log)
		}
	}
	if n := log.Lines("member joined"); n != 2 {
		t.Errorf("%d members joined, want 2:\n%s", n, log)
	}
}

// A heir that never runs takes nothing away: the elder still hears.
func TestMemberHeirThatFails(t *testing.T) {
	t.Parallel()
	peer := startMember(t, Config{})
	elder := startMember(t, Config{}, peer)
	testkit.Eventually(t, "they met", func() bool { return elder.sees(peer.cfg.ID, alive) })
	heir, err := Create(Config{
		ID: elder.cfg.ID, Bind: elder.Addr(), Sockets: elder.ExportSockets().again(t),
		Meta: elder.Self().Meta,
	})
	testkit.Check(t, err)
	late := startMember(t, Config{}, elder)
	testkit.Eventually(t, "the elder takes members in", func() bool { return elder.sees(late.cfg.ID, alive) })
	testkit.Check(t, heir.Shutdown())
	testkit.Check(t, heir.Shutdown())
	later := startMember(t, Config{}, elder)
	testkit.Eventually(t, "still", func() bool { return elder.sees(later.cfg.ID, alive) })
	if _, err := Create(Config{Bind: elder.Addr(), Sockets: elder.ExportSockets().again(t)}); err == nil {
		t.Error("a member without a name was made")
	}
}

// Commands that were obeyed are not obeyed again by the heir.
func TestMemberInheritsNonces(t *testing.T) {
	elder := startMember(t, Config{NodeKeys: [][]byte{nodeKey(1)}})
	sealed, err := (&Order{Op: OpKeyAdd, Key: NewKey()}).Seal(nodeKey(1), time.Now())
	testkit.Check(t, err)
	_, _ = elder.apply(sealed, false) // it has no keyring: refused, but after it was taken for given
	heir := startMember(t, Config{NodeKeys: [][]byte{nodeKey(1)}})
	heir.Import(elder.Export())
	if _, err := heir.apply(sealed, false); err == nil || !strings.Contains(err.Error(), "given before") {
		t.Errorf("the heir says %v", err)
	}
	legacy := Exported{Commands: map[string]time.Time{"zz": time.Now(), "00": time.Now()}}
	heir.Import(legacy)
	if len(heir.replays.All()) != 1 {
		t.Errorf("%d nonces", len(heir.replays.All()))
	}
}
