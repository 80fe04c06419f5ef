// Package flow makes of captured packets what a balancer in their place would have seen: conns to the observed ports, their
// hellos, and the servers' answers as long as they are in clear.
//
//	Packet ─► link layers, tunnels, fragments ─► TCP ─► the two streams ─► tlsparse ─► Handler
//	                                              └───► a dark conn: looked up, and no more
//
// # The rule
//
// A conn is judged by what its server has read, or not at all. What a capture lacks (a packet lost, cut by the snap length,
// captured from the middle on) and what a hostile sender says twice in two ways ends a handshake with a reason, see [End],
// and is counted. It never becomes an event. Nothing can be done about a sender who knows which of its packets a capture
// loses: what is read then is the copy that is there.
//
// Conns are told apart by their innermost addresses and ports alone, whatever tags and tunnels they come in.
//
// # What it holds
//
// The bytes of both sides from their first on until the answer goes dark, and packets that are ahead of a missing one. All
// that is bounded for a conn and in all, see [Config]. Behind that point a conn is an entry in a table.
package flow
