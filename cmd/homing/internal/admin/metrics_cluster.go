package admin

import (
	"homing/cluster"
	"homing/cluster/replica"
)

// clusterMetrics are there on a node of a cluster only.
func clusterMetrics() []metric {
	return []metric{
		{"homing_cluster_members", gauge, []string{"role", "state"}, "Other nodes and agents by whether they are there; vanished: neither answered nor left.", func(s *sample, out emit) {
			if s.cluster == nil {
				return
			}
			for _, role := range []cluster.Role{cluster.RoleNode, cluster.RoleAgent} {
				out(float64(s.cluster.Members[Kind{role, true}]), role.String(), "alive")
				out(float64(s.cluster.Members[Kind{role, false}]), role.String(), "vanished")
			}
		}},
		{"homing_announcements", gauge, []string{"verdict"}, "Backends that agents announce now, accepted and refused.", func(s *sample, out emit) {
			if s.cluster != nil {
				out(float64(s.cluster.Accepted), "accepted")
				out(float64(s.cluster.Refused), "refused")
			}
		}},
	}
}

// replicationMetrics are there on a node that has a node key only.
func replicationMetrics() []metric {
	labels := []string{"peer"}
	sharing := func(read func(r *replica.Stats, out emit)) func(*sample, emit) {
		return func(s *sample, out emit) {
			if s.cluster != nil && s.cluster.Sharing != nil {
				read(s.cluster.Sharing, out)
			}
		}
	}
	each := func(value func(p *replica.PeerStats) float64) func(*sample, emit) {
		return sharing(func(r *replica.Stats, out emit) {
			for i := range r.Peers {
				out(value(&r.Peers[i]), r.Peers[i].ID)
			}
		})
	}
	return []metric{
		{"homing_replication_facts_total", counter, []string{"from"}, "Facts learned here, and news from other nodes.", sharing(func(r *replica.Stats, out emit) {
			out(float64(r.Learned), "here")
			out(float64(r.Merged), "peers")
		})},
		{"homing_replication_refused_total", counter, nil, "Streams that did not open: wrong key, garbage, another version.", sharing(func(r *replica.Stats, out emit) {
			out(float64(r.Refused))
		})},
		{"homing_replication_lag_seconds", gauge, labels, "Age of the oldest fact learned here that the peer has not acknowledged.", each(func(p *replica.PeerStats) float64 { return p.Lag.Seconds() })},
		{"homing_replication_unacked_facts", gauge, labels, "Facts that the peer has not acknowledged.", each(func(p *replica.PeerStats) float64 { return float64(p.Unacked) })},
		{"homing_replication_bytes_total", counter, []string{"peer", "direction"}, "Bytes of the streams, without those of TLS.", sharing(func(r *replica.Stats, out emit) {
			for _, p := range r.Peers {
				out(float64(p.BytesIn), p.ID, "in")
				out(float64(p.BytesOut), p.ID, "out")
			}
		})},
		{"homing_replication_streams_total", counter, labels, "Streams opened with the peer.", each(func(p *replica.PeerStats) float64 { return float64(p.Streams) })},
		{"homing_replication_resyncs_total", counter, labels, "Times that the peer was sent the whole table.", each(func(p *replica.PeerStats) float64 { return float64(p.Resyncs) })},
		{"homing_replication_overflows_total", counter, labels, "Times that facts were overwritten before the peer had them; a resync mends it.", each(func(p *replica.PeerStats) float64 { return float64(p.Overflow) })},
	}
}

// stateMetrics are there on a node that keeps its state in a directory only.
func stateMetrics() []metric {
	state := func(read func(st *replica.StateDirStats, out emit)) func(*sample, emit) {
		return func(s *sample, out emit) {
			if s.src.State != nil {
				st := s.src.State()
				read(&st, out)
			}
		}
	}
	return []metric{
		{"homing_state_writes_total", counter, []string{"result"}, "Writes of what is learned to the state directory.", state(func(st *replica.StateDirStats, out emit) {
			out(float64(st.Writes), "ok")
			out(float64(st.Failures), "failed")
		})},
		{"homing_state_bytes", gauge, nil, "Size of the last such file.", state(func(st *replica.StateDirStats, out emit) { out(float64(st.Bytes)) })},
		{"homing_state_write_seconds", gauge, nil, "What the last such write took.", state(func(st *replica.StateDirStats, out emit) { out(st.Took.Seconds()) })},
	}
}
