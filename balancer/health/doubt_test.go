package health

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/pool"
)

// doubt has conns fail at the first backend, as many as it takes.
func (s *scene) doubt() *pool.Backend {
	b := s.pool.Snapshot().All()[0]
	for range s.pool.Snapshot().Options().Fall {
		s.pool.ConnectFailed(b, "connection refused")
	}
	synctest.Wait()
	return b
}

// TestDoubt: conns that cannot reach a backend have it checked at once, and the checks have the word: when they fail too
// it is down long before its regular checks would say so, and comes back by Rise checks.
func TestDoubt(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		s.after(500 * time.Millisecond)
		s.count(one)
		s.set(one, dialed(syscall.ECONNREFUSED))
		s.doubt()
		if n := s.count(one); n != 1 {
			t.Errorf("%d checks at once, want 1", n)
		}
		s.expect(doubtLasts+doubtEvery/2, two, "nobody comes through, no check succeeds")
		if log := s.log.String(); !strings.Contains(log, `why="3 connects in a row failed, and so do checks: connection refused"`) {
			t.Errorf("the log does not say why: %s", log)
		}
		s.set(one, nil)
		s.expect(2*time.Second, two, "one check succeeded")
		s.expect(2500*time.Millisecond, one+" "+two, "two have")
	})
}

// TestDoubtInVain: a backend that a check reaches stays up, and conns that go on failing have it checked once a second.
func TestDoubtInVain(t *testing.T) {
	bubble(t, Config{Interval: time.Hour}, func(s *scene) {
		s.count(one)
		for range 50 {
			s.doubt()
			s.after(100 * time.Millisecond)
		}
		s.expect(0, one+" "+two, "checks succeed")
		if n := s.count(one); n < 3 || n > 6 {
			t.Errorf("%d checks in 5 s, want one a second", n)
		}
	})
}

// TestDoubtOvertaken: a server that resets whom it has no room for refuses checks too; while a conn comes through it is up.
func TestDoubtOvertaken(t *testing.T) {
	bubble(t, Config{Interval: time.Hour}, func(s *scene) {
		s.set(one, dialed(syscall.ECONNREFUSED))
		for range 20 {
			b := s.doubt()
			s.after(doubtEvery / 2)
			s.pool.ConnectOK(b)
			s.after(doubtGap + doubtEvery)
		}
		s.expect(0, one+" "+two, "conns come through")
	})
}

// TestDoubtSilent: of a machine that is gone one check in vain is enough, for it lasts longer than a doubt.
func TestDoubtSilent(t *testing.T) {
	bubble(t, Config{}, func(s *scene) {
		s.after(500 * time.Millisecond)
		s.set(one, silence(waitedConnect))
		s.doubt()
		s.expect(1100*time.Millisecond, two, "a check has waited for its whole time")
	})
}

// TestLoad: a check that waits in vain is no failure while conns come as far as it was to come, and only then.
func TestLoad(t *testing.T) {
	for name, test := range map[string]struct {
		check  Check
		waited waited
		come   func(p *pool.Pool, b *pool.Backend)
		up     bool
	}{
		"connects":                {Check{}, waitedConnect, func(p *pool.Pool, b *pool.Backend) { p.ConnectOK(b) }, true},
		"nobody":                  {Check{}, waitedConnect, func(*pool.Pool, *pool.Backend) {}, false},
		"old conns":               {Check{}, waitedConnect, func(_ *pool.Pool, b *pool.Backend) { b.CountAnswer() }, false},
		"answers":                 {Check{Kind: CheckTLS}, waitedAnswer, func(_ *pool.Pool, b *pool.Backend) { b.CountAnswer() }, true},
		"no answers":              {Check{Kind: CheckTLS}, waitedAnswer, func(p *pool.Pool, b *pool.Backend) { p.ConnectOK(b) }, false},
		"silent behind its hello": {Check{Kind: CheckTLS}, waitedNone, func(p *pool.Pool, b *pool.Backend) { p.ConnectOK(b); b.CountAnswer() }, false},
		"another port":            {Check{Port: 8443}, waitedConnect, func(p *pool.Pool, b *pool.Backend) { p.ConnectOK(b) }, false},
		"its port":                {Check{Port: 443}, waitedConnect, func(p *pool.Pool, b *pool.Backend) { p.ConnectOK(b) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{Check: test.check}, func(s *scene) {
				s.set(one, silence(test.waited))
				b := s.pool.Snapshot().All()[0]
				for range 40 { // 20 s
					s.after(500 * time.Millisecond)
					test.come(s.pool, b)
				}
				want := two
				if test.up {
					want = one + " " + two
				}
				s.expect(0, want, "checks wait in vain")
				s.set(one, dialed(syscall.ECONNREFUSED))
				for range 40 {
					s.after(500 * time.Millisecond)
					test.come(s.pool, b)
				}
				s.expect(0, two, "a refusal is none of load")
			})
		})
	}
}
