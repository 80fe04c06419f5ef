package admin

import (
	"strconv"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
)

func backendMetrics() []metric {
	type backend = pool.Backend
	backends := things[backend]{[]string{"pool", "backend"}, func(s *sample, each visitor[backend]) {
		for _, p := range s.src.Pools() {
			for _, b := range p.Snapshot().All() {
				each(b, p.Name(), b.Addr.String())
			}
		}
	}}
	return []metric{
		gauge(backends, "homing_backend_up", func(b *backend) float64 { return bit(b.Up()) },
			"1, or 0 when marked down."),
		gauge(backends, "homing_backend_draining", func(b *backend) float64 { return float64(b.Draining()) },
			"0 in service, 1 soft (resumptions only), 2 hard (no conns)."),
		gauge(backends, "homing_backend_weight", func(b *backend) int { return b.Weight() },
			"Share of fresh handshakes relative to the others."),
		gauge(backends, "homing_backend_fresh_share", func(b *backend) float64 { return float64(b.FreshShare()) / 100 },
			"Part of the weight that counts for fresh handshakes: 1, and less while the backend starts slowly."),
		gauge(backends, "homing_backend_limit_conns", func(b *backend) int { return b.MaxConns() },
			"Bound of the conns open to the backend; 0: none."),
		gauge(backends, "homing_backend_conns_open", func(b *backend) int { return b.Open() },
			"Conns open to the backend now."),
		gauge(backends, "homing_backend_connect_failures", func(b *backend) int { return b.Failures() },
			"Connects that failed since the last that succeeded."),
		counter(backends, "homing_backend_conns_total", func(b *backend) uint64 { return b.Tally().Conns },
			"Conns that reached the backend."),
		counter(backends, "homing_backend_fresh_total", func(b *backend) uint64 { return b.Tally().Fresh },
			"Of them, those that offered nothing to resume."),
		several(counters, backends, "homing_backend_offers_total", "verdict", func(b *backend, out emit) {
			t := b.Tally()
			out(float64(t.Accepted), balancer.VerdictAccepted.String())
			out(float64(t.Refused), balancer.VerdictRefused.String())
		}, "Offers that the backend resumed, or answered with a full handshake."),
		counter(backends, "homing_backend_lost_total", func(b *backend) uint64 { return b.Tally().Lost },
			"Offers of the backend's own that were not resumed."),
		several(counters, backends, "homing_backend_checks_total", "result", func(b *backend, out emit) {
			t := b.Tally()
			out(float64(t.Passed), "passed")
			out(float64(t.Failed), "failed")
		}, "Checks of the backend, by what they came to; three in a row that fail mark it down by default."),
		several(counters, backends, "homing_backend_bytes_total", "direction", func(b *backend, out emit) {
			t := b.Tally()
			out(float64(t.BytesIn), "in")
			out(float64(t.BytesOut), "out")
		}, "Bytes relayed: in to the backend, out from it; of an open conn every 64 KiB."),
	}
}

func tableMetrics() []metric {
	type table = affinity.TableStats
	tables := things[table]{[]string{"table"}, func(s *sample, each visitor[table]) {
		each(&s.affinity.Entries, "sessions")
		each(&s.affinity.Clients, "clients")
		each(&s.affinity.Refusals, "refusals")
		each(&s.affinity.Hints, "hints")
	}}
	type share = affinity.ShareStats
	parts := things[share]{[]string{"table", "pool"}, func(s *sample, each visitor[share]) {
		names := poolNames(s.src.Pools())
		for i := range s.affinity.Pools {
			p := &s.affinity.Pools[i]
			if name := names[p.Hash]; name != "" { // other nodes' pools are in the tables too
				each(&p.Entries, "sessions", name)
				each(&p.Clients, "clients", name)
			}
		}
	}}
	all := things[affinity.Stats]{visit: func(s *sample, each visitor[affinity.Stats]) { each(&s.affinity) }}
	return []metric{
		gauge(tables, "homing_table_entries", func(t *table) int { return t.Used },
			"Live entries; an estimate in large tables."),
		gauge(tables, "homing_table_capacity_entries", func(t *table) int { return t.Capacity },
			"Entries the table is made for."),
		gauge(tables, "homing_table_bytes", func(t *table) int { return t.Bytes },
			"Memory that the table uses: it grows as it fills, up to 27 bytes for each entry it is made for."),
		counter(tables, "homing_table_inserts_total", func(t *table) uint64 { return t.Inserts },
			"Entries written."),
		counter(tables, "homing_table_evictions_total", func(t *table) uint64 { return t.Evicted },
			"Live entries that gave way to new ones: the table is too small."),
		gauge(parts, "homing_table_pool_entries", func(t *share) int { return t.Held },
			"Each pool's part of the tables of sessions and clients; entries that have expired count for some "+
				"minutes."),
		counter(parts, "homing_table_pool_evictions_total", func(t *share) uint64 { return t.Evicted },
			"Live entries of a pool that gave way, and new ones that found no place: it held more than the others."),
		counter(all, "homing_evidence_dropped_total", func(s *affinity.Stats) uint64 { return s.Overflow },
			"Pieces of evidence on ticket keys that came faster than they could be weighed."),
	}
}

func keyMetrics() []metric {
	type stats = affinity.PoolStats
	pools := things[stats]{[]string{"pool"}, func(s *sample, each visitor[stats]) {
		names := poolNames(s.src.Pools())
		for i := range s.affinity.Pools {
			each(&s.affinity.Pools[i], names[s.affinity.Pools[i].Hash])
		}
	}}
	return []metric{
		several(gauges, pools, "homing_ticket_keys", "length", func(p *stats, out emit) {
			for i, n := range p.Keys {
				out(float64(n), strconv.Itoa(affinity.PrefixLen(i)))
			}
		}, "Ticket keys with a home, by the bytes of their name."),
		gauge(pools, "homing_ticket_keys_shared", func(p *stats) int { return p.Shared },
			"Of them, with several backends as their home."),
		gauge(pools, "homing_ticket_keys_doubtful", func(p *stats) int { return p.Doubtful },
			"Of them, with a backend that has only refused lately."),
	}
}

// probeMetrics are one series per backend, or per backend and TLS version. Where a backend was probed under several
// server names, the one that fares worst speaks: names come from clients, and make poor labels.
func probeMetrics() []metric {
	type findings = health.Findings
	type version = health.VersionFinding
	backends := things[findings]{[]string{"pool", "backend"}, func(s *sample, each visitor[findings]) {
		for i := range s.probe {
			each(&s.probe[i], s.probe[i].Pool.Name(), s.probe[i].Backend.Addr.String())
		}
	}}
	versions := things[version]{[]string{"pool", "backend", "version"}, func(s *sample, each visitor[version]) {
		backends.visit(s, func(f *findings, labels ...string) {
			for _, v := range f.Worst() {
				each(&v, labels[0], labels[1], health.VersionName(v.Version))
			}
		})
	}}
	handshakes := things[findings]{versions.labels, backends.visit}
	return []metric{
		gauge(backends, "homing_probe_last_success_timestamp_seconds",
			func(f *findings) float64 { return unixSeconds(f.Success) },
			"When a probe last shook hands with the backend, in Unix time; 0: never."),
		several(counters, handshakes, "homing_probe_handshakes_total", "result", func(f *findings, out emit) {
			for h, n := range f.Handshakes {
				out(float64(n), health.VersionName(h.Version), h.Result.String())
			}
		}, "Handshakes of probes; refused: a session was offered where it was issued, and not resumed."),
		gauge(versions, "homing_probe_tickets", func(v *version) int { return v.Tickets },
			"Tickets that the last probe got, for two sessions or three."),
		gauge(versions, "homing_probe_resumption_works", func(v *version) float64 { return bit(v.Resumed) },
			"1 if the backend resumes its own sessions by ticket or identity, else 0."),
		several(gauges, versions, "homing_probe_nameless", "", func(v *version, out emit) {
			if v.Tickets > 0 {
				out(bit(v.Key.Len == 0))
			}
		}, "1 if nothing in the backend's tickets names their key, else 0."),
		several(gauges, versions, "homing_probe_ticket_lifetime_seconds", "", func(v *version, out emit) {
			if v.Lifetime > 0 {
				out(v.Lifetime.Seconds())
			}
		}, "Lifetime that the backend gives its TLS 1.3 tickets."),
		several(gauges, backends, "homing_probe_ticket_key_age_seconds", "", func(f *findings, out emit) {
			if since, ok := f.OldestKey(); ok {
				out(max(0, time.Since(since).Seconds()))
			}
		}, "How long the oldest ticket key in use has been known: forward secrecy ends with it."),
		several(gauges, versions, "homing_probe_ticket_key_backends", "", func(v *version, out emit) {
			if v.Key.Len > 0 {
				out(float64(len(v.Key.Homes)))
			}
		}, "Backends that hold the same ticket key, this one included."),
		counter(backends, "homing_probe_ticket_key_changes_total", func(f *findings) uint64 { return f.KeyChanges },
			"Probes that found a new ticket key in the place of a known one."),
	}
}

// unixSeconds is a time for a metric, 0: never.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
