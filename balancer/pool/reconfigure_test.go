package pool

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func reconfigure(t *testing.T, p *Pool, opt Options, specs ...Spec) {
	t.Helper()
	if err := p.Reconfigure(specs, opt); err != nil {
		t.Fatal(err)
	}
}

// A backend whose address stays is the same backend, with all that is known of it.
func TestReconfigureKeepsIdentity(t *testing.T) {
	p := newPool(t, Options{}, weighted(1, 2, 3, 4)...)
	kept, down, drained, leaving := member(p, 0), member(p, 1), member(p, 2), member(p, 3)
	hold(kept, 2)
	hold(leaving, 1)
	p.SetUp(down, false, "test")
	p.SetDraining(drained, DrainSoft)
	p.ConnectFailed(kept, "connection refused")

	specs := weighted(1, 7, 3)
	specs[2].MaxConns = 9
	specs = append(specs, Spec{Addr: "10.0.1.1:443"})
	reconfigure(t, p, Options{Policy: LeastConn, ECH: true}, specs...)
	if got := addrs(p); got != "10.0.0.1:443 10.0.0.2:443 10.0.0.3:443 10.0.1.1:443" {
		t.Errorf("backends %s", got)
	}
	s := p.Snapshot()
	if len(s.All()) != 4 || member(p, 0) != kept || member(p, 1) != down || member(p, 2) != drained {
		t.Fatalf("backends %s", addrs(p))
	}
	if kept.Open() != 2 || kept.Failures() != 1 || down.Up() || down.Weight() != 7 || drained.Draining() != DrainSoft || drained.MaxConns() != 9 {
		t.Error("a backend has lost something")
	}
	if s.ByID(leaving.ID) != nil || leaving.Open() != 1 || leaving.Up() || s.Usable(leaving) != UsableDown {
		t.Error("the one that left is still to be had, or has lost its conn")
	}
	if o := s.Options(); o.Policy != LeastConn || !o.ECH || o.SecondChance.Tries != 1 || o.Fall != 3 {
		t.Errorf("options %+v", o)
	}
	leaving.Release()
	reconfigure(t, p, Options{Policy: LeastConn, ECH: true}, specs...)
	if now := p.Snapshot(); !slices.Equal(now.All(), s.All()) || down.Weight() != 7 || drained.MaxConns() != 9 {
		t.Errorf("nothing is new, yet the backends are %s", addrs(p))
	}
}

// What cannot be is refused as a whole.
func TestReconfigureRefuses(t *testing.T) {
	z := &zone{}
	z.set("a.test", "192.0.2.1")
	p := newPool(t, Options{Resolver: z.resolve}, Spec{Addr: "a.test:443", Weight: 5})
	before := p.Snapshot()
	for _, tt := range []struct {
		specs []Spec
		opt   Options
		want  string
	}{
		{nil, Options{}, "no backend"},
		{[]Spec{{Addr: "192.0.2.1:443"}, {Addr: "192.0.2.2"}}, Options{}, "HOST:PORT"},
		{[]Spec{{Addr: "gone.test:443"}}, Options{}, "can be resolved"},
		{[]Spec{{Addr: "192.0.2.1:443"}}, Options{LoadFactor: 0.1}, "load factor"},
		{[]Spec{{Addr: "192.0.2.1:443"}, {Addr: "unix:app.sock"}}, Options{}, "is relative"},
		{[]Spec{{Addr: "192.0.2.1:443"}, {Addr: "unix:/run/a"}}, Options{Transparent: true}, "connected to from no address"},
		{[]Spec{{Addr: "unix:/run/a"}}, Options{Sources: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}, "connected to from no address"},
	} {
		tt.opt.Resolver = z.resolve
		tt.opt.Policy = ClientHash
		if err := p.Reconfigure(tt.specs, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want an error with %q", tt.specs, err, tt.want)
		}
		if p.Snapshot() != before {
			t.Errorf("%v: refused, and something has changed", tt.specs)
		}
	}
	// A plan that is not carried out changes nothing either.
	if _, err := p.Plan([]Spec{{Addr: "192.0.2.9:443"}}, Options{}); err != nil || p.Snapshot() != before {
		t.Errorf("a plan: %v", err)
	}
	p.refresh(t.Context())
	if p.Snapshot() != before {
		t.Error("the targets of a plan were resolved again")
	}
}

// Loops see other options in their next decision, also where no backend differs.
func TestReconfigureOptionsAlone(t *testing.T) {
	p := newPool(t, Options{Fall: 3}, weighted(1, 1)...)
	old := p.Snapshot()
	reconfigure(t, p, Options{Fall: 1, LoadFactor: 2}, weighted(1, 1)...)
	s := p.Snapshot()
	if !slices.Equal(s.All(), old.All()) {
		t.Errorf("backends %s", addrs(p))
	}
	select {
	case <-old.Replaced():
	default:
		t.Error("the old snapshot still stands")
	}
	if s.table != old.table {
		t.Error("the table was built again for nothing")
	}
	if s.Options().LoadFactor != 2 || old.Options().LoadFactor != 1.5 {
		t.Errorf("load factors %v, %v", s.Options().LoadFactor, old.Options().LoadFactor)
	}
	p.ConnectFailed(member(p, 0), "connection refused")
	if len(member(p, 0).Doubted()) == 0 {
		t.Error("not doubted after as many failures as the new options allow")
	}
}

// A pool that takes no announced backends any more has none.
func TestReconfigureEndsDiscovery(t *testing.T) {
	p := discovering(t, Spec{Addr: "192.0.2.1:443"})
	discover(t, p, found("192.0.2.1:443", 1, DrainSoft), found("192.0.2.2:443", 1, DrainOff))
	if at(t, p, "192.0.2.1:443").Draining() != DrainSoft {
		t.Fatal("not drained as announced")
	}
	reconfigure(t, p, Options{}, Spec{Addr: "192.0.2.1:443"})
	if addrs(p) != "192.0.2.1:443" || at(t, p, "192.0.2.1:443").Draining() != DrainOff {
		t.Errorf("backends %s", addrs(p))
	}
	if p.SetDiscovered(nil) == nil {
		t.Error("announced backends are still taken")
	}
	reconfigure(t, p, Options{Discover: true})
	discover(t, p, found("192.0.2.2:443", 1, DrainOff))
	if addrs(p) != "192.0.2.2:443" {
		t.Errorf("backends %s", addrs(p))
	}
}

// The log stays the one of the beginning, and a running pool follows other intervals at once.
func TestReconfigureWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		z := &zone{}
		z.set("a.test", "192.0.2.1")
		opt := Options{Resolver: z.resolve, ResolveEvery: time.Hour, Fall: 1, Log: slog.New(slog.NewTextHandler(&text, nil))}
		p := newPool(t, opt, Spec{Addr: "a.test:443"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()

		opt.ResolveEvery, opt.NoChecks, opt.RetryAfter, opt.Log = time.Second, true, 10*time.Second, nil
		reconfigure(t, p, opt, Spec{Addr: "a.test:443"})
		z.set("a.test", "192.0.2.2")
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if addrs(p) != "192.0.2.2:443" {
			t.Errorf("backends %s a second later", addrs(p))
		}
		b := member(p, 0)
		p.ConnectFailed(b, "connection refused")
		synctest.Wait()
		if !strings.Contains(text.String(), "backend down") {
			t.Errorf("the log has %q", text.String())
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if len(p.Snapshot().Live()) != 1 {
			t.Error("no trial, although no checks run now")
		}
		p.ConnectOK(b)
		if !b.Up() {
			t.Error("not up after a connect")
		}
	})
}
