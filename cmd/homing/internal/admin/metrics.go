package admin

import (
	"slices"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// table is every metric of homing's own.
func table() []metric {
	return slices.Concat(
		processMetrics(), configMetrics(), connMetrics(), listenerMetrics(), poolMetrics(), tlsMetrics(),
		backendMetrics(),
		tableMetrics(), keyMetrics(), probeMetrics(), clusterMetrics(), replicationMetrics(), stateMetrics(),
		timeMetrics(),
	)
}

func processMetrics() []metric {
	process := things[Source]{visit: func(s *sample, each visitor[Source]) { each(s.src) }}
	places := things[Source]{[]string{"pool", "listener"}, process.visit}
	return []metric{
		several(gauges, process, "homing_build_info", "version", func(s *Source, out emit) { out(1, s.Version) },
			"Always 1; the version is the label."),
		gauge(process, "homing_ready", func(s *Source) float64 { return bit(s.Unready() == "") },
			"1 while conns are welcome, as /readyz says; 0 while draining and while no backend could have them."),
		several(gauges, places, "homing_shortage", "cause", func(s *Source, out emit) {
			for _, one := range s.Shortages() {
				out(1, one.Pool, one.Listener, one.Cause)
			}
		}, "1 for each thing that clients are refused for or kept waiting for, while it lasts and a minute "+
			"longer: the log, homing status and the page say what to do."),
		counter(process, "homing_log_dropped_total", func(s *Source) uint64 { return s.LogLost() },
			"Lines of the log, those of conns among them, that were not written: whoever reads it was too slow, "+
				"or not there."),
	}
}

// ConfigState is what is known of the configuration that holds.
type ConfigState struct {
	Hash             string    // tells it from others
	Since            time.Time // when it was taken over; the start, or the last reload
	Applied, Refused uint64    // reloads
}

// configMetrics say which configuration holds, and what became of reloads.
func configMetrics() []metric {
	config := things[ConfigState]{visit: func(s *sample, each visitor[ConfigState]) {
		state := s.src.Config()
		each(&state)
	}}
	return []metric{
		several(gauges, config, "homing_config_info", "hash", func(c *ConfigState, out emit) { out(1, c.Hash) },
			"Always 1; the label tells the configuration that holds from others."),
		gauge(config, "homing_config_timestamp_seconds", func(c *ConfigState) float64 { return unixSeconds(c.Since) },
			"When it was taken over, at the start or by the last reload, in Unix time."),
		several(counters, config, "homing_reloads_total", "result", func(c *ConfigState, out emit) {
			out(float64(c.Applied), "applied")
			out(float64(c.Refused), "refused")
		}, "Reloads; a refused one has changed nothing."),
	}
}

func connMetrics() []metric {
	type stats = balancer.Stats
	node := things[stats]{visit: func(s *sample, each visitor[stats]) { each(&s.balancer) }}
	elder := things[uint64]{visit: func(s *sample, each visitor[uint64]) {
		if _, conns, ok := s.src.Elder(); ok {
			each(&conns)
		}
	}}
	return []metric{
		counter(node, "homing_conns_accepted_total", func(s *stats) uint64 { return s.Accepted },
			"Conns accepted from clients."),
		gauge(node, "homing_conns_open", func(s *stats) uint64 { return s.Open },
			"Conns open now."),
		gauge(elder, "homing_elder_conns_open", func(conns *uint64) uint64 { return *conns },
			"Conns of the process that this one took over from and that still drains; only while it does. They "+
				"are in no other metric."),
		counter(node, "homing_conns_shed_total", func(s *stats) uint64 { return s.Shed },
			"Conns given up before their hello was whole, for want of buffer memory."),
		counter(node, "homing_conns_unroutable_total", func(s *stats) uint64 { return s.Unroutable },
			"Conns that no backend took."),
		gauge(node, "homing_pre_hello_conns", func(s *stats) uint64 { return s.PreHello },
			"Conns without a whole hello now."),
		gauge(node, "homing_handshakes", func(s *stats) uint64 { return s.Handshakes },
			"Conns in their handshake now."),
		gauge(node, "homing_buffer_bytes", func(s *stats) uint64 { return s.BufferBytes },
			"Memory in use by partial hellos, held answers and unsent rests."),
		gauge(node, "homing_conn_bytes", func(s *stats) uint64 { return s.ConnBytes },
			"Memory that conns and handshakes take, as --memory-limit counts it, without buffers."),
		several(counters, node, "homing_relayed_bytes_total", "direction", func(s *stats, out emit) {
			out(float64(s.BytesIn), "in")
			out(float64(s.BytesOut), "out")
		}, "Bytes received: in from clients, out from backends."),
		counter(node, "homing_spliced_bytes_total", func(s *stats) uint64 { return s.Spliced },
			"Bytes of both directions that were moved by splice."),
		counter(node, "homing_connects_total", func(s *stats) uint64 { return s.Connects },
			"Connects to backends that were tried."),
		counter(node, "homing_connect_failures_total", func(s *stats) uint64 { return s.ConnectFailures },
			"Of them, refused, unreachable, forbidden or timed out."),
		counter(node, "homing_connect_timeouts_total", func(s *stats) uint64 { return s.ConnectTimeouts },
			"Of these, timed out: the backend does not accept as fast as clients come, or is gone."),
		counter(node, "homing_replays_total", func(s *stats) uint64 { return s.Replays },
			"Connects to another backend because one had failed."),
		counter(node, "homing_second_chances_total", func(s *stats) uint64 { return s.SecondChances },
			"Connects to another backend because of the first one's answer."),
		counter(node, "homing_second_chances_denied_total", func(s *stats) uint64 { return s.NoBudget },
			"Those that the budget forbade."),
		counter(node, "homing_port_shortages_total", func(s *stats) uint64 { return s.NoPorts },
			"Connects without a free source port (EADDRNOTAVAIL)."),
		counter(node, "homing_file_shortages_total", func(s *stats) uint64 { return s.NoAccepts + s.NoDescriptors },
			"Accepts and connects without a free file descriptor (EMFILE, ENFILE)."),
		counter(node, "homing_socket_failures_total", func(s *stats) uint64 { return s.NoSockets },
			"Connects that this machine could not make for another reason: no memory, or a source address that it "+
				"may not use."),
		counter(node, "homing_handshake_timeouts_total", func(s *stats) uint64 { return s.HandshakeTimeouts },
			"Conns reset because their TLS handshake was not over in time."),
		gauge(node, "homing_conns_limit", func(s *stats) int { return s.Limits.MaxConns },
			"Bound of homing_conns_open; 0: none."),
		gauge(node, "homing_pre_hello_limit_conns", func(s *stats) int { return s.Limits.MaxPreHello },
			"Bound of homing_pre_hello_conns; 0: none."),
		gauge(node, "homing_buffer_limit_bytes", func(s *stats) int64 { return s.Limits.BufferMemory },
			"Bound of homing_buffer_bytes."),
		gauge(node, "homing_conn_limit_bytes", func(s *stats) int64 { return s.Limits.ConnMemory },
			"Bound of homing_conn_bytes, which --memory-limit leaves; 0: none."),
		gauge(node, "homing_client_limit_conns", func(s *stats) int { return s.Limits.Clients.MaxConns },
			"Conns that one network of clients may have open; 0: any number."),
		gauge(node, "homing_client_limit_rate", func(s *stats) float64 { return s.Limits.Clients.Rate },
			"New conns a second that one network of clients may open; 0: any number."),
		counter(node, "homing_conn_log_dropped_total", func(s *stats) uint64 { return s.RecordsDropped },
			"Lines of the conn log that could not be written in time."),
		several(counters, node, "homing_terminations_total", "code", func(s *stats, out emit) {
			for cause := range balancer.NumCauses {
				for phase := range balancer.NumPhases {
					out(float64(s.Terminations[cause][phase]),
						balancer.Termination{Cause: cause, Phase: phase}.String())
				}
			}
		}, "Ends of conns by the two letters of the log: cause and phase."),
	}
}

func tlsMetrics() []metric {
	type stats = balancer.Stats
	node := things[stats]{visit: func(s *sample, each visitor[stats]) { each(&s.balancer) }}
	verdicts := things[stats]{[]string{"offer"}, node.visit}
	return []metric{
		byWord(node, "homing_hellos_total", "outcome", balancer.HelloOutcome(0), func(s *stats) []uint64 { return s.Hellos[:] },
			"What the clients' first bytes were."),
		byWord(node, "homing_offers_total", "offer", affinity.OfferNone, func(s *stats) []uint64 { return s.Offers[:] },
			"ClientHellos by what they offer to resume; none: fresh."),
		byWord(node, "homing_routes_total", "source", affinity.Source(0), func(s *stats) []uint64 { return s.Decisions[:] },
			"Conns by what named their backend."),
		several(counters, verdicts, "homing_verdicts_total", "verdict", func(s *stats, out emit) {
			for offer := affinity.OfferNone + 1; offer < affinity.NumOfferKinds; offer++ {
				out.words(words(balancer.VerdictNone+1, s.Verdicts[offer][:]), offer.String())
			}
		}, "What the backends answered, by what was offered."),
		several(counters, node, "homing_issues_total", "offer", func(s *stats, out emit) {
			out(float64(s.IssuedIDs), affinity.OfferID.String())
			out(float64(s.IssuedTickets), affinity.OfferTicket.String())
		}, "Session IDs and tickets learned from the backends that issued them."),
		byWord(node, "homing_lost_total", "reason", balancer.LostNone+1, func(s *stats) []uint64 { return s.Lost[:] },
			"Offers refused, or not routable to their home, by reason."),
	}
}

// listenerMetrics say what came to each listener, and what its rules refused.
func listenerMetrics() []metric {
	type stats = balancer.ListenerStats
	listeners := things[stats]{[]string{"listener"}, func(s *sample, each visitor[stats]) {
		for i := range s.balancer.Listeners {
			each(&s.balancer.Listeners[i], s.balancer.Listeners[i].Name)
		}
	}}
	return []metric{
		counter(listeners, "homing_listener_conns_accepted_total", func(l *stats) uint64 { return l.Accepted },
			"Conns accepted from clients, by listener."),
		gauge(listeners, "homing_listener_conns_open", func(l *stats) uint64 { return l.Open },
			"Conns open now, by listener."),
		gauge(listeners, "homing_listener_limit_conns", func(l *stats) int { return l.MaxConns },
			"Bound of homing_listener_conns_open; 0: none."),
		several(counters, listeners, "homing_listener_held_seconds_total", "reason", func(l *stats, out emit) {
			for why := range balancer.NumHolds {
				out(l.Held[why].Seconds(), why.String())
			}
		}, "Time in which clients were left waiting in the kernel's queue of a listener, because it, the node, or "+
			"the memory for conns was full; the sum of all loops."),
		byWord(listeners, "homing_listener_refused_total", "reason", balancer.RefusedNone+1, func(l *stats) []uint64 { return l.Refused[:] },
			"Conns closed by the rules of a listener: no route and no default pool, no TLS where it must be, a wrong "+
				"PROXY header, a limit of clients, of conns without a hello or of memory."),
	}
}

// countedPools are the pools as the loops have counted them.
func countedPools() things[balancer.PoolStats] {
	return things[balancer.PoolStats]{[]string{"pool"}, func(s *sample, each visitor[balancer.PoolStats]) {
		for i := range s.balancer.Pools {
			each(&s.balancer.Pools[i], s.balancer.Pools[i].Name)
		}
	}}
}

// poolMetrics say whether stickiness works in each pool.
func poolMetrics() []metric {
	type stats = balancer.PoolStats
	pools := countedPools()
	configured := things[pool.Pool]{pools.labels, func(s *sample, each visitor[pool.Pool]) {
		for _, p := range s.src.Pools() {
			each(p, p.Name())
		}
	}}
	return []metric{
		counter(pools, "homing_pool_conns_total", func(p *stats) uint64 { return p.Routed },
			"Conns that came into a pool."),
		gauge(pools, "homing_pool_conns_open", func(p *stats) uint64 { return p.Open },
			"Conns open now, by pool."),
		counter(pools, "homing_pool_conns_unroutable_total", func(p *stats) uint64 { return p.Unroutable },
			"Conns that no backend of the pool took."),
		counter(pools, "homing_pool_connect_failures_total", func(p *stats) uint64 { return p.ConnectFailures },
			"Connects to backends of the pool that were refused, unreachable, forbidden or timed out."),
		counter(pools, "homing_pool_connect_timeouts_total", func(p *stats) uint64 { return p.ConnectTimeouts },
			"Of them, timed out."),
		gauge(pools, "homing_pool_queue_conns", func(p *stats) uint64 { return p.Waiting },
			"Conns that wait for a backend of the pool with room now."),
		gauge(configured, "homing_pool_queue_limit_conns",
			func(p *pool.Pool) int { return max(0, p.Snapshot().Options().Queue) },
			"Conns that may wait so."),
		counter(pools, "homing_pool_queued_total", func(p *stats) uint64 { return p.Queued },
			"Conns that have waited so."),
		counter(pools, "homing_pool_queue_seconds_total", func(p *stats) float64 { return p.QueueTime.Seconds() },
			"Time that conns have waited so, together."),
		counter(pools, "homing_pool_queue_timeouts_total", func(p *stats) uint64 { return p.QueueTimeouts },
			"Conns reset because they had waited as long as they may."),
		counter(pools, "homing_pool_queue_full_total", func(p *stats) uint64 { return p.QueueFull },
			"Conns reset because as many waited as may."),
		counter(pools, "homing_pool_excess_answers_total", func(p *stats) uint64 { return p.Excess },
			"Answers of backends that went on in clear beyond a handshake, a second session ticket or 512 KiB: "+
				"passed on, and nothing more learned."),
		byWord(pools, "homing_pool_offers_total", "offer", affinity.OfferNone, func(p *stats) []uint64 { return p.Offers[:] },
			"ClientHellos by what they offer to resume, by pool."),
		byWord(pools, "homing_pool_routes_total", "source", affinity.Source(0), func(p *stats) []uint64 { return p.Decisions[:] },
			"Conns by what named their backend, by pool."),
		several(counters, pools, "homing_pool_verdicts_total", "verdict", func(p *stats, out emit) {
			for verdict := balancer.VerdictNone + 1; verdict < balancer.NumVerdicts; verdict++ {
				sum := uint64(0)
				for offer := range p.Verdicts {
					sum += p.Verdicts[offer][verdict]
				}
				out(float64(sum), verdict.String())
			}
		}, "What the backends of a pool answered to offers."),
		byWord(pools, "homing_pool_lost_total", "reason", balancer.LostNone+1, func(p *stats) []uint64 { return p.Lost[:] },
			"Offers refused, or not routable to their home, by pool."),
	}
}

// timeMetrics say how long conns take.
func timeMetrics() []metric {
	type stats = balancer.PoolStats
	pools := countedPools()
	return []metric{
		histogram(pools, "homing_pool_connect_seconds", func(p *stats) *balancer.Histogram { return &p.ConnectTimes },
			"From a hello, without its time in the queue, until a backend has it: of conns that got one."),
		histogram(pools, "homing_pool_answer_seconds", func(p *stats) *balancer.Histogram { return &p.AnswerTimes },
			"From there until the backend's first byte: of conns whose hello was read."),
	}
}
