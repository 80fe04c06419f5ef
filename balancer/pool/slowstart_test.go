package pool

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// sharesOf is how many of n fresh handshakes each backend gets, by address. Each conn is open until all are placed, so
// that least-conn has something to go by; open conns of before are as they were afterwards.
func sharesOf(p *Pool, policy Policy, n int) []int {
	counts := make(map[*Backend]int)
	clients := hashes()
	var placed []*Backend
	for range n {
		if b := p.Snapshot().Fresh(policy, clients.Uint64(), Skip{}); b != nil {
			b.Acquire()
			placed = append(placed, b)
			counts[b]++
		}
	}
	for _, b := range placed {
		b.Release()
	}
	var shares []int
	for _, b := range p.Snapshot().All() {
		shares = append(shares, counts[b])
	}
	return shares
}

func about(got, want, slack int) bool { return got >= want-slack && got <= want+slack }

// slow runs f with a pool of three whose slow start takes a minute, in a bubble.
func slow(t *testing.T, opt Options, f func(t *testing.T, p *Pool)) {
	synctest.Test(t, func(t *testing.T) {
		opt.SlowStart = time.Minute
		p := newPool(t, opt, numbered(3)...)
		running(t, p)
		f(t, p)
	})
}

// TestSlowStart: after a backend came up again its share of fresh handshakes rises from a tenth of its weight to all of
// it, under each policy.
func TestSlowStart(t *testing.T) {
	for policy := RoundRobin; policy <= ClientHash; policy++ {
		slow(t, Options{Policy: policy}, func(t *testing.T, p *Pool) {
			b := member(p, 1)
			if got := sharesOf(p, policy, 2100); !about(got[1], 700, 40) {
				t.Errorf("%s: at the start of the process shares are %v, want equal ones", policy, got)
			}
			p.SetUp(b, false, "test")
			time.Sleep(time.Hour)
			p.SetUp(b, true, "test")
			began := time.Now()
			for _, step := range []struct {
				after   time.Duration
				percent int
			}{{0, 10}, {3 * time.Second, 10}, {11 * time.Second, 25}, {30500 * time.Millisecond, 55}, {59 * time.Second, 95}, {time.Minute, 100}, {time.Hour, 100}} {
				time.Sleep(time.Until(began.Add(step.after)))
				synctest.Wait()
				c := p.Condition(b)
				if c.Share != step.percent {
					t.Errorf("%s: after %s it has %d%%, want %d%%", policy, step.after, c.Share, step.percent)
				}
				if got := c.Whole.Equal(began.Add(time.Minute)); got != (step.percent < 100) {
					t.Errorf("%s: after %s it is whole at %v", policy, step.after, c.Whole)
				}
				// Of three, one with a part s has s/(2+s); of client hashes the part of its own third.
				want := 2100 * step.percent / (200 + step.percent)
				if policy == ClientHash {
					want = 7 * step.percent
				}
				if got := sharesOf(p, policy, 2100); !about(got[1], want, 40) {
					t.Errorf("%s: after %s the shares are %v, want %d for the second", policy, step.after, got, want)
				}
			}
		})
	}
}

// TestSlowStartLeavesOffersAlone: consistent hashing and the bound of load, and so the way home, know no slow start.
func TestSlowStartLeavesOffersAlone(t *testing.T) {
	slow(t, Options{}, func(t *testing.T, p *Pool) {
		b := member(p, 1)
		clients := hashes()
		keys := make([]uint64, 1000)
		before := make([]*Backend, len(keys))
		for i := range keys {
			keys[i] = clients.Uint64()
			before[i] = p.Snapshot().Maglev(keys[i], Skip{})
		}
		p.SetUp(b, false, "test")
		p.SetUp(b, true, "test")
		s := p.Snapshot()
		for i, key := range keys {
			if got := s.Maglev(key, Skip{}); got != before[i] {
				t.Fatalf("offer %d goes to %s, before to %s", i, got.Addr, before[i].Addr)
			}
		}
		// Open on each: 100. Its own mean is 100 too, so that a bound by its part of the weight would be passed.
		for i := range 3 {
			hold(member(p, i), 100)
		}
		if got := s.Usable(b); got != UsableOK {
			t.Errorf("its own resumptions find it %s", got)
		}
	})
}

// TestSlowStartMovesEachClientOnce: under client hash a client that has come to the backend stays there.
func TestSlowStartMovesEachClientOnce(t *testing.T) {
	slow(t, Options{Policy: ClientHash}, func(t *testing.T, p *Pool) {
		b := member(p, 1)
		p.SetUp(b, false, "test")
		clients, came := hashes(), make(map[uint64]bool)
		elsewhere := make(map[uint64]*Backend)
		for range 1000 {
			hash := clients.Uint64()
			elsewhere[hash] = p.Snapshot().Fresh(ClientHash, hash, Skip{})
		}
		p.SetUp(b, true, "test")
		others := 0 // of the two others, that a table with a third moves
		for hash, old := range elsewhere {
			if owner := p.Snapshot().Maglev(hash, Skip{}); owner != b {
				if owner != old {
					others++
				}
				elsewhere[hash] = owner
			}
		}
		if others > 50 {
			t.Errorf("%d of 1000 clients have moved between the others", others)
		}
		for range 13 {
			synctest.Wait()
			for hash, old := range elsewhere {
				switch now := p.Snapshot().Fresh(ClientHash, hash, Skip{}); {
				case now == b:
					came[hash] = true
				case came[hash]:
					t.Fatal("a client has left the backend again")
				case now != old:
					t.Fatalf("a client went from %s to %s, which has nothing to do with it", old.Addr, now.Addr)
				}
			}
			time.Sleep(5 * time.Second)
		}
		if !about(len(came), 333, 60) {
			t.Errorf("%d of 1000 clients came, want a third", len(came))
		}
	})
}

// TestSlowStartAlone: who is alone, or starts together with all others, has everything.
func TestSlowStartAlone(t *testing.T) {
	slow(t, Options{}, func(t *testing.T, p *Pool) {
		for i := range 3 {
			p.SetUp(member(p, i), false, "test")
		}
		p.SetUp(member(p, 0), true, "test")
		for policy := RoundRobin; policy <= ClientHash; policy++ {
			if got := sharesOf(p, policy, 300); got[0] != 300 {
				t.Errorf("%s: alone: shares %v", policy, got)
			}
		}
		p.SetUp(member(p, 1), true, "test")
		p.SetUp(member(p, 2), true, "test")
		for policy := RoundRobin; policy <= LeastConn; policy++ {
			if got := sharesOf(p, policy, 300); got[0] != 100 || got[1] != 100 {
				t.Errorf("%s: all together: shares %v", policy, got)
			}
		}
	})
}

// TestSlowStartOnTrial: where no checks run, a backend that a conn has brought back starts slowly from the first moment.
func TestSlowStartOnTrial(t *testing.T) {
	slow(t, Options{NoChecks: true}, func(t *testing.T, p *Pool) {
		b := member(p, 1)
		for range 3 {
			p.ConnectFailed(b, "connection refused")
		}
		synctest.Wait()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if !b.OnTrial() {
			t.Fatal("it is not on trial")
		}
		b.Acquire()
		p.ConnectOK(b)
		b.Release()
		if got := sharesOf(p, RoundRobin, 2100); !about(got[1], 100, 5) {
			t.Errorf("before Run has looked the shares are %v", got)
		}
		synctest.Wait()
		if got := sharesOf(p, RoundRobin, 2100); !about(got[1], 100, 5) {
			t.Errorf("the shares are %v", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := sharesOf(p, RoundRobin, 2100); !about(got[1], 700, 5) {
			t.Errorf("after a minute the shares are %v", got)
		}
	})
}

// TestSlowStartOfNewcomers: a backend that joins starts slowly in a pool that is at work, not in one that is just being
// filled. One that leaves and returns is a newcomer, one that stays is none.
func TestSlowStartOfNewcomers(t *testing.T) {
	slow(t, Options{Discover: true}, func(t *testing.T, p *Pool) {
		expect := func(why string, want ...int) {
			t.Helper()
			synctest.Wait()
			var got []int
			for _, b := range p.Snapshot().All() {
				got = append(got, p.Condition(b).Share)
			}
			if len(got) != len(want) {
				t.Fatalf("%s: shares %v, want %v", why, got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: shares %v, want %v", why, got, want)
					return
				}
			}
		}
		discover := func(backends ...Discovered) {
			t.Helper()
			if err := p.SetDiscovered(backends); err != nil {
				t.Fatal(err)
			}
		}
		four, five := Discovered{Addr: netip.MustParseAddrPort("10.0.1.4:443")}, Discovered{Addr: netip.MustParseAddrPort("10.0.1.5:443")}
		time.Sleep(30 * time.Second)
		discover(four)
		expect("found while the pool is being filled", 100, 100, 100, 100)
		time.Sleep(time.Minute)
		discover(four, five)
		expect("found later", 100, 100, 100, 100, 10)
		time.Sleep(time.Minute)
		expect("a minute later", 100, 100, 100, 100, 100)
		discover(four)
		time.Sleep(time.Second)
		discover(four, five)
		expect("withdrawn and back", 100, 100, 100, 100, 10)
		if err := p.Set(numbered(4)); err != nil {
			t.Fatal(err)
		}
		expect("one more by a reload", 100, 100, 100, 10, 100, 10)
	})
}

// TestSlowStartReload: a reload starts nobody slowly, and one that takes slow starts away ends them.
func TestSlowStartReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, Options{}, numbered(3)...)
		running(t, p)
		b := member(p, 1)
		p.SetUp(b, false, "test")
		p.SetUp(b, true, "test")
		share := func(why string, want int) {
			t.Helper()
			synctest.Wait()
			if got := p.Condition(b).Share; got != want {
				t.Errorf("%s: %d%%, want %d%%", why, got, want)
			}
		}
		reload := func(slow time.Duration) {
			t.Helper()
			if err := p.Reconfigure(numbered(3), Options{SlowStart: slow}); err != nil {
				t.Fatal(err)
			}
		}
		share("by default nothing is slow", 100)
		reload(time.Minute)
		share("up before a reload", 100)
		p.SetUp(b, false, "test")
		reload(2 * time.Minute)
		p.SetUp(b, true, "test")
		share("came up", 10)
		time.Sleep(time.Minute)
		share("half way", 55)
		reload(2 * time.Minute)
		share("half way, after a reload", 55)
		reload(0)
		share("no slow starts any more", 100)
		if got := sharesOf(p, RoundRobin, 300); got[1] != 100 {
			t.Errorf("shares %v", got)
		}
	})
}

// TestSlowStartHandedOver: the process that takes over goes on where the other was, and starts nobody else slowly.
func TestSlowStartHandedOver(t *testing.T) {
	slow(t, Options{}, func(t *testing.T, p *Pool) {
		p.SetUp(member(p, 1), false, "test")
		p.SetUp(member(p, 1), true, "test")
		p.SetUp(member(p, 2), false, "test")
		time.Sleep(30 * time.Second)
		heir := newPool(t, Options{SlowStart: time.Minute}, numbered(3)...)
		running(t, heir)
		synctest.Wait() // it has looked, and found nothing
		heir.Import(p.Export())
		for i, want := range []int{100, 55, 10} {
			if got := heir.Condition(member(heir, i)).Share; got != want {
				t.Errorf("backend %d has %d%%, want %d%%", i, got, want)
			}
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := heir.Condition(member(heir, 1)).Share; got != 100 {
			t.Errorf("half a minute later it has %d%%", got)
		}
		heir.SetUp(member(heir, 2), true, "test")
		for i, want := range []int{100, 100, 10} {
			if got := heir.Condition(member(heir, i)).Share; got != want {
				t.Errorf("half a minute later: backend %d has %d%%, want %d%%", i, got, want)
			}
		}
	})
}

// TestSlowStartCutShort: who goes down again begins from the beginning.
func TestSlowStartCutShort(t *testing.T) {
	slow(t, Options{}, func(t *testing.T, p *Pool) {
		b := member(p, 1)
		for range 2 {
			p.SetUp(b, false, "flapping")
			time.Sleep(20 * time.Second)
			p.SetUp(b, true, "flapping")
			if c := p.Condition(b); c.Share != 10 || c.Why != "flapping" || !c.Since.Equal(time.Now()) {
				t.Errorf("condition %+v", c)
			}
			time.Sleep(40 * time.Second)
		}
	})
}

func TestSlowStartRefuses(t *testing.T) {
	for _, opt := range []Options{{SlowStart: -1}, {SlowStart: MaxSlowStart + 1}, {OnDown: OnDownReset + 1}} {
		if _, err := New("web", numbered(1), opt); err == nil {
			t.Errorf("options %+v are taken", opt)
		}
	}
}
