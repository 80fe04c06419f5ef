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
		s.keeper.sample(now)
	}
	sample()
	b.Acquire()
	b.CountConn(true)
	b.CountConn(false)
	b.CountRest(true, 3000)
	b.CountRest(false, 1000)
	now = now.Add(2 * time.Second)
	sample()
	now = now.Add(4 * time.Second) // a machine that was busy
	b.CountConn(true)
	sample()
	want := api.BackendSeries{Pool: "web", Address: first, Open: []float64{0, 1, 1}, Conns: []float64{0, 1, 0.25}, Bytes: []float64{0, 2000, 0}}
	if diff := cmp.Diff(want, series(first)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if conns, bytes := s.keeper.rates("web", first); conns != 0.25 || bytes != 0 {
		t.Errorf("rates %v and %v", conns, bytes)
	}
	if conns, _ := s.keeper.rates("web", "192.0.2.200:1"); conns != 0 {
		t.Errorf("nobody has %v conns per second", conns)
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
