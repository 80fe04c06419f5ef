// Package bench will be the load harness behind the command homing-bench: an open-loop, black-box client that imports
// nothing of the balancer. It exports nothing yet.
//
// The data path it is meant for: a pacer says when the next request should begin, a scenario says what it is (a fresh
// handshake, a resumption, a bulk transfer, an idle conn), a worker does it, a recorder keeps its latency in HDR
// histograms, and a report sums them up. Latency counts from the intended start, so that a stall of the balancer shows
// in every request that should have begun during it; a second, uncorrected histogram is kept beside it.
//
// A run passes through warming (nothing is recorded), measuring and draining (no request begins, those open are
// awaited up to a limit and counted as lost behind it).
package bench
