package admin

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// table is every metric of homing's own.
func table() []metric {
	return slices.Concat(processMetrics(), configMetrics(), connMetrics(), listenerMetrics(), poolMetrics(), tlsMetrics(), backendMetrics(), tableMetrics(), keyMetrics(), probeMetrics(),
		clusterMetrics(), replicationMetrics(), stateMetrics())
}

func processMetrics() []metric {
	return []metric{
		{"homing_build_info", gauge, []string{"version"}, "Always 1; the version is the label.", func(s *sample, out emit) {
			out(1, s.src.Version)
		}},
		{"homing_ready", gauge, nil, "1 while conns are welcome, as /readyz says; 0 while draining and while no backend could have them.", func(s *sample, out emit) {
			out(bit(s.src.Unready() == ""))
		}},
		{"homing_shortage", gauge, []string{"pool", "listener", "cause"}, "1 for each thing that clients are refused for or kept waiting for, while it lasts and a minute longer: the log, homing status and the page say what to do.", func(s *sample, out emit) {
			for _, one := range s.src.Shortages() {
				out(1, one.Pool, one.Listener, one.Cause)
			}
		}},
		{"homing_log_dropped_total", counter, nil, "Lines of the log, those of conns among them, that were not written: whoever reads it was too slow, or not there.", func(s *sample, out emit) {
			if s.src.LogLost != nil {
				out(float64(s.src.LogLost()))
			}
		}},
	}
}

func connMetrics() []metric {
	count := func(value func(s *balancer.Stats) uint64) func(*sample, emit) {
		return func(s *sample, out emit) { out(float64(value(&s.balancer))) }
	}
	return []metric{
		{"homing_conns_accepted_total", counter, nil, "Conns accepted from clients.", count(func(s *balancer.Stats) uint64 { return s.Accepted })},
		{"homing_conns_open", gauge, nil, "Conns open now.", count(func(s *balancer.Stats) uint64 { return s.Open })},
		{"homing_elder_conns_open", gauge, nil, "Conns of the process that this one took over from and that still drains; only while it does. They are in no other metric.", func(s *sample, out emit) {
			if s.src.Elder == nil {
				return
			}
			if _, conns, ok := s.src.Elder(); ok {
				out(float64(conns))
			}
		}},
		{"homing_conns_shed_total", counter, nil, "Conns given up before their hello was whole, for want of buffer memory.", count(func(s *balancer.Stats) uint64 { return s.Shed })},
		{"homing_conns_unroutable_total", counter, nil, "Conns that no backend took.", count(func(s *balancer.Stats) uint64 { return s.Unroutable })},
		{"homing_pre_hello_conns", gauge, nil, "Conns without a whole hello now.", count(func(s *balancer.Stats) uint64 { return s.PreHello })},
		{"homing_handshakes", gauge, nil, "Conns in their handshake now.", count(func(s *balancer.Stats) uint64 { return s.Handshakes })},
		{"homing_buffer_bytes", gauge, nil, "Memory in use by partial hellos, held answers and unsent rests.", count(func(s *balancer.Stats) uint64 { return s.BufferBytes })},
		{"homing_conn_bytes", gauge, nil, "Memory that conns and handshakes take, as --memory-limit counts it, without buffers.", count(func(s *balancer.Stats) uint64 { return s.ConnBytes })},
		{"homing_relayed_bytes_total", counter, []string{"direction"}, "Bytes received: in from clients, out from backends.", func(s *sample, out emit) {
			out(float64(s.balancer.BytesIn), "in")
			out(float64(s.balancer.BytesOut), "out")
		}},
		{"homing_spliced_bytes_total", counter, nil, "Bytes of both directions that were moved by splice.", count(func(s *balancer.Stats) uint64 { return s.Spliced })},
		{"homing_connects_total", counter, nil, "Connects to backends that were tried.", count(func(s *balancer.Stats) uint64 { return s.Connects })},
		{"homing_connect_failures_total", counter, nil, "Of them, refused, unreachable, forbidden or timed out.", count(func(s *balancer.Stats) uint64 { return s.ConnectFailures })},
		{"homing_connect_timeouts_total", counter, nil, "Of these, timed out: the backend does not accept as fast as clients come, or is gone.", count(func(s *balancer.Stats) uint64 { return s.ConnectTimeouts })},
		{"homing_replays_total", counter, nil, "Connects to another backend because one had failed.", count(func(s *balancer.Stats) uint64 { return s.Replays })},
		{"homing_second_chances_total", counter, nil, "Connects to another backend because of the first one's answer.", count(func(s *balancer.Stats) uint64 { return s.SecondChances })},
		{"homing_second_chances_denied_total", counter, nil, "Those that the budget forbade.", count(func(s *balancer.Stats) uint64 { return s.NoBudget })},
		{"homing_port_shortages_total", counter, nil, "Connects without a free source port (EADDRNOTAVAIL).", count(func(s *balancer.Stats) uint64 { return s.NoPorts })},
		{"homing_file_shortages_total", counter, nil, "Accepts and connects without a free file descriptor (EMFILE, ENFILE).", count(func(s *balancer.Stats) uint64 { return s.NoAccepts + s.NoDescriptors })},
		{"homing_socket_failures_total", counter, nil, "Connects that this machine could not make for another reason: no memory, or a source address that it may not use.", count(func(s *balancer.Stats) uint64 { return s.NoSockets })},
		{"homing_handshake_timeouts_total", counter, nil, "Conns reset because their TLS handshake was not over in time.", count(func(s *balancer.Stats) uint64 { return s.HandshakeTimeouts })},
		{"homing_conns_limit", gauge, nil, "Bound of homing_conns_open; 0: none.", count(func(s *balancer.Stats) uint64 { return uint64(s.Limits.MaxConns) })},
		{"homing_pre_hello_limit_conns", gauge, nil, "Bound of homing_pre_hello_conns; 0: none.", count(func(s *balancer.Stats) uint64 { return uint64(s.Limits.MaxPreHello) })},
		{"homing_buffer_limit_bytes", gauge, nil, "Bound of homing_buffer_bytes.", count(func(s *balancer.Stats) uint64 { return uint64(s.Limits.BufferMemory) })},
		{"homing_conn_limit_bytes", gauge, nil, "Bound of homing_conn_bytes, which --memory-limit leaves; 0: none.", count(func(s *balancer.Stats) uint64 { return uint64(s.Limits.ConnMemory) })},
		{"homing_client_limit_conns", gauge, nil, "Conns that one network of clients may have open; 0: any number.", count(func(s *balancer.Stats) uint64 { return uint64(s.Limits.Sources.MaxConns) })},
		{"homing_client_limit_rate", gauge, nil, "New conns a second that one network of clients may open; 0: any number.", func(s *sample, out emit) { out(s.balancer.Limits.Sources.Rate) }},
		{"homing_conn_log_dropped_total", counter, nil, "Lines of the conn log that could not be written in time.", count(func(s *balancer.Stats) uint64 { return s.RecordsDropped })},
		{"homing_terminations_total", counter, []string{"code"}, "Ends of conns by the two letters of the log: cause and phase.", func(s *sample, out emit) {
			for cause := range balancer.NumCauses {
				for phase := range balancer.NumPhases {
					out(float64(s.balancer.Terminations[cause][phase]), balancer.Termination{Cause: cause, Phase: phase}.String())
				}
			}
		}},
	}
}

func tlsMetrics() []metric {
	return []metric{
		{"homing_hellos_total", counter, []string{"outcome"}, "What the clients' first bytes were.", func(s *sample, out emit) {
			for outcome, n := range s.balancer.Hellos {
				out(float64(n), balancer.HelloOutcome(outcome).String())
			}
		}},
		{"homing_offers_total", counter, []string{"offer"}, "ClientHellos by what they offer to resume; none: fresh.", func(s *sample, out emit) {
			for offer, n := range s.balancer.Offers {
				out(float64(n), affinity.OfferKind(offer).String())
			}
		}},
		{"homing_routes_total", counter, []string{"source"}, "Conns by what named their backend.", func(s *sample, out emit) {
			for source, n := range s.balancer.Routes {
				out(float64(n), affinity.Source(source).String())
			}
		}},
		{"homing_verdicts_total", counter, []string{"offer", "verdict"}, "What the backends answered, by what was offered.", func(s *sample, out emit) {
			for offer := affinity.OfferNone + 1; offer < affinity.NumOfferKinds; offer++ {
				for verdict := balancer.VerdictNone + 1; verdict < balancer.NumVerdicts; verdict++ {
					out(float64(s.balancer.Verdicts[offer][verdict]), offer.String(), verdict.String())
				}
			}
		}},
		{"homing_issues_total", counter, []string{"offer"}, "Session IDs and tickets learned from the backends that issued them.", func(s *sample, out emit) {
			out(float64(s.balancer.IssuedIDs), affinity.OfferID.String())
			out(float64(s.balancer.IssuedTickets), affinity.OfferTicket.String())
		}},
		{"homing_lost_total", counter, []string{"reason"}, "Offers refused, or not routable to their home, by reason.", func(s *sample, out emit) {
			for reason, n := range s.balancer.Lost {
				if lost := balancer.Lost(reason); lost != balancer.LostNone {
					out(float64(n), lost.String())
				}
			}
		}},
	}
}

func backendMetrics() []metric {
	labels := []string{"pool", "backend"}
	each := func(value func(b *pool.Backend) float64) func(*sample, emit) {
		return func(s *sample, out emit) {
			for _, p := range s.src.Pools() {
				for _, b := range p.Snapshot().All() {
					out(value(b), p.Name(), b.Addr.String())
				}
			}
		}
	}
	tally := func(value func(t pool.Tally) uint64) func(*sample, emit) {
		return each(func(b *pool.Backend) float64 { return float64(value(b.Tally())) })
	}
	return []metric{
		{"homing_backend_up", gauge, labels, "1, or 0 when marked down.", each(func(b *pool.Backend) float64 { return bit(b.Up()) })},
		{"homing_backend_draining", gauge, labels, "0 in service, 1 soft (resumptions only), 2 hard (no conns).", each(func(b *pool.Backend) float64 { return float64(b.Draining()) })},
		{"homing_backend_weight", gauge, labels, "Share of fresh handshakes relative to the others.", each(func(b *pool.Backend) float64 { return float64(b.Weight()) })},
		{"homing_backend_fresh_share", gauge, labels, "Part of the weight that counts for fresh handshakes: 1, and less while the backend starts slowly.", each(func(b *pool.Backend) float64 { return float64(b.FreshShare()) / 100 })},
		{"homing_backend_limit_conns", gauge, labels, "Bound of the conns open to the backend; 0: none.", each(func(b *pool.Backend) float64 { return float64(b.MaxConns()) })},
		{"homing_backend_conns_open", gauge, labels, "Conns open to the backend now.", each(func(b *pool.Backend) float64 { return float64(b.Open()) })},
		{"homing_backend_connect_failures", gauge, labels, "Connects that failed since the last that succeeded.", each(func(b *pool.Backend) float64 { return float64(b.Failures()) })},
		{"homing_backend_conns_total", counter, labels, "Conns that reached the backend.", tally(func(t pool.Tally) uint64 { return t.Conns })},
		{"homing_backend_fresh_total", counter, labels, "Of them, those that offered nothing to resume.", tally(func(t pool.Tally) uint64 { return t.Fresh })},
		{"homing_backend_offers_total", counter, append(labels, "verdict"), "Offers that the backend resumed, or answered with a full handshake.", func(s *sample, out emit) {
			for _, p := range s.src.Pools() {
				for _, b := range p.Snapshot().All() {
					t := b.Tally()
					out(float64(t.Accepted), p.Name(), b.Addr.String(), balancer.VerdictAccepted.String())
					out(float64(t.Refused), p.Name(), b.Addr.String(), balancer.VerdictRefused.String())
				}
			}
		}},
		{"homing_backend_lost_total", counter, labels, "Offers of the backend's own that were not resumed.", tally(func(t pool.Tally) uint64 { return t.Lost })},
		{"homing_backend_checks_total", counter, append(labels, "result"), "Checks of the backend, by what they came to; three in a row that fail mark it down by default.", func(s *sample, out emit) {
			for _, p := range s.src.Pools() {
				for _, b := range p.Snapshot().All() {
					t := b.Tally()
					out(float64(t.Passed), p.Name(), b.Addr.String(), "passed")
					out(float64(t.Failed), p.Name(), b.Addr.String(), "failed")
				}
			}
		}},
		{"homing_backend_bytes_total", counter, append(labels, "direction"), "Bytes relayed: in to the backend, out from it; of an open conn every 64 KiB.", func(s *sample, out emit) {
			for _, p := range s.src.Pools() {
				for _, b := range p.Snapshot().All() {
					t := b.Tally()
					out(float64(t.BytesIn), p.Name(), b.Addr.String(), "in")
					out(float64(t.BytesOut), p.Name(), b.Addr.String(), "out")
				}
			}
		}},
	}
}

func tableMetrics() []metric {
	labels := []string{"table"}
	each := func(value func(t *affinity.TableStats) float64) func(*sample, emit) {
		return func(s *sample, out emit) {
			out(value(&s.affinity.Entries), "sessions")
			out(value(&s.affinity.Clients), "clients")
			out(value(&s.affinity.Refusals), "refusals")
			out(value(&s.affinity.Hints), "hints")
		}
	}
	part := func(value func(t *affinity.ShareStats) float64) func(*sample, emit) {
		return func(s *sample, out emit) {
			names := poolNames(s.src.Pools())
			for i := range s.affinity.Pools {
				p := &s.affinity.Pools[i]
				if name := names[p.Hash]; name != "" { // other nodes' pools are in the tables too
					out(value(&p.Entries), "sessions", name)
					out(value(&p.Clients), "clients", name)
				}
			}
		}
	}
	return []metric{
		{"homing_table_entries", gauge, labels, "Live entries; an estimate in large tables.", each(func(t *affinity.TableStats) float64 { return float64(t.Used) })},
		{"homing_table_capacity_entries", gauge, labels, "Entries the table is made for.", each(func(t *affinity.TableStats) float64 { return float64(t.Capacity) })},
		{"homing_table_bytes", gauge, labels, "Memory of the table.", each(func(t *affinity.TableStats) float64 { return float64(t.Bytes) })},
		{"homing_table_inserts_total", counter, labels, "Entries written.", each(func(t *affinity.TableStats) float64 { return float64(t.Inserts) })},
		{"homing_table_evictions_total", counter, labels, "Live entries that gave way to new ones: the table is too small.", each(func(t *affinity.TableStats) float64 { return float64(t.Evicted) })},
		{"homing_table_pool_entries", gauge, []string{"table", "pool"}, "Each pool's part of the tables of sessions and clients; entries that have expired count for some minutes.", part(func(t *affinity.ShareStats) float64 { return float64(t.Held) })},
		{"homing_table_pool_evictions_total", counter, []string{"table", "pool"}, "Live entries of a pool that gave way, and new ones that found no place: it held more than the others.", part(func(t *affinity.ShareStats) float64 { return float64(t.Evicted) })},
		{"homing_evidence_dropped_total", counter, nil, "Pieces of evidence on ticket keys that came faster than they could be weighed.", func(s *sample, out emit) {
			out(float64(s.affinity.Overflow))
		}},
	}
}

func keyMetrics() []metric {
	each := func(value func(p *affinity.PoolStats) int) func(*sample, emit) {
		return func(s *sample, out emit) {
			for i := range s.affinity.Pools {
				p := &s.affinity.Pools[i]
				out(float64(value(p)), s.poolName(p.Hash))
			}
		}
	}
	return []metric{
		{"homing_ticket_keys", gauge, []string{"pool", "length"}, "Ticket keys with a home, by the bytes of their name.", func(s *sample, out emit) {
			for _, p := range s.affinity.Pools {
				for i, n := range p.Keys {
					out(float64(n), s.poolName(p.Hash), strconv.Itoa(affinity.PrefixLen(i)))
				}
			}
		}},
		{"homing_ticket_keys_shared", gauge, []string{"pool"}, "Of them, with several backends as their home.", each(func(p *affinity.PoolStats) int { return p.Shared })},
		{"homing_ticket_keys_doubtful", gauge, []string{"pool"}, "Of them, with a backend that has only refused lately.", each(func(p *affinity.PoolStats) int { return p.Doubtful })},
	}
}

// poolName finds the pool that affinity knows by its hash.
func (s *sample) poolName(hash uint32) string {
	for _, p := range s.src.Pools() {
		if p.Hash() == hash {
			return p.Name()
		}
	}
	return "" // affinity's pools are made from ours
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
