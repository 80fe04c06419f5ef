// Package replica carries what a node learns out of its process: to the other nodes, to disk, and to the process that
// replaces it. All three take the same facts (affinity.Fact), in the same form (frame.go).
//
//	loops ──Learned──► ring ──► stream per peer ══ mutual TLS 1.3 ══ stream ──Merge──► affinity.Store of the peer
//	                   affinity.Store ──Export──► resync of a peer that has missed facts
//	                   affinity.Store ──Export──► StateDir ──► file ──Load──► affinity.Store of the next start
//	loops of an elder ──Learned──► Forwarder ══ socket pair ══ Follow ──Merge──► affinity.Store of its heir
//
// Facts come out of the hook of affinity.Store into a bounded ring (ring.go), and travel on one long-lived stream per
// pair of nodes, which the node with the smaller ID dials: pushed when learned, in batches of what is ready, with no
// timer in the way, acknowledged, and resumed from the last acknowledged fact after a break (stream.go). What the ring
// has overwritten before a peer had it is mended by a resync, an export of the whole table, beside which new facts go
// first. A slow peer therefore costs no memory. Each node sends what it learned itself; what it merged, others have
// from where it was learned, or from a resync.
//
// A peer is streaming, resyncing, or lost; lost ones are dialled again forever. Who may open a stream shows a key
// derived from the node key (nodekey.go); those who have not yet shown it are bounded (package bound). Nodes that meet
// with different seeds of their keys go on with one: a joining node takes the cluster's and empties its own table, with
// one line (yields, in seed.go). Raw session identifiers never leave a node.
package replica
