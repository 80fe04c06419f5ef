// Package affinity is what homing knows of TLS sessions: which backend can accept which offer.
//
// The loops hash what they read (HashIdent, Digest), ask (Pool.Find), and tell what the servers proved (Pool.Accepted,
// Refused, IssuedID, IssuedTicket). They touch memory only: no lock, no allocation, no system call.
//
//	offer ──Find──► Table of exact keys ──► directory of ticket keys ──► client homes ──► explore
//	                      ▲                        ▲ snapshot                 ▲
//	verdict, issue ──learn┴──ring──► Store.Run ────┘ (the one owner)          │
//	completed handshake ──────────────────────────────────────────────────────┘
//
// A ticket key goes through these states: unknown; waiting (one ticket of a backend seen, in that backend's room; the
// hint table sends the next one to the same backend); confirmed (two different tickets of one backend share it; it has
// a home); shared (several backends proved it); dead (no proof for the ticket's time to live). Each home of a key is
// for itself: doubtful (refusals only, for a while: others are preferred), and gone (the probe found that it does not
// hold the key).
//
// Nothing enters because a client sent it: a server issued it in a completed handshake or accepted it. What a client
// can bring about by itself stands beside each method: a home for its own address, that a name without a home counts as
// refused for a minute, doubt, and that the probe looks earlier. Raw identifiers are never kept, only keyed hashes.
// Time is Unix seconds as uint32, by Store.Now, and always an argument.
//
// What is hashed: key.go, ident.go, offer.go. Tables: table.go, fold.go (how they grow), share.go (whose entry gives
// way), survey.go, tablefile.go and mapping_*.go (their memory). Ticket keys: ticketkeys.go (the directory), evidence.go
// (its owner), room.go (names that wait), doubt.go, claim.go, refuted.go, probe.go. What the loops ask and tell: find.go,
// learn.go, clients.go, lost.go. What leaves and comes: fact.go, export.go, merge.go, import.go (tables by descriptor),
// seed.go, clock.go. What people see: stats.go, census.go, inspect.go.
package affinity
