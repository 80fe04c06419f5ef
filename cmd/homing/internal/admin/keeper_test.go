package admin

import (
	"net/http"
	"testing"
	"time"

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
