// Package cluster will join the nodes of one homing cluster: membership, discovery of backends, and the replication of
// what each node learns. It exports nothing yet.
//
// The data path it is meant for: memberlist carries membership, failure detection, 512 bytes of metadata per node and
// the backends that agents announce. The facts themselves (key, backend ID, expiry) come out of the hook of
// affinity.Store into a bounded ring, and travel in batches on one long-lived, acknowledged stream per pair of nodes:
// pushed when learned, with no timer in the way, because gossip broadcast is two orders of magnitude slower and drops.
// A ring that overflows is counted and mended by a resync of the table.
//
// A peer is joining (the seed of the keys and a snapshot of the table go over the authenticated stream), streaming,
// resyncing (after an overflow or a partition), or lost (dialled again every 2 s, forever). A node that joins with
// another seed sets its own table aside. Raw session identifiers never leave a node.
package cluster
