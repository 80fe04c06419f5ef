package admin

import (
	"time"

	"homing/balancer/health"
)

// probeMetrics are one series per backend, or per backend and TLS version. Where a backend was probed under several
// server names, the one that fares worst speaks: names come from clients, and make poor labels.
func probeMetrics() []metric {
	labels := []string{"pool", "backend"}
	versions := []string{"pool", "backend", "version"}
	each := func(value func(f *health.Findings, out func(float64))) func(*sample, emit) {
		return func(s *sample, out emit) {
			for i := range s.probe {
				f := &s.probe[i]
				value(f, func(v float64) { out(v, f.Pool.Name(), f.Backend.Addr.String()) })
			}
		}
	}
	eachVersion := func(value func(v *health.VersionFinding, out func(float64))) func(*sample, emit) {
		return func(s *sample, out emit) {
			for i := range s.probe {
				f := &s.probe[i]
				for _, v := range f.Worst() {
					value(&v, func(x float64) { out(x, f.Pool.Name(), f.Backend.Addr.String(), health.VersionName(v.Version)) })
				}
			}
		}
	}
	return []metric{
		{"homing_probe_last_success_timestamp_seconds", gauge, labels, "When a probe last shook hands with the backend, in Unix time; 0: never.", each(func(f *health.Findings, out func(float64)) {
			if f.Success.IsZero() {
				out(0)
				return
			}
			out(float64(f.Success.UnixMilli()) / 1000)
		})},
		{"homing_probe_handshakes_total", counter, append(versions, "result"), "Handshakes of probes; refused: a session was offered where it was issued, and not resumed.", func(s *sample, out emit) {
			for i := range s.probe {
				f := &s.probe[i]
				for h, n := range f.Handshakes {
					out(float64(n), f.Pool.Name(), f.Backend.Addr.String(), health.VersionName(h.Version), h.Result.String())
				}
			}
		}},
		{"homing_probe_tickets", gauge, versions, "Tickets that the last probe got, for two sessions or three.", eachVersion(func(v *health.VersionFinding, out func(float64)) { out(float64(v.Tickets)) })},
		{"homing_probe_resumption_works", gauge, versions, "1 if the backend resumes its own sessions by ticket or identity, else 0.", eachVersion(func(v *health.VersionFinding, out func(float64)) { out(bit(v.Resumed)) })},
		{"homing_probe_nameless", gauge, versions, "1 if nothing in the backend's tickets names their key, else 0.", eachVersion(func(v *health.VersionFinding, out func(float64)) {
			if v.Tickets > 0 {
				out(bit(v.Key.Len == 0))
			}
		})},
		{"homing_probe_ticket_lifetime_seconds", gauge, versions, "Lifetime that the backend gives its TLS 1.3 tickets.", eachVersion(func(v *health.VersionFinding, out func(float64)) {
			if v.Lifetime > 0 {
				out(v.Lifetime.Seconds())
			}
		})},
		{"homing_probe_ticket_key_age_seconds", gauge, labels, "How long the oldest ticket key in use has been known: forward secrecy ends with it.", each(func(f *health.Findings, out func(float64)) {
			if since, ok := f.OldestKey(); ok {
				out(max(0, time.Since(since).Seconds()))
			}
		})},
		{"homing_probe_ticket_key_backends", gauge, versions, "Backends that hold the same ticket key, this one included.", eachVersion(func(v *health.VersionFinding, out func(float64)) {
			if v.Key.Len > 0 {
				out(float64(len(v.Key.Homes)))
			}
		})},
		{"homing_probe_ticket_key_changes_total", counter, labels, "Probes that found a new ticket key in the place of a known one.", each(func(f *health.Findings, out func(float64)) { out(float64(f.KeyChanges)) })},
	}
}
