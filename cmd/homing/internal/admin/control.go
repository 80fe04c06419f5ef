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
	if s.src.Reload == nil {
		return api.Done{}, refusef(http.StatusConflict, "there is nothing to read again: it runs without --config")
	}
	if err := s.src.Reload(r.Context()); err != nil {
		return api.Done{}, refusef(http.StatusConflict, "nothing has changed: %s", oneLine(err.Error()))
	}
	return api.Done{Done: "the configuration was read again"}, nil
}

func (s *Server) upgrade(r *http.Request, _ *api.Empty) (api.Done, error) {
	if s.src.Upgrade == nil {
		return api.Done{}, refusef(http.StatusConflict, "this homing cannot hand over to another process")
	}
	if err := s.src.Upgrade(r.Context()); err != nil {
		return api.Done{}, refusef(http.StatusConflict, "the old process goes on: %s", oneLine(err.Error()))
	}
	return api.Done{Done: "another process has taken over"}, nil
}

func (s *Server) logLevel(*http.Request) (api.LogLevel, error) {
	return api.LogLevel{Level: s.level()}, nil
}

func (s *Server) level() string {
	if s.src.LogLevel == nil {
		return "off"
	}
	return strings.ToLower(s.src.LogLevel.Level().String())
}

func (s *Server) setLogLevel(_ *http.Request, in *api.LogLevel) (api.LogLevel, error) {
	if s.src.LogLevel == nil {
		return api.LogLevel{}, refusef(http.StatusConflict, "nothing is logged: it runs with --log=off")
	}
	level, ok := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[in.Level]
	if !ok {
		return api.LogLevel{}, refusef(http.StatusBadRequest, "level %.20q is none of debug, info, warn and error", in.Level)
	}
	s.src.LogLevel.Set(level)
	s.log.Info("log level", slog.String("level", in.Level))
	return api.LogLevel{Level: s.level()}, nil
}

// command passes on what only who has the node key can have sealed.
func (s *Server) command(r *http.Request, in *api.SealedCommand) (api.CommandAnswers, error) {
	if s.src.Command == nil {
		return api.CommandAnswers{}, refusef(http.StatusConflict, "the node is in no cluster: it runs without --cluster-bind")
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
