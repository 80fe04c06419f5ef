package pool

import "testing"

// TestReport: what a backend says of itself changes its share, its bound and its fresh handshakes, beside the operator's
// word and not in its place.
func TestReport(t *testing.T) {
	p, err := New("p", []Spec{{Addr: "192.0.2.1:443", Weight: 100, MaxConns: 50}, {Addr: "192.0.2.2:443", Weight: 100}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Snapshot().All()[0]
	fresh := func() (n int) {
		for range 1000 {
			if p.Snapshot().Fresh(RoundRobin, 0, Skip{}) == b {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		report           Report
		text             string
		weight, maxConns int
		fresh            int
	}{
		{Report{Percent: 50}, "50%", 50, 50, 333},
		{Report{Percent: 200, MaxConns: 30}, "200% maxconn:30", 200, 30, 666},
		{Report{MaxConns: 80}, "maxconn:80", 100, 50, 500}, // never above the spec's
		{Report{Drain: true, Percent: 1}, "drain 1%", 1, 50, 0},
		{Report{}, "ready", 100, 50, 500},
	} {
		if err := p.SetReport(b, c.report); err != nil {
			t.Fatal(err)
		}
		n := fresh()
		if b.Weight() != c.weight || b.MaxConns() != c.maxConns || n < c.fresh-1 || n > c.fresh+1 || c.report.String() != c.text || p.Report(b) != c.report {
			t.Errorf("report %v: weight %d, max conns %d, %d of 1000 fresh handshakes; want %d, %d, %d and %q", c.report, b.Weight(), b.MaxConns(), n, c.weight, c.maxConns, c.fresh, c.text)
		}
		if u := p.Snapshot().Usable(b); u != UsableOK {
			t.Errorf("report %v: %v for its own resumptions", c.report, u)
		}
	}
	p.SetDraining(b, DrainSoft)
	if err := p.SetReport(b, Report{Percent: 100}); err != nil || fresh() != 0 {
		t.Errorf("a backend that reports itself ready is not undrained (error %v)", err)
	}
	for _, bad := range []Report{{Percent: -1}, {Percent: MaxPercent + 1}, {MaxConns: -1}} {
		if p.SetReport(b, bad) == nil {
			t.Errorf("report %+v is taken", bad)
		}
	}
	p.SetDraining(b, DrainOff)
	if err := p.SetReport(b, Report{Drain: true}); err != nil {
		t.Fatal(err)
	}
	if err := p.Reconfigure([]Spec{{Addr: "192.0.2.1:443", Weight: 10}, {Addr: "192.0.2.2:443", Weight: 100}}, Options{}); err != nil {
		t.Fatal(err)
	}
	if fresh() != 0 || b.Weight() != 10 || b.MaxConns() != 0 {
		t.Errorf("after a reload: weight %d, max conns %d, %d fresh handshakes", b.Weight(), b.MaxConns(), fresh())
	}
}
