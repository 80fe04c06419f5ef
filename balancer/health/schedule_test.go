package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// stage is a prober in a synctest bubble, over backends that are made of answers.
type stage struct {
	t      *testing.T
	pool   *pool.Pool
	prober *Prober
	begun  time.Time

	mu      sync.Mutex
	probes  map[string][]time.Duration // when each backend was probed, since begun
	answers map[string]func() (answer, error)
	now     map[string]int // probes under way
	most    int            // backends probed at once, at most
	takes   time.Duration
}

// perform runs f beside a prober over the backends, which answer that they speak TLS 1.2 and have no tickets.
func perform(t *testing.T, edit func(*ProbeConfig), f func(*stage), addrs ...string) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{
			t: t, begun: time.Now(), probes: map[string][]time.Duration{},
			answers: map[string]func() (answer, error){}, now: map[string]int{},
		}
		var specs []pool.Spec
		for _, addr := range addrs {
			specs = append(specs, pool.Spec{Addr: addr})
		}
		var err error
		if s.pool, err = pool.New("web", specs, pool.Options{}); err != nil {
			t.Fatal(err)
		}
		store, err := affinity.NewStore(affinity.Config{TableEntries: 1024, ClientEntries: 1024})
		if err != nil {
			t.Fatal(err)
		}
		cfg := ProbeConfig{Store: store}
		if edit != nil {
			edit(&cfg)
		}
		if s.prober, err = NewProber(s.pool, cfg); err != nil {
			t.Fatal(err)
		}
		s.prober.handshake = s.handshake
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { store.Run(ctx) })
		all.Go(func() { s.prober.Run(ctx) })
		synctest.Wait()
		f(s)
		cancel()
		all.Wait()
		store.Close()
	})
}

func (s *stage) handshake(ctx context.Context, addr netaddr.Addr, _ offer) (answer, error) {
	name := addr.String()
	s.mu.Lock()
	s.probes[name] = append(s.probes[name], time.Since(s.begun))
	if s.now[name]++; s.now[name] > 1 {
		s.t.Errorf("%s is probed twice at once", name)
	}
	s.most = max(s.most, len(s.now))
	answers, takes := s.answers[name], s.takes
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.now, name)
		s.mu.Unlock()
	}()
	if !wait(ctx, takes) {
		return answer{}, &handshakeError{err: ctx.Err(), connected: true}
	}
	if answers != nil {
		return answers()
	}
	return answer{version: tls.VersionTLS12}, nil
}

// answer replaces what a backend answers.
func (s *stage) answer(addr string, f func() (answer, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[addr] = f
}

// after lets time pass and returns when a backend was probed since the last call, in seconds since the begin, rounded
// down.
func (s *stage) after(d time.Duration, addr string) string {
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var at []string
	for _, p := range s.probes[addr] {
		at = append(at, fmt.Sprint(int(p.Seconds())))
	}
	s.probes[addr] = nil
	return strings.Join(at, " ")
}

func (s *stage) id(i int) uint32 { return uint32(s.pool.Snapshot().All()[i].ID) }

func (s *stage) suspect(id uint32, atOnce bool) { s.prober.Suspect(id, atOnce) }

func TestScheduleInterval(t *testing.T) {
	perform(t, nil, func(s *stage) {
		time.Sleep(time.Hour)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, addr := range []string{one, two} {
			at := s.probes[addr]
			if len(at) < 55 || len(at) > 66 || at[0] != 0 {
				t.Errorf("%s was probed %d times in an hour, first at %v", addr, len(at), at[:1])
			}
			for i := range at[1:] {
				if gap := at[i+1] - at[i]; gap < 54*time.Second || gap > 66*time.Second {
					t.Errorf("%s was probed after %v", addr, gap)
				}
			}
		}
		if slices.Equal(s.probes[one], s.probes[two]) {
			t.Error("the probes are in step")
		}
	}, one, two)
}

func TestScheduleAsked(t *testing.T) {
	perform(t, nil, func(s *stage) {
		if a, b := s.after(30*time.Second, one), s.after(0, two); a != "0" || b != "0" {
			t.Fatalf("probed at %q and %q", a, b)
		}
		s.suspect(s.id(0), false)
		if got := s.after(0, one); got != "30" {
			t.Errorf("asked at 30 s, probed at %q", got)
		}
		s.suspect(s.id(0), false)
		if got := s.after(5*time.Second, one); got != "32" {
			t.Errorf("asked again at 30 s, probed at %q: the first had found nothing, so the next has to wait 2 s", got)
		}
		s.suspect(s.id(0), true)
		if got := s.after(0, one); got != "35" {
			t.Errorf("doubt at 35 s, probed at %q", got)
		}
		if got := s.after(10*time.Second, two); got != "" {
			t.Errorf("the other backend was probed at %s", got)
		}
		s.suspect(0, false)
		s.suspect(12345, true)
		if a, b := s.after(0, one), s.after(0, two); a != "45" || b != "45" {
			t.Errorf("all were asked, probed at %q and %q", a, b)
		}
	}, one, two)
}

// Anybody with an old ticket can provoke refusals without end: they cost a few probes a minute, and once a probe has
// found something, the next is soon again.
func TestScheduleFlood(t *testing.T) {
	perform(t, nil, func(s *stage) {
		flood := func(d time.Duration) string {
			s.after(0, one)
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				s.suspect(s.id(0), false)
			}
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Sprint(len(s.probes[one]))
		}
		if n := flood(10 * time.Minute); n != "14" && n != "15" && n != "16" { // 1 2 4 8 16 32 and then once a minute
			t.Errorf("%s probes in ten minutes", n)
		}
		serial := byte(0)
		s.answer(one, func() (answer, error) { // each time under a new key
			serial++
			var sessions []*tls.ClientSessionState
			for i := range byte(2) {
				ticket := slices.Concat(bytes.Repeat([]byte{serial}, 16), bytes.Repeat([]byte{i + 1}, 100))
				session, err := tls.NewResumptionState(ticket, new(tls.SessionState))
				if err != nil {
					return answer{}, err
				}
				sessions = append(sessions, session)
			}
			return answer{version: tls.VersionTLS12, resumed: true, sessions: sessions}, nil
		})
		s.suspect(s.id(0), true)
		s.after(0, one)
		if n := flood(10 * time.Second); n != "20" { // two handshakes each
			t.Errorf("%s handshakes in ten seconds of news, want two a second", n)
		}
	}, one)
}

// A backend that cannot be probed yet is tried again soon, then ever later.
func TestScheduleFailing(t *testing.T) {
	perform(t, nil, func(s *stage) {
		s.answer(one, func() (answer, error) { return answer{}, &handshakeError{err: errors.New("no")} })
		s.after(0, one)
		s.suspect(s.id(0), true)
		if got := s.after(40*time.Second, one); got != "0 1 3 7 15 31" {
			t.Errorf("probed at %q", got)
		}
		if n := strings.Count(s.after(10*time.Minute, one), " "); n < 8 || n > 11 {
			t.Errorf("%d probes in the next ten minutes", n+1)
		}
		s.answer(one, nil)
		s.after(time.Minute+10*time.Second, one)
		if f := s.prober.Findings(); f[0].Err != "" || f[0].Success.IsZero() {
			t.Errorf("findings %+v", f)
		}
	}, one)
}

// A backend that is down is left alone, and probed at once when it is back.
func TestScheduleDown(t *testing.T) {
	perform(t, nil, func(s *stage) {
		b := s.pool.Snapshot().All()[0]
		s.after(0, one)
		s.pool.SetUp(b, false, "the test says so")
		s.suspect(s.id(0), false)
		if got := s.after(200*time.Second, one); got != "" {
			t.Errorf("down, and probed at %s", got)
		}
		s.pool.SetUp(b, true, "the test says so")
		if got := s.after(0, one); got != "200" {
			t.Errorf("up at 200 s, probed at %q", got)
		}
		s.pool.SetDraining(b, pool.DrainHard)
		if got := s.after(200*time.Second, one); got != "" {
			t.Errorf("drained, and probed at %s", got)
		}
	}, one)
}

func TestScheduleConcurrency(t *testing.T) {
	var addrs []string
	for i := range 10 {
		addrs = append(addrs, fmt.Sprintf("10.0.1.%d:443", i+1))
	}
	for takes, most := range map[time.Duration]int{
		slotPatience / 2: 4,
		time.Second:      10, // those who do not answer keep nobody waiting
	} {
		slow := func(cfg *ProbeConfig) { cfg.Timeout = time.Minute }
		perform(t, slow, func(s *stage) {
			s.mu.Lock()
			s.takes = takes
			s.mu.Unlock()
			s.suspect(0, true)
			s.after(5*time.Second, one)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.most != most {
				t.Errorf("%d backends that take %v were probed at once, want %d", s.most, takes, most)
			}
			for _, addr := range addrs {
				if len(s.probes[addr]) != 2 {
					t.Errorf("%s was probed %d times", addr, len(s.probes[addr]))
				}
			}
		}, addrs...)
	}
}

func TestScheduleMembership(t *testing.T) {
	perform(t, nil, func(s *stage) {
		gone := s.id(0)
		s.after(0, one)
		if err := s.pool.Set([]pool.Spec{{Addr: two}, {Addr: "10.0.0.3:443"}}); err != nil {
			t.Fatal(err)
		}
		if got := s.after(time.Second, "10.0.0.3:443"); got != "0" {
			t.Errorf("a backend that joined was probed at %q", got)
		}
		s.suspect(gone, true)
		if got := s.after(5*time.Minute, one); got != "" {
			t.Errorf("a backend that left was probed at %s", got)
		}
		var addrs []string
		for _, f := range s.prober.Findings() {
			addrs = append(addrs, f.Backend.Addr.String())
		}
		if want := []string{two, "10.0.0.3:443"}; !slices.Equal(addrs, want) {
			t.Errorf("findings of %q, want %q", addrs, want)
		}
	}, one, two)
}
