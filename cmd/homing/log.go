package main

import (
	"bytes"
	"io"
	"log/slog"

	"homing/cmd/homing/internal/value"
)

// logs is where a process says what happens. None of it ever waits for whoever reads it.
type logs struct {
	*slog.Logger

	conns   *slog.Logger  // lines of conns, which give way to the others
	dropped func() uint64 // lines that were not written
	out     io.Writer     // where all of it goes; for lines that are made already
}

// newLogs logs what level says at the time. A w that is a logQueue is told how to say that lines are missing.
func newLogs(w io.Writer, format value.LogFormat, level slog.Leveler) *logs {
	q, ok := w.(*logQueue)
	if !ok {
		log := newLogger(w, format, level)
		return &logs{Logger: log, conns: log, dropped: func() uint64 { return 0 }, out: w}
	}
	q.say(func(lines uint64) []byte {
		var line bytes.Buffer
		newLogger(&line, format, level).Warn("lines are missing here: whoever reads this log was too slow, or not there", slog.Uint64("lines", lines))
		return line.Bytes()
	})
	return &logs{Logger: newLogger(q, format, level), conns: newLogger(q.forConns(), format, level), dropped: q.dropped.Load, out: q}
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
