//go:build linux

package balancer

import (
	"fmt"
	"io"
	"testing"

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

// TestOnDown: when a backend is marked down its conns are reset on both sides where the pool says so, and go on where
// it does not; those of another backend always go on. It makes no difference whether a check or a conn has found out.
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
