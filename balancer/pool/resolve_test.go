package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// zone is a resolver of a few names.
type zone struct {
	mu    sync.Mutex
	names map[string]string // space-separated addresses; a missing name does not exist
	ttl   time.Duration
	deaf  error
	asked int
}

func (z *zone) resolve(_ context.Context, host string) (Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	text, ok := z.names[host]
	if !ok {
		return Answer{}, errors.New("no such host")
	}
	a := Answer{TTL: z.ttl, Deaf: z.deaf}
	for field := range strings.FieldsSeq(text) {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(field))
	}
	return a, nil
}

func (z *zone) set(host, addrs string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.names == nil {
		z.names = make(map[string]string)
	}
	if z.names[host] = addrs; addrs == "" {
		delete(z.names, host)
	}
}

// change does f while nobody asks.
func (z *zone) change(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

// count is how often it was asked.
func (z *zone) count() (n int) {
	z.change(func() { n = z.asked })
	return n
}

// addrs is the pool's backends as text.
func addrs(p *Pool) string {
	var list []string
	for _, b := range p.Snapshot().All() {
		list = append(list, b.Addr.String())
	}
	return strings.Join(list, " ")
}

func TestResolve(t *testing.T) {
	tests := []struct {
		specs []string
		want  string
		log   string // a word of the one warning, "" for none
		why   string
	}{
		{[]string{"web:443"}, "10.0.0.1:443 10.0.0.2:443 [2001:db8::1]:443", "", "a name expands to all its addresses"},
		{[]string{"mapped:443"}, "10.0.0.9:443", "", "4-in-6 is the IPv4 address"},
		{[]string{"[::ffff:10.0.0.9]:443"}, "10.0.0.9:443", "", "as a literal too"},
		{[]string{"web:443", "web:8443"}, "10.0.0.1:443 10.0.0.1:8443 10.0.0.2:443 10.0.0.2:8443 [2001:db8::1]:443 [2001:db8::1]:8443", "", "a port makes another backend"},
		{[]string{"gone:443", "10.0.0.5:443"}, "10.0.0.5:443", "gone:443", "an unknown name is a warning beside a usable backend"},
		{[]string{"empty:443", "10.0.0.5:443"}, "10.0.0.5:443", "no addresses", "so is a name without addresses"},
		{[]string{"10.0.0.5:443", "10.0.0.5:443"}, "10.0.0.5:443", "more than once", "a backend given twice is one"},
		{[]string{"10.0.0.2:443", "web:443"}, "10.0.0.1:443 10.0.0.2:443 [2001:db8::1]:443", "more than once", "a literal that a name contains as well"},
	}
	for _, tt := range tests {
		z := &zone{names: map[string]string{
			"web": "10.0.0.2 10.0.0.1 2001:db8::1", "mapped": "::ffff:10.0.0.9 10.0.0.9", "empty": "",
		}}
		var log testkit.Log
		specs := make([]Spec, len(tt.specs))
		for i, text := range tt.specs {
			specs[i].Addr = text
		}
		p, err := New("web", specs, Options{Resolver: z.resolve, Log: log.Logger()})
		if err != nil {
			t.Errorf("%s: %v", tt.why, err)
			continue
		}
		if got := addrs(p); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.why, got, tt.want)
		}
		lines := log.Take()
		if tt.log == "" && len(lines) != 0 || tt.log != "" && (len(lines) != 1 || !strings.Contains(lines[0], tt.log)) {
			t.Errorf("%s: log %q, want a line with %q", tt.why, lines, tt.log)
		}
	}
}

// TestNothingResolves: no backend at all is an error of one line that names every value and the remedy.
func TestNothingResolves(t *testing.T) {
	z := &zone{}
	_, err := New("web", []Spec{{Addr: "gone:443"}, {Addr: "lost:8443"}}, Options{Resolver: z.resolve})
	want := `no backend can be resolved: "gone:443" (no such host), "lost:8443" (no such host); correct the name, or give IP:PORT`
	if err == nil || err.Error() != want {
		t.Errorf("New = %v, want %s", err, want)
	}

	p := newPool(t, Options{Resolver: z.resolve}, numbered(2)...)
	before := p.Snapshot()
	if err := p.Set([]Spec{{Addr: "gone:443"}}); err == nil || p.Snapshot() != before {
		t.Errorf("Set = %v, and the snapshot is another: %v", err, p.Snapshot() != before)
	}
}

// TestResolveAgain follows one name through its life.
func TestResolveAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("web", "10.0.0.1 10.0.0.2")
		var log testkit.Log
		p := newPool(t, Options{Resolver: z.resolve, Log: log.Logger()}, Spec{Addr: "web:443", Weight: 2}, Spec{Addr: "late:443"}, Spec{Addr: "10.9.9.9:443"})
		defer run(p)()
		first := member(p, 0)
		p.SetUp(first, false, "test")
		first.Acquire()
		log.Take()
		later := func(want, why string, lines int) {
			t.Helper()
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if got := addrs(p); got != want {
				t.Errorf("%s: %s, want %s", why, got, want)
			}
			if got := log.Take(); len(got) != lines {
				t.Errorf("%s: log %q, want %d lines", why, got, lines)
			}
		}
		later("10.0.0.1:443 10.0.0.2:443 10.9.9.9:443", "nothing changed, and the warning stands", 0)
		z.set("late", "10.0.0.7")
		later("10.0.0.1:443 10.0.0.2:443 10.0.0.7:443 10.9.9.9:443", "the missing name appeared", 0)
		z.set("web", "10.0.0.2 10.0.0.3")
		later("10.0.0.2:443 10.0.0.3:443 10.0.0.7:443 10.9.9.9:443", "one address left, one came", 0)
		if p.Snapshot().ByID(first.ID) != nil || p.Snapshot().Usable(first) != UsableDown {
			t.Error("the backend that left is still used")
		}
		z.set("web", "")
		later("10.0.0.2:443 10.0.0.3:443 10.0.0.7:443 10.9.9.9:443", "the resolver fails, what is known stays", 1)
		z.set("web", "10.0.0.1 10.0.0.2")
		later("10.0.0.1:443 10.0.0.2:443 10.0.0.7:443 10.9.9.9:443", "the first address came back", 0)
		if member(p, 0) != first || first.Up() || first.Open() != 1 || first.Weight() != 2 {
			t.Error("a backend that comes back with conns open must be the same one, down as it was")
		}
	})
}

// TestResolveMoved: a name is looked at again when a backend of it goes down, and once a second while one is down.
func TestResolveMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("web", "10.0.0.1")
		z.set("other", "10.0.1.1")
		p := newPool(t, Options{Resolver: z.resolve}, Spec{Addr: "web:443"}, Spec{Addr: "other:443"})
		defer run(p)()
		time.Sleep(10*time.Second + time.Millisecond)
		z.set("web", "10.0.0.2")
		p.SetUp(member(p, 0), false, "test")
		synctest.Wait()
		if got, want := addrs(p), "10.0.0.2:443 10.0.1.1:443"; got != want {
			t.Errorf("as soon as it went down: %s, want %s", got, want)
		}
		before := z.count()
		p.SetUp(member(p, 0), false, "test")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := z.count() - before; n != 10 {
			t.Errorf("asked %d times in 10 s, want 10: once a second, and not for the other name", n)
		}
		z.set("web", "10.0.0.3")
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := addrs(p), "10.0.0.3:443 10.0.1.1:443"; got != want {
			t.Errorf("a second after it moved: %s, want %s", got, want)
		}
	})
}

// TestResolveTTL: an answer that holds for less than ResolveEvery is asked for again in time, at most once a second.
func TestResolveTTL(t *testing.T) {
	for _, tt := range []struct{ ttl, want time.Duration }{
		{0, 30 * time.Second}, {time.Millisecond, time.Second}, {7 * time.Second, 7 * time.Second}, {time.Hour, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			z := &zone{ttl: tt.ttl}
			z.set("web", "10.0.0.1")
			p := newPool(t, Options{Resolver: z.resolve}, Spec{Addr: "web:443"})
			defer run(p)()
			z.change(func() { z.asked = 0 })
			time.Sleep(time.Hour)
			synctest.Wait()
			if got, want := z.count(), int(time.Hour/tt.want); got < want-1 || got > want {
				t.Errorf("a time to live of %v: asked %d times in an hour, want %d", tt.ttl, got, want)
			}
		})
	}
}

// TestResolveDeaf: a name server that answers for one family of addresses does not take those of the other away.
func TestResolveDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("web", "10.0.0.1 2001:db8::1")
		var log testkit.Log
		p := newPool(t, Options{Resolver: z.resolve, Log: log.Logger()}, Spec{Addr: "web:443"})
		defer run(p)()
		z.change(func() { z.deaf = errors.New("server misbehaving") })
		z.set("web", "10.0.0.2")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got, want := addrs(p), "10.0.0.2:443 [2001:db8::1]:443"; got != want {
			t.Errorf("half deaf: %s, want %s", got, want)
		}
		if lines := log.Take(); len(lines) != 1 || !strings.Contains(lines[0], "server misbehaving") {
			t.Errorf("log %q, want one line", lines)
		}
		z.change(func() { z.deaf = nil })
		z.set("web", "10.0.0.2")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got, want := addrs(p), "10.0.0.2:443"; got != want {
			t.Errorf("the name server says that it has no other: %s, want %s", got, want)
		}
		z.change(func() { z.deaf = errors.New("refused") })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if lines := log.Take(); len(lines) != 0 {
			t.Errorf("log %q of a family that has never had an address", lines)
		}
	})
}

// TestStaticNamesAreNotAsked: a pool of addresses never resolves anything.
func TestStaticNamesAreNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		p := newPool(t, Options{Resolver: z.resolve}, numbered(3)...)
		defer run(p)()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if z.asked != 0 {
			t.Errorf("the resolver was asked %d times", z.asked)
		}
	})
}

// TestSlowNameHoldsNobodyUp: the time to resolve is bounded for all names together.
func TestSlowNameHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolver := func(ctx context.Context, host string) (Answer, error) {
			if host == "quick" {
				return Answer{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, nil
			}
			<-ctx.Done()
			return Answer{}, ctx.Err()
		}
		start := time.Now()
		p := newPool(t, Options{Resolver: resolver}, Spec{Addr: "slow:443"}, Spec{Addr: "slower:443"}, Spec{Addr: "quick:443"})
		if took := time.Since(start); took != 5*time.Second || addrs(p) != "10.0.0.1:443" {
			t.Errorf("after %v the pool is %s", took, addrs(p))
		}
	})
}

// TestCollision: of two addresses with one ID the smaller keeps it, whatever the order, even when the larger was first.
func TestCollision(t *testing.T) {
	small, large := findCollision(t)
	for _, specs := range [][]Spec{{{Addr: small}, {Addr: large}}, {{Addr: large}, {Addr: small}}} {
		var log testkit.Log
		p := newPool(t, Options{Log: log.Logger()}, specs...)
		if got := addrs(p); got != small {
			t.Errorf("of %v the pool keeps %s, want %s", specs, got, small)
		}
		if lines := log.Take(); len(lines) != 1 || !strings.Contains(lines[0], large) || !strings.Contains(lines[0], "refused") {
			t.Errorf("log %q, want one line that %s is refused", lines, large)
		}
	}
	p := newPool(t, Options{}, Spec{Addr: large})
	if err := p.Set([]Spec{{Addr: large}, {Addr: small}}); err != nil || addrs(p) != small {
		t.Errorf("a smaller address came later: %s, %v", addrs(p), err)
	}
}

// findCollision searches two addresses with the same ID: with 32 bits the first pair is due after some 80,000.
func findCollision(t *testing.T) (small, large string) {
	seen := make(map[ID]netaddr.Addr)
	for i := range 1 << 20 {
		addr := netaddr.Of(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 443))
		id := makeID("web", "", addr)
		if first, ok := seen[id]; ok {
			return first.String(), addr.String()
		}
		seen[id] = addr
	}
	t.Fatal("no collision in a million addresses")
	return "", ""
}

func TestManyBackends(t *testing.T) {
	specs := make([]Spec, MaxBackends+2)
	for i := range specs {
		specs[i].Addr = fmt.Sprintf("10.1.%d.%d:443", i>>8, i&255)
	}
	var log testkit.Log
	p := newPool(t, Options{Log: log.Logger()}, specs...)
	if n := len(p.Snapshot().All()); n != MaxBackends {
		t.Errorf("the pool has %d backends, want %d", n, MaxBackends)
	}
	if lines := log.Take(); len(lines) != 2 {
		t.Errorf("%d warnings, want one for each backend that is refused", len(lines))
	}
}
