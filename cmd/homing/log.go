package main

import (
	"io"
	"log/slog"
)

type logFormat uint8

const (
	logText logFormat = iota
	logJSON
	logOff
)

func newLogger(w io.Writer, format logFormat, level slog.Level) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level}
	switch format {
	case logText:
		return slog.New(slog.NewTextHandler(w, opt))
	case logJSON:
		return slog.New(slog.NewJSONHandler(w, opt))
	case logOff:
	}
	return slog.New(slog.DiscardHandler)
}
