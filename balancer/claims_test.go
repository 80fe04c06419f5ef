//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/balancer/rules"
)

// TestDrainedClaims: a backend that is being drained gets its own resumptions, any number of them, and of what is only said to be
// one so many of a client's network: under the name of its ticket key, under that of a key that it may have, and from a client
// that was there before. What comes of it in the end does not matter. Others have their own.
func TestDrainedClaims(t *testing.T) {
	refused, accepted := join(answer{tls13: true}.bytes(), appData(500)), join(answer{tls13: true, psk: 1}.bytes(), appData(100))
	junk := func(name string) func(int) hello {
		return func(i int) hello { return hello{psks: [][]byte{named(name, 1000+i)}} }
	}
	for _, test := range []struct {
		name  string
		offer func(int) hello
		more  []byte // of the client, behind the backend's answer
		says  []byte // the backend's answer
		most  int
	}{
		{"its key's name", junk("sixteen bytes nm"), nil, refused, rules.ClaimsPerWindow},
		{"of a known client", junk("nobody's at all."), nil, refused, 2}, // then it is no home any more
		{"under one hint", junk("the hinted name."), nil, refused, rules.ClaimsPerWindow},
		{"without a verdict", junk("sixteen bytes nm"), nil, alert(2, 80), rules.ClaimsPerWindow},
		{"taken back in a second hello", junk("sixteen bytes nm"), hello{tls13: true}.bytes(), answer{retry: true}.bytes(), rules.ClaimsPerWindow},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveByHand()
			}
			r.start()
			genuine := hello{psks: [][]byte{named("sixteen bytes nm", 0)}}
			home := r.teachFrom(5, hello{tls13: true, psks: [][]byte{named("the hinted name.", 0)}}, backend(accepted), client(ccs(), appData(60)), backend(appData(50)))
			id := uint32(home.backend.ID)
			for i := range 2 {
				r.known().IssuedTicket(r.known().HashIdent(named("sixteen bytes nm", i)), 0, id, now())
			}
			r.await("the key is known", func() bool {
				_, ok := r.known().TicketKey(r.known().HashIdent(named("sixteen bytes nm", 2)), id, now())
				return ok
			})
			r.pool.SetDraining(home.backend, pool.DrainSoft)

			hostile := func(i int) int { return 5 + 40_000*(i%16) } // addresses of one network
			if test.name == "of a known client" {
				hostile = func(int) int { return 5 }
			}
			there := 0
			for i := range 3 * rules.ClaimsPerWindow {
				c := r.dialFrom(source(hostile(i)))
				sent := test.offer(i).bytes()
				write(t, c, sent)
				b := r.arrival()
				read(t, b, len(sent))
				r.talk(c, b, 1<<20, backend(test.says), client(test.more))
				if b.server == home {
					there++
				}
				c.Close()
				b.Close()
			}
			r.ended(1 + 3*rules.ClaimsPerWindow)
			if there != test.most {
				t.Errorf("%d of %d junk offers went to the drained backend, want %d", there, 3*rules.ClaimsPerWindow, test.most)
			}
			for i := range 3 * rules.ClaimsPerWindow {
				if s, by := r.decided(6, genuine, accepted); s != home || by == affinity.SourceFresh {
					t.Fatalf("resumption %d of another network went elsewhere, by %v", i, by)
				}
			}
			if s, _ := r.decided(hostile(1), genuine, refused); (s != home) != (test.most == rules.ClaimsPerWindow) {
				t.Error("the network's claims are used up, and it has one more")
			} else if lost := r.last(len(r.ended(0))).Lost; s != home && lost != LostDrained {
				t.Errorf("lost for %v", lost)
			}
		})
	}
}
