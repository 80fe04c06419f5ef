//go:build linux

package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/pool"
)

// reload changes the balancer's configuration.
func (r *rig) reload(edit ...func(*Config)) {
	r.Helper()
	if err := r.tryReload(edit...); err != nil {
		r.Fatalf("Reload: %v", err)
	}
}

func (r *rig) tryReload(edit ...func(*Config)) error {
	cfg := r.b.settings().cfg
	cfg.Listeners = slices.Clone(cfg.Listeners)
	for _, f := range edit {
		f(&cfg)
	}
	return r.b.Reload(cfg)
}

// listener adds one, on an address of its own; nil is the first listener's pool.
func listener(name string, p *pool.Pool) func(*Config) {
	return func(c *Config) {
		ln := Listener{Name: name, Addr: fmt.Sprintf("127.0.0.%d:0", name[0]), Default: p}
		if p == nil {
			ln.Default = c.Listeners[0].Default
		}
		c.Listeners = append(c.Listeners, ln)
	}
}

// addrOf is where a listener of the present configuration listens.
func (r *rig) addrOf(name string) string {
	r.Helper()
	i := slices.IndexFunc(r.b.settings().cfg.Listeners, func(ln Listener) bool { return ln.Name == name })
	if i < 0 {
		r.Fatalf("no listener %s", name)
	}
	return r.b.Addrs()[i].String()
}

// shakes sends a hello to addr and returns the server that gets it.
func (r *rig) shakes(addr string) *server {
	r.Helper()
	r.addr = addr
	c := r.dial()
	write(r, c, hello{names: []string{"a.test"}}.bytes())
	return r.arrival().server
}

// TestReload: conns that are open stay as they are, in their pool and through a listener that is gone; those whose
// hello is still to come, and new ones, follow the new configuration.
func TestReload(t *testing.T) {
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		first := r.serveByHand()
		p := r.newPool("first", pool.Options{}, first)
		second := r.serveByHand()
		r.start(func(c *Config) { c.Loops = loops }, func(c *Config) { c.Listeners[0].Name, c.Listeners[0].Default = "main", p }, listener("side", p))
		kept, side := r.addrOf("main"), r.addrOf("side")
		type open struct {
			c *net.TCPConn
			b arrival
		}
		var all []open
		for _, addr := range []string{kept, side} {
			r.addr = addr
			c := r.dial()
			write(t, c, hello{}.bytes())
			b := r.arrival()
			read(t, b, len(hello{}.bytes()))
			all = append(all, open{c, b})
			c = r.dial() // its hello comes after the reload
			all = append(all, open{c: c})
		}
		r.await("all are accepted", func() bool { return r.b.Stats().Accepted == 4 })

		r.reload(func(c *Config) { c.Listeners = c.Listeners[:1]; c.Listeners[0].Default = r.pool }, listener("new", r.pool))
		if got := r.addrOf("main"); got != kept {
			t.Errorf("the listener that stays has moved from %s to %s", kept, got)
		}
		for i, want := range []*server{first, second, first, first} { // the last came by a listener that has no routes any more
			o := all[i]
			if o.b.TCPConn == nil {
				write(t, o.c, hello{}.bytes())
				o.b = r.arrival()
				read(t, o.b, len(hello{}.bytes()))
			}
			if o.b.server != want {
				t.Errorf("conn %d is with server %d, not %d", i, o.b.server.index, want.index)
			}
			r.talk(o.c, o.b, 1<<20, backend([]byte("answer")), client([]byte("and more")))
		}
		for _, name := range []string{"main", "new"} {
			if r.shakes(r.addrOf(name)) != second {
				t.Errorf("%s goes to the pool of before", name)
			}
		}
		r.addr = side
		r.refuses()
		if s := r.b.Stats(); s.Open != 6 || s.Terminations != [NumCauses][NumPhases]uint64{} || s.Routed != 6 {
			t.Errorf("after the reload: %+v", s)
		}
		if got := r.poolStats("first"); got.Open != 3 {
			t.Errorf("%d conns in the pool that nothing leads to any more", got.Open)
		}
		r.idleAfterHangUp()
		if s := r.b.Stats(); len(s.Pools) != 1 || s.Routed != 6 || len(s.Listeners) != 2 || s.Terminations[CauseNormal][PhaseEnd]+s.Terminations[CauseClient][PhaseData] == 0 {
			t.Errorf("counters have gone back: %+v", s)
		}
		r.stop()
	}
}

// idleAfterHangUp closes all connections of the test and waits for the balancer to see it.
func (r *rig) idleAfterHangUp() {
	r.Helper()
	r.hangUp()
	r.idle()
}

// TestReloadRefused: what cannot be is refused as a whole, whatever is wrong, and nothing has changed.
func TestReloadRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serveByHand()
		r.start(func(c *Config) { c.Loops = loops }, listener("side", nil))
		other := otherStore(t)
		before, addrs, fds := r.b.settings(), r.b.Addrs(), openFDs(t)
		_, port, _ := net.SplitHostPort(addrs[0].String())
		for want, edit := range map[string]func(*Config){
			"address already in use": func(c *Config) {
				c.Listeners = append(c.Listeners, Listener{Addr: taken.Addr().String(), Default: r.pool})
			},
			"remove that in one reload": func(c *Config) { c.Listeners = []Listener{{Addr: "0.0.0.0:" + port, Default: r.pool}} },
			"want host:port":            func(c *Config) { c.Listeners = append(c.Listeners, Listener{Addr: "nonsense", Default: r.pool}) },
			"no listener":               func(c *Config) { c.Listeners = nil },
			"has no pool":               func(c *Config) { c.Listeners[0].Default = nil },
			"route 1 has no pool":       func(c *Config) { c.Listeners[0].Routes = []Route{{}} },
			"route 2: \"*.*\": a wildcard": func(c *Config) {
				c.Listeners[0].Routes = []Route{{Pool: r.pool}, {Pool: r.pool, Names: []string{"*.*"}}}
			},
			"two listeners are named": func(c *Config) { c.Listeners[1].Name = c.Listeners[0].Name },
			"with tls off": func(c *Config) {
				c.Listeners[0].TLS, c.Listeners[0].Routes = TLSOff, []Route{{Names: []string{"a.test"}, Pool: r.pool}}
			},
			"two pools are named": func(c *Config) {
				c.Listeners[0].Routes = []Route{{Pool: r.makePool("test", pool.Options{}, r.servers...)}}
			},
			"the number of loops":    func(c *Config) { c.Loops = loops + 1 },
			"the buffer memory":      func(c *Config) { c.BufferMemory = 1 << 20 },
			"the affinity store":     func(c *Config) { c.Store = other },
			"the engine":             func(c *Config) { c.Engine++ },
			"no affinity store":      func(c *Config) { c.Store = nil },
			"hello limit of 100000 ": func(c *Config) { c.HelloLimit = 100000 },
		} {
			if err := r.tryReload(edit); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, want)
			}
			if r.b.settings() != before || !slices.Equal(r.b.Addrs(), addrs) || openFDs(t) != fds {
				t.Fatalf("%q: refused, and something has changed", want)
			}
		}
		for i := range addrs {
			r.shakes(addrs[i].String())
		}
		r.stop()
	}
}

// otherStore is a store of its own.
func otherStore(t *testing.T) *affinity.Store {
	t.Helper()
	s, err := affinity.NewStore(affinity.Config{Seed: 2, TableEntries: 1 << 10, ClientEntries: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// unwilling is an engine that does not listen any more.
type unwilling struct {
	netio.Engine
	refuse atomic.Bool
}

func (u *unwilling) Listen(fd int, tag uint32, shared bool) error {
	if u.refuse.Load() {
		return syscall.ENOMEM
	}
	return u.Engine.Listen(fd, tag, shared)
}

// A loop that cannot take the new listener, at the last moment, has all loops go back to what was.
func TestReloadTakenBack(t *testing.T) {
	r := newRig(t)
	server := r.serveByHand()
	r.prepare(pool.Options{}, func(c *Config) { c.Loops = 2 }, listener("side", nil))
	u := &unwilling{Engine: r.b.loops[1].eng}
	r.b.loops[1].eng = u
	r.run()
	c := r.dial()
	write(t, c, hello{}.bytes())
	b := r.arrival()
	read(t, b, len(hello{}.bytes()))
	r.settle()
	before, addrs, fds := r.b.settings(), r.b.Addrs(), openFDs(t)
	u.refuse.Store(true)
	err := r.tryReload(func(c *Config) { c.Listeners = c.Listeners[:1] }, listener("new", r.pool))
	if !errors.Is(err, syscall.ENOMEM) {
		t.Fatalf("Reload: %v", err)
	}
	if r.b.settings() != before || !slices.Equal(r.b.Addrs(), addrs) {
		t.Error("the configuration that could not be carried out stands")
	}
	r.await("the new sockets are closed", func() bool { return openFDs(t) == fds })
	u.refuse.Store(false)
	for range 4 {
		for _, addr := range addrs {
			if r.shakes(addr.String()) != server {
				t.Error("not served as before")
			}
		}
	}
	r.talk(c, b, 1<<20, backend([]byte("still here")))
	r.addr = addrs[0].String()
	r.reload(func(c *Config) { c.Listeners = c.Listeners[:1] }, listener("new", r.pool))
	r.shakes(r.addrOf("new"))
}

// A listener that a reload removes serves first whom the kernel has let in.
func TestReloadEmptiesQueue(t *testing.T) {
	const queued = 150 // more than one batch of accepts
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		r.serve(func(c *net.TCPConn) { echo(c) })
		r.prepare(pool.Options{}, tlsOff, func(c *Config) { c.Loops = loops })
		var all []*net.TCPConn
		for range queued {
			all = append(all, r.dial()) // nobody takes them yet
		}
		// What Reload does, before the first look at the queues.
		cfg := r.b.settings().cfg
		cfg.Listeners = nil
		listener("new", r.pool)(&cfg)
		set, err := newSettings(cfg)
		if err != nil {
			t.Fatal(err)
		}
		endpoints, _, err := r.b.findEndpoints(set, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range r.b.adoptions(set, endpoints) {
			r.b.loops[i].post(c)
			r.b.loops[i].post(command{kind: commandCloseUnnamed})
		}
		r.run()
		r.refuses()
		for _, c := range all {
			write(t, c, []byte("still there?"))
			if got := read(t, c, 12); string(got) != "still there?" {
				t.Errorf("got %q", got)
			}
		}
		r.stop()
	}
}

// Ports come and go: a listener that was removed may be added again at once, in another shape too.
func TestReloadAddsAgain(t *testing.T) {
	for _, loops := range []int{1, 2} {
		r := newRig(t)
		server := r.serveByHand()
		r.start(func(c *Config) { c.Loops = loops; c.Listeners[0].Name = "main" }, listener("side", nil))
		side := r.addrOf("side")
		for i := range 40 { // tags are used again after some
			r.reload(func(c *Config) { c.Listeners = c.Listeners[:1] })
			r.reload(func(c *Config) {
				c.Listeners = append(c.Listeners, Listener{Name: "side", Addr: side, Default: r.pool})
			})
			if r.shakes(side) != server {
				t.Errorf("round %d: not served", i)
			}
			r.hangUp()
		}
		if n := len(r.b.loops[0].inlets); n > inletsKept+4 {
			t.Errorf("%d inlets in a loop", n)
		}
		r.stop()
	}
}

// Limits and the log follow at once, timeouts for new conns.
func TestReloadSettings(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.MaxConns, c.IdleTimeout, c.HelloLimit = 1, patience, 4<<10 })
	old := r.dial()
	write(t, old, hello{}.bytes())
	b := r.arrival()
	read(t, b, len(hello{}.bytes()))
	var records atomic.Int32
	r.reload(func(c *Config) {
		c.MaxConns, c.IdleTimeout, c.HelloLimit = 2, 100*time.Millisecond, 16<<10
		c.ConnLog = func(*ConnRecord) { records.Add(1) }
	})
	young := r.dial()
	write(t, young, paddedTo(hello{}, 14000))
	read(t, r.arrival(), 14000)
	if _, err := io.Copy(io.Discard, young); !isReset(err) { // idle, by the new timeout
		t.Errorf("the conn of after the reload: %v", err)
	}
	r.talk(old, b, 1<<20, backend([]byte("still here")))
	r.await("the new log has its conn", func() bool { return records.Load() == 1 })
	r.reload(func(c *Config) { c.ConnLog = nil })
	old.Close()
	b.Close()
	if rec := r.last(1); rec.BytesOut != 10 {
		t.Errorf("the old log has %+v", rec)
	}
}

// A Balancer that does not run yet, or any more.
func TestReloadOutOfTime(t *testing.T) {
	r := newRig(t)
	server := r.serveByHand()
	r.prepare(pool.Options{}, func(c *Config) { c.Loops = 2 })
	r.reload(func(c *Config) { c.Listeners[0].Name = "main" }, listener("side", r.pool))
	r.reload(func(c *Config) { c.Listeners = c.Listeners[:1] }, listener("new", r.pool))
	if err := r.b.Sync(context.Background()); err != nil {
		t.Errorf("Sync: %v", err)
	}
	r.run()
	r.await("it runs", func() bool { return r.b.is(stageRunning) })
	for _, name := range []string{"main", "new"} {
		if r.shakes(r.addrOf(name)) != server {
			t.Errorf("%s is not served", name)
		}
	}
	if err := r.b.Sync(context.Background()); err != nil {
		t.Errorf("Sync: %v", err)
	}
	r.idleAfterHangUp()
	r.stop()
	if err := r.tryReload(listener("late", r.pool)); err == nil || !strings.Contains(err.Error(), "no connections any more") {
		t.Errorf("after the end: %v", err)
	}
	if err := r.b.Sync(context.Background()); err != nil {
		t.Errorf("nothing is under way after the end, and Sync says: %v", err)
	}
}

// Reloads and the end do not wait for each other for ever, and leave nothing behind.
func TestReloadWhileEnding(t *testing.T) {
	for _, kill := range []bool{false, true} {
		for range 10 {
			r := newRig(t)
			r.serveByHand()
			r.start(func(c *Config) { c.Loops = 2 })
			r.await("it runs", func() bool { return r.b.is(stageRunning) })
			var reloading sync.WaitGroup
			begun := make(chan struct{})
			reloading.Go(func() {
				for i := 0; ; i++ {
					err := r.tryReload(func(c *Config) { c.Listeners = c.Listeners[:1] }, listener("new", r.pool))
					if i == 0 {
						close(begun)
					}
					if err != nil {
						return
					}
				}
			})
			<-begun
			if kill {
				r.b.Close()
			} else {
				r.stop()
			}
			r.stopped = true
			reloading.Wait()
		}
	}
}

// TestReloadUnderLoad: conns that come all the while, with sessions to resume, see nothing of 20 reloads that change
// all there is.
func TestReloadUnderLoad(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.serveTLS(true)
	}
	r.start(func(c *Config) { c.Loops = 2; c.Listeners[0].Name = "main" })
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var visits, resumed atomic.Int64
	for i := range 4 {
		clients.Go(func() {
			b := r.browser([]uint16{0x0303, 0x0304}[i%2])
			b.visit(source(i))
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				visits.Add(1)
				if _, ok := b.visit(source(i)); ok {
					resumed.Add(1)
				}
			}
		})
	}
	for i := range 20 {
		want := visits.Load() + 20
		r.await("visits", func() bool { return visits.Load() >= want })
		r.reload(func(c *Config) {
			c.Listeners = c.Listeners[:1]
			c.Listeners[0].Routes = nil
			if i%2 == 0 {
				c.Listeners[0].Routes = []Route{{Names: []string{"*.test"}, Pool: r.pool}}
				c.Listeners = append(c.Listeners, Listener{Name: "side", Addr: "127.0.0.2:0", Default: r.pool})
			}
			c.IdleTimeout = time.Duration(i+1) * time.Minute
		})
		if err := setWeight(r.pool, i%3+1); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	clients.Wait()
	// A TLS 1.3 name needs two tickets until it is known; from there on all resume.
	if lost := visits.Load() - resumed.Load(); lost > 12 {
		t.Errorf("%d of %d visits were not resumed", lost, visits.Load())
	}
}

// setWeight gives the first backend another weight.
func setWeight(p *pool.Pool, weight int) error {
	var specs []pool.Spec
	for i, b := range p.Snapshot().All() {
		specs = append(specs, pool.Spec{Addr: b.Addr.String()})
		if i == 0 {
			specs[0].Weight = weight
		}
	}
	return p.Set(specs)
}

// A port whose removed listener still has connections to give waits for them.
func TestReloadAwaitsQueue(t *testing.T) {
	r := newRig(t)
	server := r.serveByHand()
	r.start(func(c *Config) { c.MaxConns = 1 }, listener("side", nil))
	side := r.addrOf("side")
	first := r.dial()
	write(t, first, hello{}.bytes())
	b := r.arrival()
	r.addr = side
	second := r.dial() // waits in the queue
	write(t, second, hello{}.bytes())
	r.reload(func(c *Config) { c.Listeners = c.Listeners[:1] })
	again := make(chan error, 1)
	go func() {
		again <- r.tryReload(func(c *Config) {
			c.Listeners = append(c.Listeners, Listener{Name: "side", Addr: side, Default: r.pool})
		})
	}()
	r.await("the reload has begun", func() bool {
		if r.b.reloading.TryLock() {
			r.b.reloading.Unlock()
			return false
		}
		return true
	})
	first.Close()
	b.Close()
	b = r.arrival()
	r.talk(second, b, 1<<20, client(nil), backend([]byte("served")))
	if err := <-again; err != nil {
		t.Fatalf("Reload: %v", err)
	}
	second.Close()
	b.Close()
	if r.shakes(side) != server {
		t.Error("not served")
	}
}

// What is given to a loop that has ended is closed, and answered.
func TestAdoptionOfEndedLoop(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start()
	r.stop()
	endpoint, err := bind(r.b.Addrs()[0], 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = r.b.order(func(int) command {
		return command{kind: commandAdopt, set: r.b.settings(), gates: map[*socket]*gate{endpoint.sockets[0][0]: {}}}
	})
	if !errors.Is(err, errEnded) || endpoint.sockets[0][0].open() {
		t.Errorf("%v, the socket is open: %v", err, endpoint.sockets[0][0].open())
	}
}
