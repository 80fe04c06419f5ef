// Package pool knows the backends that serve one service, which of them take conns, and how to pick one.
//
// A Pool owns the state; loops read it through a Snapshot, which is immutable and swapped by pointer whenever a backend
// appears, vanishes, changes weight, goes down, comes back or is drained:
//
//	s := p.Snapshot()                        // one atomic load, per decision
//	b := s.Fresh(pool.RoundRobin, 0, skip)   // or s.Home, s.One, s.Maglev: see package rules
//	b.Acquire()                              // before the connect
//	p.ConnectOK(b) or p.ConnectFailed(b)     // its outcome
//	b.Release()                              // when the backend socket is closed
//
// What a picker must know at once (up or down, open conns) stands in atomics on the Backend, so a decision taken on a
// snapshot that is about to be replaced is never worse than one conn late.
//
// With Options.SlowStart a backend that comes up again, or joins a pool at work, begins with a part of its weight, of
// fresh handshakes only: slowstart.go has the states. Run takes the steps, each a snapshot of its own.
//
// The ID of a backend and the order of every table depend on the pool's name and the backends' addresses only: nodes
// that see the same live backends pick the same one for the same hash.
//
// Who is in the pool: spec.go, resolve.go, dns.go, discover.go, reconfigure.go, options.go. How a backend is:
// backend.go, liveness.go, slowstart.go, drain.go, weight.go (with what it reports of itself), tally.go. Who gets a
// conn: snapshot.go, pick.go, maglev.go, wrr.go, queue.go. names.go is the names that clients ask for, export.go what
// an heir gets.
package pool
