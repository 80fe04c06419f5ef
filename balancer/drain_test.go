//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// TestDrainGuesses: a client that was at a drained backend before comes with a session ID that nobody knows. It may be
// the random one of a fresh hello, and goes elsewhere; an unknown ticket is none of those, and may well be the
// backend's.
func TestDrainGuesses(t *testing.T) {
	for _, test := range []struct {
		name  string
		drain func(*rig, *server)
		offer hello
		home  bool
	}{
		{"in service, an ID", func(*rig, *server) {}, hello{id: fixed('x')}, true},
		{"drained, an ID", func(r *rig, s *server) { r.pool.SetDraining(s.backend, pool.DrainSoft) }, hello{id: fixed('x')}, false},
		{"drained, a ticket", func(r *rig, s *server) { r.pool.SetDraining(s.backend, pool.DrainSoft) }, hello{ticket: fixed('x')}, true},
		{"by itself, an ID", func(r *rig, s *server) {
			if err := r.pool.SetReport(s.backend, pool.Report{Drain: true}); err != nil {
				t.Fatal(err)
			}
		}, hello{id: fixed('x')}, false},
		{"drained hard, a ticket", func(r *rig, s *server) { r.pool.SetDraining(s.backend, pool.DrainHard) }, hello{ticket: fixed('x')}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.serveByHand()
			}
			r.start()
			first := hello{} // of the same shape, which is a part of what a client is known by
			if test.offer.ticket != nil {
				first.ticket = []byte{}
			}
			home := r.teachFrom(1, first, backend(answer{}.bytes(), certificate(10), ccs()))
			test.drain(r, home)
			s, source := r.decided(1, test.offer, answer{}.bytes(), certificate(10), ccs())
			if at := s == home; at != test.home || at != (source == affinity.SourceClient) {
				t.Errorf("at home: %t, source %v, want %t", at, source, test.home)
			}
		})
	}
}
