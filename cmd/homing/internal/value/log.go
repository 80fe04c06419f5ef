package value

import "log/slog"

// LogFormat is how a log is written.
type LogFormat uint8

// The formats.
const (
	LogText LogFormat = iota
	LogJSON
	LogOff
)

// LogFormats is a LogFormat by its word.
func LogFormats(p *LogFormat) Enum[LogFormat] {
	return Enum[LogFormat]{p, []Choice[LogFormat]{{"text", LogText}, {"json", LogJSON}, {"off", LogOff}}}
}

// LogLevels is a level by its word.
func LogLevels(p *slog.Level) Enum[slog.Level] {
	return Enum[slog.Level]{p, []Choice[slog.Level]{
		{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
	}}
}
