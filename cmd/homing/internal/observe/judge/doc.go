// Package judge says of each observed handshake what became of its offer to resume, whose fault that was, and what homing
// would have made of it. It has no clock, no I/O and no goroutine: the same calls give the same findings.
//
//	hello ──► offer ──► Pool.Look: where homing would have sent it, with what was known then
//	answer ─► verdict ─► why (by the server's part in what was offered) ─► tallies by service, name, version, kind
//	issue, acceptance, completed handshake ─► Pool, as balancer/learn.go teaches it
//
// # What is counted, and what is estimated
//
// Where servers are seen one by one, offers and verdicts are counted; what homing would have made of the same offers follows
// from three things that are seen. Where it would have sent an offer, the tables say; a name of a ticket key that becomes
// known later counts as known before, for homing's probe asks for it (late.go). Whether it would have been accepted there, the
// offers tell that went there by chance: those of one [Stratum] fare alike (predict.go). And a client that is not refused
// keeps its session for longer, until it is too old: ages.go follows what each would have had. A session ID that nobody was
// seen to issue may be none, for many clients invent one; it is part of no share.
//
// Before a balancer one address stands for all servers. At least, homing would have accepted what was accepted, and what was
// refused while an older session, or one under the same key before and after, was accepted (proofs.go); at most, all.
//
// Bounds hold what chance leaves open (Wilson's, 95 %), and what cannot be seen: clients behind the balancer's own address,
// tickets without names, ages beyond what was seen of the servers. What the capture lacks is counted apart and bounds all.
//
// # Where it was made
//
// view.go and service.go: servers of one balancer are offered what others of them issued; a balancer's own address passes
// hellos on before it answers them. The flags have the last word.
//
// # Files
//
// judge.go (the clock, and what begins and ends), conn.go (hellos), verdict.go (answers), tally.go (counts), service.go,
// view.go, late.go, ages.go, proofs.go, clients.go, hellos.go, predict.go, findings.go (what is told), sum.go.
package judge
