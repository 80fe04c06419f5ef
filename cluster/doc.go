// Package cluster joins the nodes of one homing cluster, and the agents beside backends: who is a member, which
// backends announce themselves, which gossip keys are trusted, and what operators tell all nodes to do. What nodes
// learn they share in package replica, which of members knows no more than who is a node, and where.
//
//	gossip ──hearsay──► roll ──asks each at its address (ask.go)──► Members ──► Discovery ──► pools
//	                                                                   │   └──► addresses for replica
//	homing cluster ──sealed──► Command ──tells every node, in a sealed message──► pools, Keyring
//	                              ▲                         └──► orders: given to nodes that join later
//	admin API ──node key of this node──► Order
//
// A new kind of order is a case of the table in order.go, and what a node does for it one in follow.go; the command
// that gives it is in cmd/homing/internal/operate.
//
// Two secrets keep agents and nodes apart. The gossip key admits to membership. The node key admits to replication, and
// to commands that change the cluster.
//
// Whoever has the gossip key, which any web server that is broken into has, can forge every message of memberlist: that
// a member is dead, has left, is elsewhere, says something else. So gossip only says whom to ask, and when: this node
// connects to the address and asks (ask.go), and a member is who has answered there, with the words it answered
// (roll.go). What is left to such a server, and bounded: its own backends, up to DiscoverPool.Weight together; members
// at its own address (maxPerAddr), which gossip keys are not rotated past without force; news of others that come up to
// refreshEvery late; and the time of a node that it can have by sending (transport.go, package bound). A member of an
// older release is asked in the same way, by memberlist's own exchange; only an older node still believes what gossip
// says.
//
// Commands travel in messages of gossip, sealed with the node key (command.go), and not on the streams that nodes share
// facts by, although who has the node key can open those. The seal is what proves the operator, who reaches one node's
// admin server, often by a socket on the same machine, and no node's stream: without it whoever may use an admin server
// could change the gossip keys. Nodes of an older release close a stream at a frame that they do not know, so while a
// cluster is upgraded node by node the messages would be needed beside the frames. And a command reaches a node whose
// stream is down.
package cluster
