package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// One backend's reload replaces its ticket key. Each client that held the old key loses one resumption, and learning
// the new key may cost two more; session IDs outlive the reload, for nginx keeps its shared cache.
func TestIntegrationReload(t *testing.T) {
	for _, tt := range []struct {
		name    string
		newUser func(*farm.Certificate) func() user
		warm    int // offers that may be refused before the reload
		holders bool
	}{
		{"ID", idUser, 0, false},
		{"ticket", func(c *farm.Certificate) func() user { return goUser(c, tls.VersionTLS12) }, 0, true},
		{"TLS13", func(c *farm.Certificate) func() user { return goUser(c, tls.VersionTLS13) }, perKey * backends, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
			h := startHoming(t, addrs(servers))
			list := users(t, h.addr, 12, tt.newUser(cert))
			warm := reconnect(t, h.addr, list, 60)
			if warm.refused() > tt.warm {
				t.Errorf("before the reload: %v", &warm)
			}
			// Once more each, to know who holds a session of which backend.
			at := map[string][]user{}
			for _, u := range list {
				r, err := u.Get(t.Context(), h.addr)
				testkit.Check(t, err)
				at[r.Backend] = append(at[r.Backend], u)
			}
			reload(t, servers[0])
			most := 0
			if tt.holders {
				most = len(at["a"]) + perKey
			}
			after, worst := reconnectEach(t, h.addr, list, 100)
			t.Logf("%d clients held the old key; after the reload: %v; most refusals of one client: %d", len(at["a"]), &after, worst)
			if after.refused() > most {
				t.Errorf("%d offers were refused after the reload, want at most %d", after.refused(), most)
			}
			if later := reconnect(t, h.addr, list, 50); later.refused() > 0 {
				t.Errorf("refused although the new key is learned: %v", &later)
			}
		})
	}
}

// reconnectEach is reconnect, and returns the largest number of refusals that one user met.
func reconnectEach(t *testing.T, addr string, list []user, n int) (tally, int) {
	t.Helper()
	var c tally
	worst, lost := 0, map[user]int{}
	for range n {
		u := list[rand.IntN(len(list))]
		r, err := u.Get(t.Context(), addr)
		testkit.Check(t, err)
		c.add(r)
		if r.Offered && !r.Resumed {
			lost[u]++
			worst = max(worst, lost[u])
		}
	}
	return c, worst
}

// A backend is killed under load and comes back: only conns open on it may fail, and its new sessions are learned.
func TestIntegrationKillAndRestart(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), "--check-interval", "200ms")
	victim := servers[0]
	const streams = 4

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		conns  int
		starts []time.Time // of conns that failed
		errs   []error
	)
	for range streams {
		list := users(t, h.addr, 3, goUser(cert, tls.VersionTLS12))
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				_, err := list[rand.IntN(len(list))].Get(context.WithoutCancel(ctx), h.addr)
				mu.Lock()
				conns++
				if err != nil {
					starts, errs = append(starts, start), append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return conns }
	more := func(n int) {
		t.Helper()
		goal := count() + n
		testkit.Eventually(t, "the clients go on", func() bool { return count() >= goal })
	}
	more(100)
	victim.Kill()
	killed := time.Now()
	testkit.Eventually(t, "a dead backend is marked down", func() bool { return !h.up(t, victim.Addr()) })
	more(200)
	testkit.Check(t, victim.Restart(t.Context()))
	testkit.Eventually(t, "a backend that is back is marked up", func() bool { return h.up(t, victim.Addr()) })
	more(100)
	cancel()
	wg.Wait()
	t.Logf("%d conns, %d failed", conns, len(errs))
	// A stream may lose the conn that was open, and one more in the backlog of the socket that is about to close.
	if len(errs) > 2*streams {
		t.Errorf("%d conns failed, at most %d were open on the backend", len(errs), 2*streams)
	}
	for i, start := range starts {
		if start.After(killed) {
			t.Errorf("a conn that began %v after the end of the backend failed: %v", start.Sub(killed), errs[i])
		}
	}

	again := reconnect(t, h.addr, users(t, h.addr, 12, goUser(cert, tls.VersionTLS12)), 60)
	t.Logf("after the restart: %v", &again)
	if again.met["a"] == 0 || again.refused() > 0 {
		t.Errorf("the restarted backend's sessions were not learned: %v", &again)
	}
}

// Fresh handshakes follow the weights.
func TestIntegrationSpread(t *testing.T) {
	const conns = 3000
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	weights := []int{1, 2, 3}
	var specs []string
	for i, n := range servers {
		specs = append(specs, fmt.Sprintf("%s,weight=%d", n.Addr(), weights[i]))
	}
	h := startHoming(t, specs)
	met := inParallel(t, conns, func(int) (string, error) {
		r, err := goUser(cert, tls.VersionTLS13)().Get(t.Context(), h.addr)
		return r.Backend, err
	})
	t.Logf("%d fresh conns with the weights %v: %v", conns, weights, met)
	for i, n := range servers {
		want := float64(conns*weights[i]) / 6
		if got := float64(met[n.Name()]); got < 0.95*want || got > 1.05*want {
			t.Errorf("backend %s got %v conns, want %v within 5 %%", n.Name(), got, want)
		}
	}
}

// inParallel calls get n times from four goroutines, and counts the answers.
func inParallel(t *testing.T, n int, get func(i int) (string, error)) map[string]int {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	next, count := 0, map[string]int{}
	var failed error
	for range 4 {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed != nil
				mu.Unlock()
				if stop {
					return
				}
				answer, err := get(i)
				mu.Lock()
				count[answer]++
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	return count
}

// Backends that share a ticket key share the resumptions too, once TLS 1.2 traffic has shown the sharing.
func TestIntegrationSharedTicketKey(t *testing.T) {
	key := make([]byte, 80)
	for i := range key {
		key[i] = byte(rand.Uint32())
	}
	servers, cert := three(t, farm.NginxConfig{TicketKey: key}, farm.NewECDSA)
	h := startHoming(t, addrs(servers))
	users(t, h.addr, 12, goUser(cert, tls.VersionTLS12)) // four tickets from each backend
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		// One ticket serves a TLS 1.2 client for long and its whole name decides, so it takes many clients to spread.
		c := reconnect(t, h.addr, users(t, h.addr, 120, goUser(cert, version)), 300)
		t.Logf("%s: %v", tls.VersionName(version), &c)
		if c.refused() > 0 {
			t.Errorf("%s: %d offers were refused", tls.VersionName(version), c.refused())
		}
		for _, n := range servers {
			if c.met[n.Name()] < 50 {
				t.Errorf("%s: backend %s got %d of %d resumptions, an even share is 100", tls.VersionName(version), n.Name(), c.met[n.Name()], c.conns)
			}
		}
	}
}

// reload does what "nginx -s reload" does and returns when no worker of before is left, so that every conn from now on
// meets the new ticket key. Conns open on old workers end within 1 s.
func reload(t *testing.T, n *farm.Nginx) {
	t.Helper()
	path, err := farm.Find("nginx", "nginx")
	testkit.Check(t, err)
	before := n.PIDs()[1:] // but for the master
	testkit.Run(t, path, "-p", n.Dir(), "-c", n.File("nginx.conf"), "-s", "reload")
	testkit.Eventually(t, "nginx has new workers alone", func() bool {
		now := n.PIDs()[1:]
		return len(now) > 0 && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) })
	})
}

func TestIntegrationReloadChangesTheTicketKey(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	a, c := servers[0], newGoClient(clientConfig(cert, tls.VersionTLS12))
	get := func(resumed bool) []byte {
		r, err := c.Get(t.Context(), a.Addr())
		if err != nil || r.Resumed != resumed {
			t.Errorf("%+v, %v, want resumed %v", r, err, resumed)
		}
		return c.Ticket()
	}
	before := get(false)
	reload(t, a)
	after := get(false)
	if string(before[:16]) == string(after[:16]) {
		t.Error("the key name is the same after the reload")
	}
	get(true)
}
