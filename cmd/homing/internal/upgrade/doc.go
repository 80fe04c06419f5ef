// Package upgrade lets a new process of homing take the place of one that runs, without a conn that is refused or a
// session that is forgotten; and it speaks with systemd, which may have given a process its sockets.
//
// The process that runs is the elder; the one that it starts, from the same path with the same arguments, is its heir.
// They share one socketpair, over which descriptors pass (unix(7), SCM_RIGHTS):
//
//	elder                                     heir
//	  start ────────────────────────────────►   HOMING_HEIR names the socketpair
//	  parcel: listeners, tables, sockets ───►   assembles all that can fail
//	         ◄──────────────────────── ready
//	  serve ────────────────────────────────►   accepts conns, beside the elder
//	         ◄────────────────────── serving
//	  lets go: accepts no more, stops gossip,
//	  replication, state, checks, admin
//	  parcel: what has happened meanwhile ──►   starts all that only one process can do
//	         ◄───────────────────────── done
//	  drains, and forwards what it learns ──►   merges it (cluster.Follow)
//	  ends
//
// Until the heir serves, whatever happens to it, the elder goes on as if nothing had been: it never stopped accepting,
// for both have the same listening sockets, and nothing of the elder's is touched. From then on there is no way back,
// and nothing left that could fail but the machine.
//
// The heir has a process group of its own until it is done, and what it has started ends with it if it fails.
//
// A heir may have one of its own while its elder still drains, any number of them in a row.
package upgrade
