package operate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/cmd/homing/internal/api"
)

func statusForTest() *api.Status {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return &api.Status{
		Version: "v1.2.3", Node: "8b7cd2fed182ef16", Now: now, Started: now.Add(-51 * time.Hour), Ready: true,
		Totals: api.Totals{
			ConnsAccepted: 1_234_567, ConnsOpen: 4321, BytesIn: 99_999, BytesOut: 123_456_789_012,
			Offers: []api.Offer{{Kind: "id", Accepted: 1999, Refused: 1}, {Kind: "ticket"}, {Kind: "psk", Accepted: 5, Refused: 5}},
			Lost:   map[string]uint64{"expired": 12_345, "unknown": 1}, Waiting: 3, Refused: map[string]uint64{"memory": 5, "denied": 20_000},
		},
		Pools: []api.Pool{
			{Name: "web", Policy: "round-robin", Live: 1, Backends: []api.Backend{
				{Pool: "web", Address: "192.0.2.11:443", State: "in service", Health: "up", FreshShare: 45, ConnsOpen: 7, Conns: 100, ConnsPerSecond: 2.5, BytesPerSecond: 1_500_000, Accepted: 9, Refused: 1, Lost: 3},
				{Pool: "web", Address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", State: "draining", Health: "up", ConnsOpen: 9, Drain: api.Drain{Mode: "soft", Until: now.Add(42 * time.Minute)}},
			}},
			{Name: "mail", Policy: "least-conn", Backends: []api.Backend{{
				Pool: "mail", Address: "192.0.2.12:25", State: "in service", Health: "down", Lost: 8,
				HealthSince: now.Add(-130 * time.Second), HealthWhy: "3 checks in a row failed, the last: connection refused",
			}}},
		},
		Tables: []api.Table{{Name: "sessions", Evicted: 2000, Shares: []api.TableShare{{Pool: "web", Entries: 9}, {Pool: "mail", Entries: 600_000, Evicted: 1990}}}, {Name: "hints", Evicted: 3}},
		Shortages: []api.Shortage{
			{Pool: "web", Cause: "queue_full", Since: now.Add(-5 * time.Minute), What: "350 conns were reset: as many wait as may, 5", Remedy: "add backends"},
			{Listener: ":443", Cause: "max_conns", Since: now.Add(-7 * time.Second), What: "clients wait", Remedy: "raise --max-conns"},
			{Cause: "log", Since: now.Add(-2 * time.Hour), What: "9 lines are lost", Remedy: "see who reads it"},
		},
		Peers: []api.Peer{{ID: "24d1d7fc4fe9fd16", State: "streaming", Lag: 0.25}},
	}
}

const statusByName = `homing v1.2.3, node 8b7cd2fed182ef16, up 2d03h, ready
short    pool web, queue_full since 5m00s: 350 conns were reset: as many wait as may, 5; add backends
short    listener :443, max_conns since 7s: clients wait; raise --max-conns
short    this node, log since 2h00m: 9 lines are lost; see who reads it
conns    4321 open, 2.5/s, 1.2M accepted; 1.5MB/s, 100kB in, 123GB out
waiting  3 for a backend with room
refused  denied 20k, memory 5
resumed  id 99.9% of 2000, psk 50.0% of 10
lost     unknown 1, expired 12k
the table of sessions is too small: 2000 live entries gave way, 1990 of pool mail, which has 600k
nodes    24d1d7fc4fe9fd16 streaming, lag 0.2s

pool web, round-robin: 1 of 2 backends live
BACKEND                     STATE       OPEN CONN/S    B/S  CONNS RESUMED   LOST
192.0.2.11:443              slow 45%       7    2.5   1.5M    100   90.0%      3
[2001:db8..1234:5678]:65535 drain 42m      9      0      0      0       -      0

pool mail, least-conn: 0 of 1 backend live
BACKEND                     STATE       OPEN CONN/S    B/S  CONNS RESUMED   LOST
192.0.2.12:25               down           0      0      0      0       -      8
  down for 2m10s: 3 checks in a row failed, the last: connection refused
`

func TestStatusPage(t *testing.T) {
	p := statusPage{status: statusForTest()}
	if diff := cmp.Diff(statusByName, p.render()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first := func(sort statusSort) string {
		p := statusPage{status: statusForTest(), sort: sort, rows: 1}
		lines := strings.Split(strings.TrimSpace(p.render()), "\n")
		if lines[len(lines)-1] != "and 2 more" {
			t.Errorf("%v: the last line is %q", sort, lines[len(lines)-1])
		}
		row := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "BACKEND") }) + 1
		return strings.Fields(lines[row])[0] + " " + strings.Fields(lines[row])[1]
	}
	for sort, want := range map[statusSort]string{sortConns: "web [2001:d..4:5678]:65535", sortBytes: "web 192.0.2.11:443", sortLost: "mail 192.0.2.12:25"} {
		if got := first(sort); !strings.HasPrefix(got, want[:8]) {
			t.Errorf("sorted by %v: %q is first, want %q", sort, got, want)
		}
	}
	unready := statusForTest()
	unready.Ready, unready.NotReady, unready.Totals.Offers, unready.Totals.Lost = false, "no backend", nil, nil
	text := (&statusPage{status: unready}).render()
	for _, want := range []string{"not ready: no backend", "nothing was offered yet", "lost     none"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestStatusWidth: whatever the numbers, a line of the table has 80 columns.
func TestStatusWidth(t *testing.T) {
	for _, n := range []float64{0, 0.04, 1, 9.96, 10, 999, 9999, 9999.6, 10_000, 99_949, 999_499, 999_500, 1e6, 9_949_999, 1e9, 9.99e14, 1e18} {
		if got := short(n); len(got) > 5 {
			t.Errorf("%v is %q", n, got)
		}
	}
	big := api.Backend{
		Pool: "a pool with a long name", Address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", State: "draining", Drain: api.Drain{Mode: "soft", Until: time.Now().Add(167 * time.Hour)},
		ConnsOpen: 1e7, Conns: 1e18, ConnsPerSecond: 1e5, BytesPerSecond: 1e11, Accepted: 1e15, Refused: 1, Lost: 1e15,
	}
	p := statusPage{status: &api.Status{Now: time.Now(), Pools: []api.Pool{{Backends: []api.Backend{big}}, {Backends: []api.Backend{big}}}}, sort: sortConns}
	for line := range strings.Lines(p.render()) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

func TestDrainProgress(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	soft := api.Drain{Mode: "soft", Since: now.Add(-time.Minute), Until: now.Add(time.Hour)}
	backend := func(state string, open int, drain api.Drain) api.Backend {
		return api.Backend{Pool: "web", Address: "192.0.2.1:443", State: state, ConnsOpen: open, Drain: drain}
	}
	over := soft
	over.Mode, over.Until = "hard", now.Add(-time.Second)
	for _, tt := range []struct {
		sentence   string
		now        api.Changed
		done, over bool
		text       string
	}{
		{"conns are open", api.Changed{Backends: []api.Backend{backend("draining", 2, soft)}}, false, false, "2 conns open"},
		{"nothing is left", api.Changed{Backends: []api.Backend{backend("drained", 0, soft)}}, true, false, "drained, 0 conns open"},
		{"its time is over, a conn stays", api.Changed{Backends: []api.Backend{backend("draining", 1, over)}}, false, true, "1 conn open"},
		{"one of two is through", api.Changed{Backends: []api.Backend{backend("drained", 0, over), backend("draining", 1, soft)}}, false, false, "drained"},
		{"another node is not", api.Changed{Backends: []api.Backend{backend("drained", 0, soft)}, Nodes: []api.NodeAnswer{{Node: "a"}, {Node: "b", Error: "not drained: 3 conns are open"}}}, false, false, "b (not drained: 3 conns are open)"},
		{"this node is not", api.Changed{Backends: []api.Backend{backend("draining", 1, soft)}, Nodes: []api.NodeAnswer{{Node: "a", Error: "it is draining"}, {Node: "b"}}}, false, false, "1 conn open"},
	} {
		got, err := progressOf(&tt.now, now)
		if err != nil || got.done != tt.done || got.over != tt.over || !strings.Contains(got.text, tt.text) {
			t.Errorf("%s: %+v, %v", tt.sentence, got, err)
		}
	}
	ended := api.Changed{Backends: []api.Backend{backend("in service", 0, api.Drain{Mode: "off"})}}
	if _, err := progressOf(&ended, now); err == nil {
		t.Error("somebody has ended the drain, and nobody is told")
	}

	told := drainProgress{at: now, state: "x", text: "1"}
	for _, tt := range []struct {
		sentence string
		next     drainProgress
		want     bool
	}{
		{"the same", drainProgress{at: now.Add(time.Hour), state: "x", text: "1"}, false},
		{"another number, soon", drainProgress{at: now.Add(time.Second), state: "x", text: "2"}, false},
		{"later", drainProgress{at: now.Add(tellEvery), state: "x", text: "2"}, true},
		{"another state, soon", drainProgress{at: now.Add(time.Second), state: "y", text: "2"}, true},
		{"the end, soon", drainProgress{at: now.Add(time.Second), state: "x", text: "2", done: true}, true},
	} {
		before := told
		if got := before.tell(&tt.next); got != tt.want || got != (before == tt.next) {
			t.Errorf("%s: told: %t", tt.sentence, got)
		}
	}
	if got := fmt.Sprint(roughly(-1), ", ", roughly(59*time.Second), ", ", roughly(90*time.Minute), ", ", roughly(5*time.Hour)); got != "over, 59s left, 90m left, 5h left" {
		t.Error(got)
	}
}
