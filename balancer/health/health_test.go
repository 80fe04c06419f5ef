package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/bench/testkit"
)

// network answers checks in place of backends.
type network struct {
	mu     sync.Mutex
	fails  map[string]error // by address; nil: it answers
	checks map[string]int
}

func (n *network) check(ctx context.Context, addr netaddr.Addr, _ pool.ProxyHeader) error {
	n.mu.Lock()
	n.checks[addr.String()]++
	err := n.fails[addr.String()]
	n.mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) { // silence
		<-ctx.Done()
	}
	return err
}

// silence is what comes of a check that waits in vain.
func silence(what waited) error { return &failure{err: context.DeadlineExceeded, waited: what} }

func (n *network) set(addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails[addr] = err
}

// count is the number of checks of an address since the last count.
func (n *network) count(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer delete(n.checks, addr)
	return n.checks[addr]
}

const (
	one = "10.0.0.1:443"
	two = "10.0.0.2:443"
)

// scene is a checker that runs in a synctest bubble.
type scene struct {
	*network
	t    *testing.T
	pool *pool.Pool
	log  testkit.Log
	end  func()
}

// bubble runs f in a bubble with a checker over two backends that answer.
func bubble(t *testing.T, cfg Config, f func(*scene)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{network: &network{fails: map[string]error{}, checks: map[string]int{}}, t: t}
		cfg.Log = s.log.Logger()
		p, err := pool.New("web", []pool.Spec{{Addr: one}, {Addr: two}}, pool.Options{Log: cfg.Log})
		if err != nil {
			t.Fatal(err)
		}
		s.pool = p
		c, err := New(p, cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.check = s.check
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		s.end = func() { cancel(); <-ended }
		defer s.end()
		synctest.Wait()
		f(s)
	})
}

// after lets time pass and returns the names of the backends that are up.
func (s *scene) after(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	var up []string
	for _, b := range s.pool.Snapshot().Live() {
		up = append(up, b.Name)
	}
	return strings.Join(up, " ")
}

func (s *scene) expect(d time.Duration, want, why string) {
	s.t.Helper()
	if got := s.after(d); got != want {
		s.t.Errorf("%s: up are %q, want %q", why, got, want)
	}
}

func TestRiseAndFall(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		if s.count(one) != 1 || s.count(two) != 1 {
			t.Error("new backends must be checked at once")
		}
		s.expect(0, one+" "+two, "new backends are up")
		s.set(one, dialed(syscall.ECONNREFUSED))
		s.expect(3500*time.Millisecond, one+" "+two, "one or two checks failed")
		s.expect(3500*time.Millisecond, two, "three have")
		s.set(one, nil)
		s.expect(1500*time.Millisecond, two, "at most one check succeeded")
		s.expect(4*time.Second, one+" "+two, "two have")
		log := s.log.String()
		for _, want := range []string{
			`msg="backend down" pool=web backend=10.0.0.1:443 why="3 checks in a row failed, the last: connection refused" live="1 of 2"`,
			`msg="backend up" pool=web backend=10.0.0.1:443 why="2 checks in a row succeeded" down_seconds=`,
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if n := strings.Count(log, "\n"); n != 2 {
			t.Errorf("the log has %d lines, want one for each change:\n%s", n, log)
		}
	})
}

// TestSilence: a backend that does not answer is given Timeout for each check.
// TestUnchecked: a backend that announced itself is up after one check that succeeds, and not before.
func TestUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := pool.New("web", nil, pool.Options{Discover: true, CheckFirst: true})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(p, Config{})
		if err != nil {
			t.Fatal(err)
		}
		var answers atomic.Bool
		c.check = func(context.Context, netaddr.Addr, pool.ProxyHeader) error {
			if answers.Load() {
				return nil
			}
			return errors.New("not yet")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		defer func() { cancel(); <-ended }()
		if err := p.SetDiscovered([]pool.Discovered{{Addr: netip.MustParseAddrPort("10.0.0.1:443")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(p.Snapshot().Live()) != 0 {
			t.Error("it is up, and no check says so")
		}
		answers.Store(true)
		time.Sleep(3 * time.Second) // one interval
		synctest.Wait()
		if len(p.Snapshot().Live()) != 1 {
			t.Error("it is not up after its first check")
		}
	})
}

// TestFirstCheck: nothing is known of a backend before its first check, and one that fails is enough then.
func TestFirstCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := pool.New("web", []pool.Spec{{Addr: "10.0.0.1:443"}, {Addr: "10.0.0.2:443"}}, pool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		dead, good := p.Snapshot().All()[0], p.Snapshot().All()[1]
		if dead.Judged() || !dead.Up() {
			t.Error("a backend that nobody has looked at is to be tried, and not called up")
		}
		var fails atomic.Bool
		c, err := New(p, Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.check = func(_ context.Context, addr netaddr.Addr, _ pool.ProxyHeader) error {
			if addr == dead.Addr || fails.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		defer func() { cancel(); <-ended }()
		synctest.Wait()
		if !dead.Judged() || dead.Up() || !good.Judged() || !good.Up() {
			t.Errorf("after the first checks: %t %t, %t %t", dead.Judged(), dead.Up(), good.Judged(), good.Up())
		}
		if why := p.Condition(dead).Why; why != "the first check failed: connection refused" {
			t.Errorf("%q", why)
		}
		fails.Store(true)
		time.Sleep(3 * time.Second) // one more
		synctest.Wait()
		if !good.Up() {
			t.Error("one check that fails is not enough later")
		}
	})
}

func TestSilence(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		s.set(one, context.DeadlineExceeded)
		s.expect(6*time.Second, one+" "+two, "the third check cannot have ended")
		s.expect(4*time.Second, two, "it has")
		if log := s.log.String(); !strings.Contains(log, "the last: timeout") {
			t.Errorf("the log does not say timeout: %s", log)
		}
	})
}

func TestMembership(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		s.count(one)
		s.count(two)
		if err := s.pool.Set([]pool.Spec{{Addr: two}, {Addr: "10.0.0.3:443"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.count("10.0.0.3:443") != 1 {
			t.Error("a backend that joined must be checked at once")
		}
		s.after(time.Minute)
		if n := s.count(one); n != 0 {
			t.Errorf("a backend that left was checked %d times", n)
		}
		if n := s.count(two); n < 27 || n > 33 {
			t.Errorf("a backend that stayed was checked %d times in a minute, want one in 2 s", n)
		}
		if err := s.pool.Set([]pool.Spec{{Addr: one}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.count(one) != 1 {
			t.Error("a backend that came back must be checked at once")
		}
	})
}

// TestCutShort: a check that ends because the checker does says nothing about its backend.
func TestCutShort(t *testing.T) {
	bubble(t, Config{Fall: 1, Timeout: time.Hour}, func(s *scene) {
		s.set(one, context.DeadlineExceeded)
		s.after(5 * time.Second)
		s.end()
		s.expect(0, one+" "+two, "the check was under way")
		if log := s.log.String(); log != "" {
			t.Errorf("log: %s", log)
		}
	})
}

// TestShortage: a machine without descriptors marks nobody down, says so once, and again when it happens again.
func TestShortage(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		for range 2 {
			s.set(one, dialed(syscall.EMFILE))
			s.set(two, dialed(syscall.EMFILE))
			s.expect(time.Minute, one+" "+two, "no check could be made")
			s.set(one, nil)
			s.set(two, nil)
			s.expect(5*time.Second, one+" "+two, "checks can be made again")
		}
		if log := s.log.String(); strings.Count(log, "\n") != 2 || strings.Count(log, "too many open files") != 2 {
			t.Errorf("want two lines with the cause:\n%s", log)
		}
	})
}

// listen opens a loopback listener.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("no loopback at %s: %v", addr, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestConnectOnLoopback: the check succeeds and leaves by RST, over IPv4 and IPv6.
func TestConnectOnLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			l := listen(t, addr)
			if err := (&Check{}).run(t.Context(), netaddr.MustParse(l.Addr().String()), pool.ProxyOff); err != nil {
				t.Fatal(err)
			}
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the backend read %d bytes and %v, want a reset, which leaves no TIME_WAIT", n, err)
			}
			l.Close()
			if err := (&Check{}).run(t.Context(), netaddr.MustParse(l.Addr().String()), pool.ProxyOff); err == nil || cause(err) != "connection refused" {
				t.Errorf("without a listener: %v, want connection refused", err)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	c, err := New(nil, Config{Timeout: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	if err := c.once(t.Context(), netaddr.MustParse(l.Addr().String()), pool.ProxyOff); err == nil || cause(err) != "timeout" {
		t.Errorf("a check of one nanosecond: %v, want timeout", err)
	}
}

// TestRealBackend takes a listener away and gives it back, and waits for the pool to follow.
func TestRealBackend(t *testing.T) {
	first, second := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	p, err := pool.New("web", []pool.Spec{{Addr: first.Addr().String()}, {Addr: second.Addr().String()}}, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan string, 10)
	p.OnChange(func(b *pool.Backend, up bool, why string) { changes <- fmt.Sprint(b.Addr, " ", up, " ", why) })
	c, err := New(p, Config{Interval: MinInterval})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()

	for !p.Snapshot().All()[0].Judged() || !p.Snapshot().All()[1].Judged() {
		runtime.Gosched() // until the first checks are over
	}
	first.Close()
	if got, want := <-changes, fmt.Sprint(first.Addr(), " false 3 checks in a row failed, the last: connection refused"); got != want {
		t.Errorf("after the listener closed: %q, want %q", got, want)
	}
	listen(t, first.Addr().String())
	if got, want := <-changes, fmt.Sprint(first.Addr(), " true 2 checks in a row succeeded"); got != want {
		t.Errorf("after it opened again: %q, want %q", got, want)
	}
	cancel()
	<-ended
}
