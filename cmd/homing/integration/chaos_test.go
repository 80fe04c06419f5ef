package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

const (
	chaosBackends = 10
	chaosStreams  = 6
	// chaosQueue is how long before its client's connect a conn may have been lost already: it waits in the queue of a
	// socket whose process is being killed.
	chaosQueue = 50 * time.Millisecond
)

// deaths are the times at which something was killed, by what it was.
type deaths struct {
	mu  sync.Mutex
	at  map[string][]span
	all int
}

// span is the time from the signal to the process's end: within it conns die.
type span struct{ from, to time.Time }

// kill runs f, which kills what, and notes when.
func (d *deaths) kill(what string, f func()) {
	d.mu.Lock()
	if d.at == nil {
		d.at = map[string][]span{}
	}
	d.all++
	d.at[what] = append(d.at[what], span{from: time.Now()})
	n := len(d.at[what]) - 1
	d.mu.Unlock()
	f()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at[what][n].to = time.Now()
}

// during says what died while a conn through that node was open, "" if nothing that it could have been on.
func (d *deaths) during(node string, from, to time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for what, list := range d.at {
		if what[0] == 'n' && what != node {
			continue
		}
		for _, s := range list {
			if (s.to.IsZero() || s.to.After(from.Add(-chaosQueue))) && s.from.Before(to) {
				return what
			}
		}
	}
	return ""
}

// Nodes and backends die and come back at random under load: only conns that were open on what died fail, and what the
// nodes have counted since they came back is what the clients have seen. 20 s; make soak takes 10 minutes.
func TestIntegrationChaos(t *testing.T) {
	needServers(t)
	length := 20 * time.Second
	if soak() {
		length = 10 * time.Minute
	}
	cert := newECDSA(t)
	var servers []*farm.Nginx
	t.Cleanup(func() {
		if err := farm.StopAll(servers); err != nil {
			t.Error(err)
		}
	})
	w := newTown(t, "--check-interval", "200ms", "--check-timeout", "200ms", "--log-level", "warn")
	for i := range chaosBackends {
		one, err := farm.StartNginx(t.Context(),
			farm.NginxConfig{Name: fmt.Sprint("b", i), Certificates: []*farm.Certificate{cert}, QuietLog: true})
		testkit.Check(t, err)
		servers = append(servers, one)
		w.flags = append(w.flags, "--backend", one.Addr())
	}
	w.build(t, 2)

	var died deaths
	up := &standing{up: []bool{true, true}, since: []time.Time{time.Now(), time.Now()}}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var load sync.WaitGroup
	results := make([]chaosTally, chaosStreams)
	for i := range results {
		load.Go(func() { results[i].run(ctx, w, up, &died, goUser(cert, tls.VersionTLS12)) })
	}
	stormed := storm(ctx, t, w, servers, up, &died)
	load.Wait()

	var sum chaosTally
	for i := range results {
		sum.add(&results[i])
	}
	t.Logf("%v: %d deaths, %d conns (%d offers, %d accepted), %d failed on what died", length, died.all, sum.conns,
		sum.offered, sum.accepted, sum.excused)
	for _, err := range sum.failures {
		t.Error(err)
	}
	if sum.conns < 100 || died.all < 3 || !stormed {
		t.Errorf("%d conns and %d deaths are no storm", sum.conns, died.all)
	}
	for i, n := range w.nodes {
		var c tally
		for _, s := range sum.seen[i] {
			if s.at.After(up.since[i]) && s.offered {
				c.offered++
				if s.accepted {
					c.accepted++
				}
			}
		}
		m := n.metrics(t)
		accepted, refused := m[`homing_verdicts_total{offer="ticket",verdict="accepted"}`], m[`homing_verdicts_total{offer="ticket",verdict="refused"}`]
		t.Logf("node %d since it came back: the clients saw %v; it counted %v accepted, %v refused", i, &c, accepted, refused)
		if sum.lost[i] == 0 && (int(accepted) != c.accepted || int(refused) != c.refused()) {
			t.Errorf("node %d counted %v accepted and %v refused, the clients %d and %d", i, accepted, refused, c.accepted, c.refused())
		}
	}
}

// standing says which nodes are there, and since when.
type standing struct {
	mu    sync.Mutex
	up    []bool
	since []time.Time
}

// pick draws a node that is up.
func (s *standing) pick() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if i := rand.IntN(len(s.up)); s.up[i] {
			return i
		}
	}
}

func (s *standing) set(i int, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[i] = up
	if up {
		s.since[i] = time.Now()
	}
}

// storm kills and revives until ctx is done, and leaves everything standing. Never more than half of the backends, and
// one of the nodes, are gone at a time.
func storm(ctx context.Context, t *testing.T, w *town, servers []*farm.Nginx, up *standing, died *deaths) bool {
	t.Helper()
	gone := map[int]bool{}
	node := -1
	revive := func() bool {
		if node < 0 {
			return true
		}
		w.nodes[node].start(t)
		up.set(node, true)
		node = -1
		return true
	}
	pause := func() bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200*time.Millisecond + time.Duration(rand.Int64N(int64(1500*time.Millisecond)))):
			return true
		}
	}
	for pause() {
		switch i := rand.IntN(len(servers)); {
		case rand.IntN(4) == 0 && node < 0:
			node = rand.IntN(len(w.nodes))
			up.set(node, false)
			died.kill(fmt.Sprint("node ", node), w.nodes[node].proc.Kill)
		case rand.IntN(3) == 0:
			revive()
		case gone[i]:
			if err := servers[i].Restart(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
				return false
			}
			delete(gone, i)
		case len(gone) < len(servers)/2:
			died.kill(fmt.Sprint("backend ", i), servers[i].Kill)
			gone[i] = true
		}
	}
	for i := range gone {
		if err := servers[i].Restart(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}
	return revive()
}

// sight is what one conn was, as its client saw it.
type sight struct {
	at                time.Time
	offered, accepted bool
}

// chaosTally is what the clients of one stream have seen.
type chaosTally struct {
	conns, offered, accepted int
	excused                  int // failed on what died
	failures                 []error
	seen                     [2][]sight
	lost                     [2]int // of the failed ones, since the node came back: it may have counted them
}

// run connects with a few clients, one conn after another, to whichever node stands.
func (c *chaosTally) run(ctx context.Context, w *town, up *standing, died *deaths, newUser func() user) {
	list := []user{newUser(), newUser(), newUser(), newUser()}
	for ctx.Err() == nil {
		i := up.pick()
		start := time.Now()
		r, err := list[rand.IntN(len(list))].Get(context.WithoutCancel(ctx), w.nodes[i].addr)
		c.conns++
		if err != nil {
			if died.during(fmt.Sprint("node ", i), start, time.Now()) == "" {
				c.failures = append(c.failures, fmt.Errorf("nothing died, and a conn through node %d failed after %v: %w", i, time.Since(start), err))
			}
			c.excused++
			if start.After(up.sinceOf(i)) {
				c.lost[i]++
			}
			continue
		}
		c.seen[i] = append(c.seen[i], sight{at: start, offered: r.Offered, accepted: r.Resumed})
		if r.Offered {
			c.offered++
		}
		if r.Resumed {
			c.accepted++
		}
	}
}

func (s *standing) sinceOf(i int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since[i]
}

func (c *chaosTally) add(other *chaosTally) {
	c.conns += other.conns
	c.offered += other.offered
	c.accepted += other.accepted
	c.excused += other.excused
	c.failures = append(c.failures, other.failures...)
	for i := range c.seen {
		c.seen[i] = append(c.seen[i], other.seen[i]...)
		c.lost[i] += other.lost[i]
	}
}
