//go:build linux

package logref

import (
	"context"
	"log/slog"
	"net/netip"

	"homing/balancer"
	"homing/balancer/netaddr"
)

// LogConn writes the one line of a conn. Durations are in seconds in both formats, so that one filter reads them.
func LogConn(log *slog.Logger, r *balancer.ConnRecord) {
	log.LogAttrs(context.Background(), slog.LevelInfo, "conn",
		slog.Time("start", r.Start),
		slog.String("client", clientOf(r.Client)),
		slog.String("listener", r.Listener),
		slog.String("pool", r.Pool),
		slog.String("sni", r.SNI),
		slog.String("backend", backendOf(r.Backend)),
		slog.String("hello", r.Hello.String()),
		slog.String("offer", r.Offer.String()),
		slog.String("source", r.Source.String()),
		slog.String("verdict", r.Verdict.String()),
		slog.String("lost", r.Lost.String()),
		slog.Uint64("bytes_in", r.BytesIn),
		slog.Uint64("bytes_out", r.BytesOut),
		slog.Float64("hello_seconds", r.HelloTime.Seconds()),
		slog.Float64("queue_seconds", r.QueueTime.Seconds()),
		slog.Float64("connect_seconds", r.ConnectTime.Seconds()),
		slog.Float64("answer_seconds", r.AnswerTime.Seconds()),
		slog.Float64("total_seconds", r.Total.Seconds()),
		slog.Int("tries", r.Tries),
		slog.String("connect_error", r.ConnectErr),
		slog.String("refused", r.Refused.String()),
		slog.String("termination", r.Termination.String()),
	)
}

// clientOf writes unix: for one without an address, which came by a unix socket.
func clientOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return netaddr.Prefix
	}
	return a.String()
}

// backendOf writes nothing where there is none.
func backendOf(a netaddr.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
