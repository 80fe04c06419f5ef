package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/cmd/homing/internal/api"
)

// TestTablesLately: who asks for the status every second does not have the tables read every second; who asks for the
// tables does.
func TestTablesLately(t *testing.T) {
	src := source(t)
	looks := 0
	src.Affinity = func() affinity.Stats {
		looks++
		return affinity.Stats{Entries: affinity.TableStats{Used: looks}}
	}
	s := serverOf(t, src)
	now := time.Unix(1_800_000_000, 0)
	for i := range 12 {
		if used, want := s.keeper.tablesLately(now.Add(time.Duration(i)*time.Second)).Entries.Used, 1+i/4; used != want {
			t.Errorf("after %d s: look %d, want %d", i, used, want)
		}
	}
	var tables api.Tables
	for range 2 {
		ask(t, s, http.MethodGet, "/v1/tables", nil, &tables)
	}
	if tables.Tables[0].Used != 5 {
		t.Errorf("the tables are of look %d", tables.Tables[0].Used)
	}
	var status api.Status
	for range 9 {
		ask(t, s, http.MethodGet, "/v1/status", nil, &status)
	}
	if looks > 7 { // one, and another on a slow machine
		t.Errorf("nine looks at the status read the tables %d times", looks-5)
	}
}

// TestReadsTellNoLoop: nothing that is only read has loops do anything.
func TestReadsTellNoLoop(t *testing.T) {
	src := source(t)
	told := 0
	src.Sync = func(context.Context) error { told++; return nil }
	s := serverOf(t, src)
	for _, e := range s.endpoints {
		if e.method == http.MethodGet && !strings.HasPrefix(e.path, "/debug/") {
			ask(t, s, http.MethodGet, strings.ReplaceAll(strings.TrimSuffix(e.path, "{$}"), "{backend}", "192.0.2.1:443"), nil, nil)
		}
	}
	if told != 0 {
		t.Errorf("loops were told something %d times", told)
	}
	ask(t, s, http.MethodPost, "/v1/backends/192.0.2.1:443/drain", api.DrainRequest{Force: true}, new(api.Changed))
	if told != 1 {
		t.Errorf("a drain told loops something %d times, want once", told)
	}
}

// TestStatusLimits: what waits, what was refused and what memory it takes is told as it is counted.
func TestStatusLimits(t *testing.T) {
	var status api.Status
	ask(t, serverOf(t, source(t)), http.MethodGet, "/v1/status", nil, &status)
	totals := &status.Totals
	if totals.Waiting != 2 || totals.PreHello != 6 || totals.MemoryBytes != 4300 || totals.Refused["memory"] != 5 || totals.Refused["denied"] != 0 || len(totals.Refused) != int(balancer.NumRefusals)-1 {
		t.Errorf("%+v", totals)
	}
	if want := (api.Queue{Waiting: 2, Queued: 8, Seconds: 1.5, Timeouts: 1, Full: 3}); status.Pools[0].Queue != want {
		t.Errorf("the queue is %+v, want %+v", status.Pools[0].Queue, want)
	}
}
