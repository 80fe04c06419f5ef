package admin

import (
	"homing/balancer"
	"homing/balancer/affinity"
)

// listenerMetrics say what came to each listener, and what its rules refused.
func listenerMetrics() []metric {
	each := func(read func(l *balancer.ListenerStats, out emit)) func(*sample, emit) {
		return func(s *sample, out emit) {
			for i := range s.balancer.Listeners {
				read(&s.balancer.Listeners[i], out)
			}
		}
	}
	labels := []string{"listener"}
	return []metric{
		{"homing_listener_conns_accepted_total", counter, labels, "Conns accepted from clients, by listener.", each(func(l *balancer.ListenerStats, out emit) {
			out(float64(l.Accepted), l.Name)
		})},
		{"homing_listener_conns_open", gauge, labels, "Conns open now, by listener.", each(func(l *balancer.ListenerStats, out emit) {
			out(float64(l.Open), l.Name)
		})},
		{"homing_listener_limit_conns", gauge, labels, "Bound of homing_listener_conns_open; 0: none.", each(func(l *balancer.ListenerStats, out emit) {
			out(float64(l.MaxConns), l.Name)
		})},
		{"homing_listener_held_seconds_total", counter, []string{"listener", "reason"}, "Time in which clients were left waiting in the kernel's queue of a listener, because it, the node, or the memory for conns was full; the sum of all loops.", each(func(l *balancer.ListenerStats, out emit) {
			for why := range balancer.NumHolds {
				out(l.Held[why].Seconds(), l.Name, why.String())
			}
		})},
		{"homing_listener_refused_total", counter, []string{"listener", "reason"}, "Conns closed by the rules of a listener: no route and no default pool, no TLS where it must be, a wrong PROXY header, a limit of clients, of conns without a hello or of memory.", each(func(l *balancer.ListenerStats, out emit) {
			for reason := balancer.RefusedNone + 1; reason < balancer.NumRefusals; reason++ {
				out(float64(l.Refused[reason]), l.Name, reason.String())
			}
		})},
	}
}

// poolMetrics say whether stickiness works in each pool.
func poolMetrics() []metric {
	each := func(read func(p *balancer.PoolStats, out emit)) func(*sample, emit) {
		return func(s *sample, out emit) {
			for i := range s.balancer.Pools {
				read(&s.balancer.Pools[i], out)
			}
		}
	}
	labels := []string{"pool"}
	return []metric{
		{"homing_pool_conns_total", counter, labels, "Conns that came into a pool.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Routed), p.Name) })},
		{"homing_pool_conns_open", gauge, labels, "Conns open now, by pool.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Open), p.Name) })},
		{"homing_pool_conns_unroutable_total", counter, labels, "Conns that no backend of the pool took.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Unroutable), p.Name) })},
		{"homing_pool_connect_failures_total", counter, labels, "Connects to backends of the pool that were refused, unreachable, forbidden or timed out.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.ConnectFailures), p.Name) })},
		{"homing_pool_connect_timeouts_total", counter, labels, "Of them, timed out.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.ConnectTimeouts), p.Name) })},
		{"homing_pool_queue_conns", gauge, labels, "Conns that wait for a backend of the pool with room now.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Waiting), p.Name) })},
		{"homing_pool_queue_limit_conns", gauge, labels, "Conns that may wait so.", func(s *sample, out emit) {
			for _, p := range s.src.Pools() {
				out(float64(max(p.Snapshot().Options().Queue, 0)), p.Name())
			}
		}},
		{"homing_pool_queued_total", counter, labels, "Conns that have waited so.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Queued), p.Name) })},
		{"homing_pool_queue_seconds_total", counter, labels, "Time that conns have waited so, together.", each(func(p *balancer.PoolStats, out emit) { out(p.QueueTime.Seconds(), p.Name) })},
		{"homing_pool_queue_timeouts_total", counter, labels, "Conns reset because they had waited as long as they may.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.QueueTimeouts), p.Name) })},
		{"homing_pool_queue_full_total", counter, labels, "Conns reset because as many waited as may.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.QueueFull), p.Name) })},
		{"homing_pool_excess_answers_total", counter, labels, "Answers of backends that went on in clear beyond a handshake, a second session ticket or 512 KiB: passed on, and nothing more learned.", each(func(p *balancer.PoolStats, out emit) { out(float64(p.Excess), p.Name) })},
		{"homing_pool_offers_total", counter, []string{"pool", "offer"}, "ClientHellos by what they offer to resume, by pool.", each(func(p *balancer.PoolStats, out emit) {
			for offer, n := range p.Offers {
				out(float64(n), p.Name, affinity.OfferKind(offer).String())
			}
		})},
		{"homing_pool_routes_total", counter, []string{"pool", "source"}, "Conns by what named their backend, by pool.", each(func(p *balancer.PoolStats, out emit) {
			for source, n := range p.Routes {
				out(float64(n), p.Name, affinity.Source(source).String())
			}
		})},
		{"homing_pool_verdicts_total", counter, []string{"pool", "verdict"}, "What the backends of a pool answered to offers.", each(func(p *balancer.PoolStats, out emit) {
			for verdict := balancer.VerdictNone + 1; verdict < balancer.NumVerdicts; verdict++ {
				sum := uint64(0)
				for offer := range p.Verdicts {
					sum += p.Verdicts[offer][verdict]
				}
				out(float64(sum), p.Name, verdict.String())
			}
		})},
		{"homing_pool_lost_total", counter, []string{"pool", "reason"}, "Offers refused, or not routable to their home, by pool.", each(func(p *balancer.PoolStats, out emit) {
			for reason, n := range p.Lost {
				if lost := balancer.Lost(reason); lost != balancer.LostNone {
					out(float64(n), p.Name, lost.String())
				}
			}
		})},
	}
}

// histograms say how long conns take.
func histograms() []histogram {
	each := func(of func(p *balancer.PoolStats) *balancer.Histogram) func(*sample, emitTimes) {
		return func(s *sample, out emitTimes) {
			for i := range s.balancer.Pools {
				out(of(&s.balancer.Pools[i]), s.balancer.Pools[i].Name)
			}
		}
	}
	labels := []string{"pool"}
	return []histogram{
		{"homing_pool_connect_seconds", labels, "From a hello, without its time in the queue, until a backend has it: of conns that got one.", each(func(p *balancer.PoolStats) *balancer.Histogram { return &p.ConnectTimes })},
		{"homing_pool_answer_seconds", labels, "From there until the backend's first byte: of conns whose hello was read.", each(func(p *balancer.PoolStats) *balancer.Histogram { return &p.AnswerTimes })},
	}
}
