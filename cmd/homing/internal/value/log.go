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

func (f LogFormat) String() string { return [...]string{"text", "json", "off"}[f] }

// LogFormats is a LogFormat by its word.
func LogFormats(p *LogFormat) Enum[LogFormat] { return Words(p, LogText, LogJSON, LogOff) }

// LogLevels is a level by its word.
func LogLevels(p *slog.Level) Enum[slog.Level] {
	return Words(p, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)
}
