//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/admin"
)

// serveAdmin serves operators until ctx is done, where there is an address for it.
func (s *service) serveAdmin(ctx context.Context) {
	if s.admin == nil {
		return
	}
	source := admin.Source{
		Version: version, Stats: s.balancer.Stats, Affinity: s.store.Stats, Probe: s.findings,
		Pools: func() []*pool.Pool { return poolsOf(s.running.Load().pools) },
		Ready: func() bool { return !s.draining.Load() },
	}
	if s.state != nil {
		source.State = s.state.Stats
	}
	if s.cluster != nil {
		source.Cluster, source.Routes = s.cluster.stats, s.cluster.routes()
	}
	server := &http.Server{
		Handler:           admin.Handler(source),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.background.Go(func() {
		if err := server.Serve(s.admin); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin ended", slog.Any("error", err))
		}
	})
	s.background.Go(func() {
		<-ctx.Done()
		server.Close()
	})
}
