package admin

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

func (s *Server) reload(r *http.Request, _ *api.Empty) (api.Done, error) {
	return done("the configuration was read again", "nothing has changed", s.src.Reload(r.Context()))
}

func (s *Server) upgrade(r *http.Request, _ *api.Empty) (api.Done, error) {
	return done("another process has taken over", "the old process goes on", s.src.Upgrade(r.Context()))
}

// done says that something is, or that it is not, and why.
func done(is, not string, err error) (api.Done, error) {
	if err != nil {
		return api.Done{}, refusef(http.StatusConflict, "%s: %s", not, oneLine(err.Error()))
	}
	return api.Done{Done: is}, nil
}

func (s *Server) logLevel(*http.Request) (api.LogLevel, error) {
	return api.LogLevel{Level: s.level()}, nil
}

func (s *Server) level() string { return strings.ToLower(s.src.LogLevel.Level().String()) }

func (s *Server) setLogLevel(_ *http.Request, in *api.LogLevel) (api.LogLevel, error) {
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[in.Level]
	if !ok {
		return api.LogLevel{}, refusef(http.StatusBadRequest, "level %.20q is none of debug, info, warn and error",
			in.Level)
	}
	s.src.LogLevel.Set(level)
	s.log.Info("log level", slog.String("level", in.Level))
	return api.LogLevel{Level: s.level()}, nil
}

// command passes on what only who has the node key can have sealed.
func (s *Server) command(r *http.Request, in *api.SealedCommand) (api.CommandAnswers, error) {
	if s.src.Command == nil {
		return api.CommandAnswers{}, refusef(http.StatusConflict,
			"the node is in no cluster: it runs without --cluster-bind")
	}
	answers, err := s.src.Command(r.Context(), in.Sealed)
	switch {
	case errors.Is(err, cluster.ErrCommand):
		return api.CommandAnswers{}, refusef(http.StatusForbidden, "%s", oneLine(err.Error()))
	case err != nil:
		return api.CommandAnswers{}, refusef(http.StatusConflict, "%s", oneLine(err.Error()))
	}
	return api.CommandAnswers{Nodes: s.named(mergeAnswers([]api.NodeAnswer{}, answers))}, nil
}
