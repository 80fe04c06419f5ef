package admin

import (
	"homing/cluster"
	"homing/cluster/replica"
)

// clusterMetrics are there on a node of a cluster only.
func clusterMetrics() []metric {
	nodes := things[Cluster]{visit: func(s *sample, each visitor[Cluster]) {
		if s.cluster != nil {
			each(s.cluster)
		}
	}}
	members := things[Cluster]{[]string{"role"}, nodes.visit}
	return []metric{
		several(gauges, members, "homing_cluster_members", "state", func(c *Cluster, out emit) {
			for _, role := range []cluster.Role{cluster.RoleNode, cluster.RoleAgent} {
				out(float64(c.Members[Kind{role, true}]), role.String(), "alive")
				out(float64(c.Members[Kind{role, false}]), role.String(), "vanished")
			}
		}, "Other nodes and agents by whether they are there; vanished: neither answered nor left."),
		several(gauges, nodes, "homing_announcements", "verdict", func(c *Cluster, out emit) {
			out(float64(c.Accepted), "accepted")
			out(float64(c.Refused), "refused")
		}, "Backends that agents announce now, accepted and refused."),
	}
}

// replicationMetrics are there on a node that has a node key only.
func replicationMetrics() []metric {
	type stats = replica.Stats
	type peer = replica.PeerStats
	node := things[stats]{visit: func(s *sample, each visitor[stats]) {
		if s.cluster != nil && s.cluster.Sharing != nil {
			each(s.cluster.Sharing)
		}
	}}
	peers := things[peer]{[]string{"peer"}, func(s *sample, each visitor[peer]) {
		node.visit(s, func(r *stats, _ ...string) {
			for i := range r.Peers {
				each(&r.Peers[i], r.Peers[i].ID)
			}
		})
	}}
	return []metric{
		several(counters, node, "homing_replication_facts_total", "from", func(r *stats, out emit) {
			out(float64(r.Learned), "here")
			out(float64(r.Merged), "peers")
		}, "Facts learned here, and news from other nodes."),
		counter(node, "homing_replication_refused_total", func(r *stats) uint64 { return r.Refused },
			"Streams that did not open: wrong key, garbage, another version."),
		gauge(peers, "homing_replication_lag_seconds", func(p *peer) float64 { return p.Lag.Seconds() },
			"Age of the oldest fact learned here that the peer has not acknowledged."),
		gauge(peers, "homing_replication_unacked_facts", func(p *peer) uint64 { return p.Unacked },
			"Facts that the peer has not acknowledged."),
		several(counters, peers, "homing_replication_bytes_total", "direction", func(p *peer, out emit) {
			out(float64(p.BytesIn), "in")
			out(float64(p.BytesOut), "out")
		}, "Bytes of the streams, without those of TLS."),
		counter(peers, "homing_replication_streams_total", func(p *peer) uint64 { return p.Streams },
			"Streams opened with the peer."),
		counter(peers, "homing_replication_resyncs_total", func(p *peer) uint64 { return p.Resyncs },
			"Times that the peer was sent the whole table."),
		counter(peers, "homing_replication_overflows_total", func(p *peer) uint64 { return p.Overflow },
			"Times that facts were overwritten before the peer had them; a resync mends it."),
	}
}

// stateMetrics are there on a node that keeps its state in a directory only.
func stateMetrics() []metric {
	type stats = replica.StateDirStats
	state := things[stats]{visit: func(s *sample, each visitor[stats]) {
		if s.src.State != nil {
			st := s.src.State()
			each(&st)
		}
	}}
	return []metric{
		several(counters, state, "homing_state_writes_total", "result", func(st *stats, out emit) {
			out(float64(st.Writes), "ok")
			out(float64(st.Failures), "failed")
		}, "Writes of what is learned to the state directory."),
		gauge(state, "homing_state_bytes", func(st *stats) int64 { return st.Bytes },
			"Size of the last such file."),
		gauge(state, "homing_state_write_seconds", func(st *stats) float64 { return st.Took.Seconds() },
			"What the last such write took."),
	}
}
