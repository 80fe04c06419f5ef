// Package cluster joins the nodes of one homing cluster: membership, discovery of backends, the replication of what each
// node learns, and the state that outlives a process.
//
//	agents ──gossip──► Membership ──► Discovery ──► pools
//	                       │ who is a node, and where
//	loops ──Learned──► ring ──► stream per peer ══ mutual TLS 1.3 ══ stream ──Merge──► affinity.Store of the peer
//	                                                     affinity.Store ──StateDir──► disk
//
// Two secrets keep agents and nodes apart. The gossip key admits to membership. The node key admits to replication, and to
// commands that change the cluster.
//
// Whoever has the gossip key, which any web server that is broken into has, can forge every message of memberlist: that a
// member is dead, has left, is elsewhere, says something else. So gossip only says whom to ask, and when: this node connects
// to the address and asks (ask.go), and a member is who has answered there, with the words it answered (roll.go). What is
// left to such a server, and bounded: its own backends, up to DiscoverPool.Weight together; members at its own address
// (maxPerAddr), which gossip keys are not rotated past without force; news of others that come up to refreshEvery late; and
// the time of a node that it can have by sending (transport.go, door.go, budget.go, quiet.go). A member of an older release is
// asked in the same way, by memberlist's own exchange; only an older node still believes what gossip says.
//
// Memberlist carries hearsay, seeds and what agents announce (member.go, gossip.go, discover.go). The facts
// themselves come out of the hook of affinity.Store into a bounded ring (replicate_ring.go), and travel on one long-lived
// stream per pair of nodes, which the node with the smaller ID dials: pushed when learned, in batches of what is ready,
// with no timer in the way, acknowledged, and resumed from the last acknowledged fact after a break (stream.go). What the
// ring has overwritten before a peer had it is mended by a resync, an export of the whole table, beside which new facts go
// first. A slow peer therefore costs no memory. Each node sends what it learned itself; what it merged, others have from
// where it was learned, or from a resync.
//
// A peer is streaming, resyncing, or lost; lost ones are dialled again forever. Nodes that meet with different seeds of
// their keys go on with one: a joining node takes the cluster's and empties its own table, with one line (yields, in
// stream_seed.go). Raw session identifiers never leave a node.
package cluster
