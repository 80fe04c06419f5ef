// Package logging is how a process says what happens. Nobody who logs ever waits for, or fails with, whoever reads it.
package logging

import (
	"bytes"
	"io"
	"log/slog"

	"homing/cmd/homing/internal/value"
)

// Logs is where a process says what happens. None of it ever waits for whoever reads it.
type Logs struct {
	*slog.Logger

	Conns   *slog.Logger  // lines of conns, which give way to the others
	Dropped func() uint64 // lines that were not written
	Out     io.Writer     // where all of it goes; for lines that are made already
}

// New logs what level says at the time. A w that is a Queue is told how to say that lines are missing.
func New(w io.Writer, format value.LogFormat, level slog.Leveler) *Logs {
	q, ok := w.(*Queue)
	if !ok {
		log := newLogger(w, format, level)
		return &Logs{Logger: log, Conns: log, Dropped: func() uint64 { return 0 }, Out: w}
	}
	q.say(func(lines uint64) []byte {
		var line bytes.Buffer
		log := newLogger(&line, format, level)
		log.Warn("lines are missing here: whoever reads this log was too slow, or not there", slog.Uint64("lines", lines))
		return line.Bytes()
	})
	return &Logs{
		Logger: newLogger(q, format, level), Conns: newLogger(q.conns(), format, level),
		Dropped: q.dropped.Load, Out: q,
	}
}

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
