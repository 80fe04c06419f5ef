package admin

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
)

func TestHistory(t *testing.T) {
	src, web, _ := upSource(t)
	s := serverOf(t, src)
	now := time.Unix(1_800_000_000, 0)
	b := at(web, first)
	series := func(addr string) api.BackendSeries {
		t.Helper()
		var out api.History
		ask(t, s, http.MethodGet, "/v1/history?pool=web", nil, &out)
		if out.Step != 2 || !out.End.Equal(now) || len(out.Backends) != len(web.Snapshot().All()) {
			t.Fatalf("step %v, end %s, %d backends", out.Step, out.End, len(out.Backends))
		}
		for _, one := range out.Backends {
			if one.Pool != "web" {
				t.Errorf("of pool %s", one.Pool)
			}
			if one.Address == addr {
				return one
			}
		}
		t.Fatal("no series of ", addr)
		return api.BackendSeries{}
	}
	sample := func() {
		s.keeper.look(now)
	}
	sample()
	b.Acquire()
	b.CountConn(true)
	b.CountConn(false)
	b.CountRest(true, 3000)
	b.CountRest(false, 1000)
	b.CountVerdict(true)
	b.CountVerdict(true)
	b.CountVerdict(false)
	now = now.Add(2 * time.Second)
	sample()
	now = now.Add(4 * time.Second) // a machine that was busy
	b.CountConn(true)
	sample()
	want := api.BackendSeries{
		Pool: "web", Address: first, Open: []float64{0, 1, 1}, Conns: []float64{0, 1, 0.25}, Bytes: []float64{0, 2000, 0},
		Accepted: []float64{0, 1, 0}, Refused: []float64{0, 0.5, 0},
	}
	if diff := cmp.Diff(want, series(first)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if conns, bytes := s.keeper.rates("web", first); conns != 0.5 || bytes != 666.67 {
		t.Errorf("rates %v and %v", conns, bytes)
	}
	if conns, _ := s.keeper.rates("web", "192.0.2.200:1"); conns != 0 {
		t.Errorf("nobody has %v conns per second", conns)
	}

	// A look between two samples is none, but tells how it goes.
	b.CountConn(true)
	b.CountConn(true)
	now = now.Add(time.Second)
	s.keeper.look(now)
	now = now.Add(-time.Second)
	if got := series(first); len(got.Conns) != 3 {
		t.Errorf("after half a step: %+v", got)
	}
	if conns, _ := s.keeper.rates("web", first); conns != 0.6 { // 3 of the last 5 s
		t.Errorf("after half a step: %v conns per second", conns)
	}

	// Who has seen some asks for what came later.
	var later api.History
	ask(t, s, http.MethodGet, "/v1/history?after=2", nil, &later)
	if len(later.Backends) == 0 || later.Next != 3 {
		t.Fatalf("after the second: %+v", later)
	}
	for _, one := range later.Backends {
		if len(one.Open) != 1 || len(one.Refused) != 1 || one.Pool == "web" && one.Address == first && one.Conns[0] != 0.25 {
			t.Errorf("after the second: %+v", one)
		}
	}
	ask(t, s, http.MethodGet, "/v1/history?after=99", nil, &later)
	if got := later.Backends[0]; len(got.Open) != 3 {
		t.Errorf("after what another process had: %+v", got)
	}
	if status, _ := ask(t, s, http.MethodGet, "/v1/history?after=x", nil, nil); status != http.StatusBadRequest {
		t.Errorf("after=x: %d", status)
	}

	for range historySamples + 5 {
		now = now.Add(2 * time.Second)
		sample()
	}
	if got := series(first); len(got.Open) != historySamples || got.Open[0] != 1 || got.Conns[historySamples-1] != 0 {
		t.Errorf("after a long time: %d samples, %v", len(got.Open), got.Open)
	}

	// A backend that leaves is forgotten; one that comes back begins anew.
	if err := web.Set([]pool.Spec{{Addr: second}}); err != nil {
		t.Fatal(err)
	}
	b.Release()
	now = now.Add(2 * time.Second)
	sample()
	now = now.Add(2 * time.Second)
	if err := web.Set([]pool.Spec{{Addr: first}, {Addr: second}}); err != nil {
		t.Fatal(err)
	}
	sample()
	if got := series(first); len(got.Open) != 1 {
		t.Errorf("back again: %+v", got)
	}
}
