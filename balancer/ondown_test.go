//go:build linux

package balancer

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"homing/balancer/pool"
)

func resetOnDown(o *pool.Options) { o.OnDown = pool.OnDownReset }

// wantReset reads c to its end, which has to be a reset.
func wantReset(t testing.TB, who string, c io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(c); len(rest) > 0 || !isReset(err) {
		t.Errorf("%s got %q and %v, want a reset", who, rest, err)
	}
}

// TestOnDown: when a backend is marked down its conns are reset on both sides where the pool says so, and go on where it
// does not; those of another backend always go on. It makes no difference whether a check or a conn has found out.
func TestOnDown(t *testing.T) {
	for _, test := range []struct {
		name    string
		mode    pool.OnDown
		passive bool
		loops   int
	}{
		{name: "keep", loops: 1},
		{name: "reset", mode: pool.OnDownReset, loops: 1},
		{name: "reset, found by conns", mode: pool.OnDownReset, passive: true, loops: 1},
		{name: "reset, two loops", mode: pool.OnDownReset, loops: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			const conns = 8
			r := newRig(t)
			r.serveByHand()
			r.serveByHand()
			r.start(withPool(func(o *pool.Options) { o.OnDown, o.NoChecks = test.mode, test.passive }), func(c *Config) { c.Loops = test.loops })
			type pair struct {
				client io.ReadWriteCloser
				server arrival
			}
			var all []pair
			for i := range conns {
				c := r.dial()
				write(t, c, hello{}.bytes())
				b := r.arrival()
				read(t, b, len(hello{}.bytes()))
				if i%2 == 0 { // the other half is in the midst of its handshake
					r.talk(c, b, 1<<20, backend(answer{}.bytes(), certificate(500)), client(ccs()), backend(ccs()), client([]byte("hello")))
				}
				all = append(all, pair{c, b})
			}
			down := r.servers[0]
			if test.passive {
				r.settle() // or the last connect is still to be told, and takes the mark back
				for range r.pool.Snapshot().Options().Fall {
					r.pool.ConnectFailed(down.backend, "connection refused")
				}
			} else {
				r.pool.SetUp(down.backend, false, "test")
			}
			reset := 0
			for i, p := range all {
				if p.server.server == down && test.mode == pool.OnDownReset {
					reset++
					wantReset(t, fmt.Sprint("client ", i), p.client)
					wantReset(t, fmt.Sprint("backend ", i), p.server)
					continue
				}
				write(t, p.client, []byte("still there?"))
				if got := read(t, p.server, 12); string(got) != "still there?" {
					t.Errorf("conn %d: %q", i, got)
				}
			}
			if want := conns / 2; test.mode == pool.OnDownReset && reset != want {
				t.Errorf("%d conns were reset, want %d", reset, want)
			}
			s := r.b.Stats()
			counted := uint64(0)
			for _, n := range s.Terminations[CauseDown] {
				counted += n
			}
			if counted != uint64(reset) || s.Open != uint64(conns-reset) {
				t.Errorf("%d conns are counted as ended so, %d are open; %d were reset", counted, s.Open, reset)
			}
			for _, rec := range r.ended(reset) {
				if code := rec.Termination.String(); code != "DD" && code != "DA" {
					t.Errorf("a conn ended with %q, want DD or DA", code)
				}
			}
		})
	}
}

// TestOnDownReplays: a hello that waits for its verdict at a backend that is marked down goes to another one, unless the
// client has said more.
func TestOnDownReplays(t *testing.T) {
	for _, more := range []bool{false, true} {
		r := newRig(t)
		order := []*server{r.serveByHand(), r.serveByHand()}
		r.start(withPool(resetOnDown), func(c *Config) { c.HoldTimeout = patience })
		offer := hello{ticket: r.ticketFor(order...)}.bytes()
		c := r.dial()
		write(t, c, offer)
		first := r.arrival()
		read(t, first, len(offer))
		if more {
			write(t, c, ccs())
			read(t, first, len(ccs()))
		}
		r.pool.SetUp(first.server.backend, false, "test")
		wantReset(t, "the backend", first)
		if more {
			wantReset(t, "the client", c)
			r.ends(1, "DA")
			continue
		}
		second := r.arrival()
		if second.server != order[1] {
			t.Errorf("backend %d was asked", second.server.index)
		}
		if got := read(t, second, len(offer)); !bytes.Equal(got, offer) {
			t.Error("the replay has other bytes")
		}
		r.talk(c, second, 1<<20, backend(answer{}.bytes(), certificate(500)), client(ccs()), backend(ccs()))
		c.Close()
		second.Close()
		if s := r.b.Stats(); s.Replays != 1 || s.SecondChances != 0 {
			t.Errorf("%d replays, %d second chances", s.Replays, s.SecondChances)
		}
	}
}

// TestOnDownSecondChance: of two backends that a conn has to do with, the one that stays is used.
func TestOnDownSecondChance(t *testing.T) {
	refuse, accept := join(answer{tls13: true}.bytes(), appData(2000)), join(answer{tls13: true, psk: 1}.bytes(), appData(300))
	for down := range 2 {
		r := newRig(t)
		order := []*server{r.serveByHand(), r.serveByHand()}
		r.start(withChances(1), withPool(resetOnDown))
		offer := hello{psks: [][]byte{r.ticketFor(order...)}}.bytes()
		c := r.dial()
		write(t, c, offer)
		var asked []arrival
		for i := range order {
			b := r.arrival()
			read(t, b, len(offer))
			asked = append(asked, b)
			if i == 0 {
				write(t, b, refuse)
			}
		}
		r.settle() // the second is connected and has the hello
		r.pool.SetUp(order[down].backend, false, "test")
		wantReset(t, fmt.Sprint("backend ", down), asked[down])
		stays, want := asked[1-down], refuse
		if down == 0 {
			want = accept
			write(t, stays, accept)
		}
		if got := read(t, c, len(want)); !bytes.Equal(got, want) {
			t.Errorf("backend %d down: the client did not get the answer of the other", down)
		}
		r.talk(c, stays, 1<<20, client(ccs(), []byte("the client's")), backend([]byte("the backend's")))
		c.Close()
		stays.Close()
		r.ended(1)
		r.stop()
	}
}

// TestOnDownWhileConnecting: an answer that was kept is no answer any more when its backend goes down while another one is
// being connected: when that fails a third is asked.
func TestOnDownWhileConnecting(t *testing.T) {
	r := newRig(t)
	order := []*server{r.serveByHand(), r.deafServer(), r.serveByHand()}
	r.start(withChances(1), withPool(resetOnDown), func(c *Config) { c.ConnectTimeout = 3 * time.Second })
	offer := hello{psks: [][]byte{r.ticketFor(order...)}}.bytes()
	c := r.dial()
	write(t, c, offer)
	first := r.arrival()
	read(t, first, len(offer))
	write(t, first, join(answer{tls13: true}.bytes(), appData(2000)))
	r.await("the second is being connected", func() bool { return r.b.Stats().SecondChances == 1 })
	r.settle()
	r.pool.SetUp(order[0].backend, false, "test")
	wantReset(t, "the first backend", first)
	third := r.arrival()
	if third.server != order[2] {
		t.Errorf("backend %d was asked", third.server.index)
	}
	read(t, third, len(offer))
	accept := join(answer{tls13: true, psk: 1}.bytes(), appData(300))
	write(t, third, accept)
	if got := read(t, c, len(accept)); !bytes.Equal(got, accept) {
		t.Error("the client did not get the answer of the third")
	}
	c.Close()
	third.Close()
	r.ended(1)
}

// TestOnDownReload: a pool that a reload adds, or whose way a reload changes, is followed like the others.
func TestOnDownReload(t *testing.T) {
	r := newRig(t)
	first, second := r.serveByHand(), r.serveByHand()
	added := r.newPool("added", pool.Options{OnDown: pool.OnDownReset}, second)
	r.prepare(pool.Options{})
	r.run()
	cfg := r.b.settings().cfg
	cfg.Listeners = []Listener{{Addr: r.addr, Default: r.pool}, {Addr: "127.0.0.1:0", Default: added}}
	for range 2 { // the second time it is followed already
		if err := r.b.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	withPool(resetOnDown)(&cfg)
	for i, s := range []*server{first, second} {
		r.addr = r.b.Addrs()[i].String()
		c := r.dial()
		write(t, c, hello{}.bytes())
		b := r.arrival()
		read(t, b, len(hello{}.bytes()))
		p := []*pool.Pool{r.pool, added}[i]
		p.SetUp(s.backend, false, "test")
		wantReset(t, "the client", c)
		r.ends(i+1, "DA")
	}
}
