package main

import (
	"io"
	"log/slog"

	"homing/cmd/homing/internal/value"
)

// newLogger logs what level says at the time.
func newLogger(w io.Writer, format value.LogFormat, level slog.Leveler) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level}
	switch format {
	case value.LogText:
		return slog.New(slog.NewTextHandler(w, opt))
	case value.LogJSON:
		return slog.New(slog.NewJSONHandler(w, opt))
	case value.LogOff:
	}
	return slog.New(slog.DiscardHandler)
}
