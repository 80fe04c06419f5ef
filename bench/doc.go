// Package bench is the load harness behind the command homing-bench: a black-box client of any TCP balancer or TLS
// endpoint, which imports nothing of the balancer.
//
// A Plan says what to do, Run does it, a Result tells what it showed. Thousands of simulated clients, each with a TLS
// session, a source address and a server name of its own, make conns that begin when a pacer says and not when the
// target is ready (open loop). A latency counts from when its conn should have begun, so that a stall of the target shows
// in every conn that should have begun during it; the uncorrected one is kept beside it. A client has one conn at a time:
// a conn that should begin while the last one is still open waits for it, and the clock runs.
//
// One loop per CPU carries its part of the clients on one thread: pacer (when), clients dealt out in random order (who),
// conns as small state machines over the TLS client of package tlscore (how), records of its own (HDR histograms). The
// loops share nothing while they run, and stand still between the stretches of a run:
//
//	warming up   each client connects at least once, and nothing is recorded; ends when the last conn has
//	measuring    what should begin now is recorded
//	draining     no conn begins, those open or overdue are awaited up to the timeout, and lost behind it
//
// There are two rigs, and each serves what the other cannot. homing-bench has real TLS at both ends: what becomes of sessions,
// what that costs servers, what clients wait for; the README's tables of offers accepted and of further backends are by
// "homing-bench compare". There a handshake's cryptography costs ten times what a balancer does, and hides it. bench/perf, in
// C, answers with recorded first flights instead: what a balancer itself costs per conn, per GB and per idle conn, beside
// HAProxy; the README's table of one loop is by it ("make perf"), and what it says of sessions is of no use.
//
// The scenario low of "homing-bench compare" lies between them: real TLS, but evenly paced and so slow that a balancer mostly
// waits, where to wake up costs more than to work. It says what a conn and what a quiet minute cost, and whether that is
// within what is asked of homing. CPU time of the machine is there the sum of what all threads have used, in nanoseconds
// (schedstat of proc(5)), for the account of /proc/stat is in ticks.
//
// CPU time is taken from the beginning of measuring to the end of draining, so that it is that of the conns recorded and of
// no others.
package bench
