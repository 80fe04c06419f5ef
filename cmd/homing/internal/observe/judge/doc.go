// Package judge says of each observed handshake what became of its offer to resume, whose fault that was, and what homing
// would have made of it. It has no clock, no I/O and no goroutine: the same calls give the same findings.
//
//	hello ──► offer ──► Pool.Find: what homing would have done, with what was known then
//	answer ─► verdict ─► why (by the server's part in what was offered) ─► tallies by service, name, version, kind
//	issue, acceptance, completed handshake ─► Pool, as balancer/learn.go teaches it
package judge
