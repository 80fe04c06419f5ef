package shortage

import (
	"bytes"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/balancer"
	"homing/cmd/homing/internal/api"
)

// TestWatch tells it as a script: what has been counted at a second, and what stands and was said then.
func TestWatch(t *testing.T) {
	var log bytes.Buffer
	w := New(slog.New(slog.NewTextHandler(&log, nil)))
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		at       time.Duration
		full     uint64
		standing uint64 // its count; 0: nothing stands
		said     string // a part of the one line; "": nothing
		why      string
	}{
		{0, 0, 0, "", "all is well"},
		{2 * time.Second, 3, 3, "level=WARN msg=shortage pool=web cause=queue_full count=3 what=\"3 conns were reset", "it begins, and is said at once"},
		{4 * time.Second, 350, 350, "", "it goes on, and is not said again"},
		{60 * time.Second, 351, 351, "", "nor a little before a minute is over"},
		{62 * time.Second, 352, 352, "count=349 what=\"349 conns were reset", "then all that came meanwhile is"},
		{100 * time.Second, 352, 352, "", "it stands although nothing comes"},
		{121 * time.Second, 352, 352, "", "for a minute"},
		{122 * time.Second, 352, 0, "level=INFO msg=\"a shortage is over\" pool=web cause=queue_full count=352", "no longer"},
		{130 * time.Second, 353, 1, "count=1 what=\"1 conn was reset", "the next is another one"},
		{131 * time.Second, 5, 1, "", "counters that are another process's are no news"},
		{132 * time.Second, 6, 2, "", "what they count then is"},
	} {
		log.Reset()
		v := &View{Pools: []Pool{{Name: "web", Queue: 5}, {Name: "mail"}}}
		v.Stats.Pools = []balancer.PoolStats{{Name: "mail"}, {Name: "web"}}
		v.Stats.Pools[1].QueueFull = step.full
		w.Look(v, start.Add(step.at))
		var got uint64
		all := w.Standing()
		if len(all) > 0 {
			got = all[0].Count
		}
		if len(all) > 1 || got != step.standing {
			t.Errorf("%s: %+v stands, want a count of %d", step.why, all, step.standing)
		}
		if lines := strings.Count(log.String(), "\n"); step.said == "" && lines > 0 || step.said != "" && (lines != 1 || !strings.Contains(log.String(), step.said)) {
			t.Errorf("%s: the log says\n%swant %q", step.why, log.String(), step.said)
		}
	}
}

// TestCauses: each cause is seen by what it counts, and by nothing else, at its place.
func TestCauses(t *testing.T) {
	pool := func(count func(*balancer.PoolStats), more func(*Pool)) func(*View) {
		return func(v *View) {
			count(&v.Stats.Pools[0])
			if more != nil {
				more(&v.Pools[0])
			}
		}
	}
	listener := func(count func(*balancer.ListenerStats)) func(*View) {
		return func(v *View) { count(&v.Stats.Listeners[0]) }
	}
	refused := func(by balancer.Refusal) func(*View) {
		return listener(func(l *balancer.ListenerStats) { l.Refused[by] = 7 })
	}
	held := func(by balancer.Hold) func(*View) {
		return listener(func(l *balancer.ListenerStats) { l.Held[by] = 2500 * time.Millisecond })
	}
	type one struct {
		count uint64
		what  string
		make  func(*View)
	}
	all := map[string]one{
		"queue_full":        {7, "7 conns were reset: every backend has as many conns as it may, and as many wait as may, 5", pool(func(p *balancer.PoolStats) { p.QueueFull = 7 }, nil)},
		"queue_timeout":     {7, "for all of 3s", pool(func(p *balancer.PoolStats) { p.QueueTimeouts = 7 }, nil)},
		"no_backend":        {7, "7 conns were reset: none is up", pool(func(p *balancer.PoolStats) { p.Unroutable = 7 }, func(p *Pool) { p.Unable = "none is up" })},
		"connect_timeout":   {7, "7 connects", pool(func(p *balancer.PoolStats) { p.ConnectTimeouts = 7 }, nil)},
		"handshake_timeout": {7, "7 conns", pool(func(p *balancer.PoolStats) { p.HandshakeTimeouts = 7 }, nil)},
		"source": {7, "to come from 192.0.2.9, and this machine has no such address", pool(func(p *balancer.PoolStats) { p.NoPorts = 7 }, func(p *Pool) {
			p.Strangers = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
		})},
		"ports":               {7, "no source port is free", pool(func(p *balancer.PoolStats) { p.NoPorts = 7 }, nil)},
		"connect_descriptors": {7, "no file descriptor", pool(func(p *balancer.PoolStats) { p.NoDescriptors = 7 }, nil)},
		"sockets":             {7, "no socket", pool(func(p *balancer.PoolStats) { p.NoSockets = 7 }, nil)},
		"buffers":             {7, "the memory of buffers", pool(func(p *balancer.PoolStats) { p.Terminations[balancer.CauseResource][balancer.PhaseData] = 7 }, nil)},
		"itself":              {0, "nothing is sent to 192.0.2.1:443: homing itself listens there", func(v *View) { v.Pools[0].Itself = []string{"192.0.2.1:443"} }},
		"max_conns":           {2500, "clients wait to be let in, for 2.5s so far: as many conns are open as may, 79", held(balancer.HoldConns)},
		"listener_conns":      {2500, "at this listener as may, 11", held(balancer.HoldListener)},
		"memory_full":         {2500, "the memory for conns", held(balancer.HoldMemory)},
		"memory":              {7, "7 conns were reset: memory is short", refused(balancer.RefusedMemory)},
		"descriptors":         {7, "no file descriptor was free 7 times", listener(func(l *balancer.ListenerStats) { l.NoAccepts = 7 })},
		"pre_hello":           {7, "than may, 40", refused(balancer.RefusedPreHello)},
		"source_conns":        {7, "as it may, 3", refused(balancer.RefusedClientConns)},
		"source_rate":         {7, "than it may, 0.5 a second", refused(balancer.RefusedClientRate)},
		"shed":                {7, "7 conns were reset with a part of their hello", func(v *View) { v.Stats.Shed = 7 }},
		"log":                 {9, "9 lines", func(v *View) { v.LogLost, v.Stats.RecordsDropped = 7, 2 }},
	}
	var have []string
	for cause, tt := range all {
		have = append(have, cause)
		v := &View{Pools: []Pool{{Name: "web", Queue: 5, QueueTimeout: 3 * time.Second}}}
		v.Stats.Pools = []balancer.PoolStats{{Name: "web"}}
		v.Stats.Listeners = []balancer.ListenerStats{{Name: ":443", MaxConns: 11}}
		v.Stats.Limits = balancer.Limits{MaxConns: 79, MaxPreHello: 40, Clients: balancer.ClientLimits{MaxConns: 3, Rate: 0.5}}
		var log bytes.Buffer
		w := New(slog.New(slog.NewTextHandler(&log, nil)))
		now := time.Now()
		w.Look(v, now)
		tt.make(v)
		w.Look(v, now.Add(Every))
		stands := w.Standing()
		if len(stands) != 1 || stands[0].Cause != cause || stands[0].Count != tt.count || !strings.Contains(stands[0].What, tt.what) || stands[0].Remedy == "" {
			t.Errorf("%s: %+v stands, want a count of %d and %q", cause, stands, tt.count, tt.what)
			continue
		}
		wantPool, wantListener := "", ""
		switch {
		case slices.Contains(causes(poolRows()), cause):
			wantPool = "web"
		case slices.Contains(causes(listenerRows()), cause):
			wantListener = ":443"
		}
		if stands[0].Pool != wantPool || stands[0].Listener != wantListener || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: %+v\n%s", cause, stands[0], log.String())
		}
	}
	want := allCauses()
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("causes %v, tried %v", want, have)
	}
}

func causes[T any](rows []row[T]) (all []string) {
	for i := range rows {
		all = append(all, rows[i].cause)
	}
	return all
}

func allCauses() []string {
	return slices.Concat(causes(poolRows()), causes(listenerRows()), causes(nodeRows()))
}

// TestDocumented: the API names every cause.
func TestDocumented(t *testing.T) {
	field, _ := reflect.TypeFor[api.Shortage]().FieldByName("Cause")
	documented := strings.FieldsFunc(api.DocOf(reflect.TypeFor[api.Shortage](), field), func(r rune) bool { return strings.ContainsRune(" ,.:", r) })
	for _, cause := range allCauses() {
		if !slices.Contains(documented, cause) {
			t.Errorf("/v1/openapi.json does not name the cause %s", cause)
		}
	}
}
