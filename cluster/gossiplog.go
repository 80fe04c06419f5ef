package cluster

import (
	"context"
	"log/slog"
	"net"
	"strings"

	"homing/cluster/bound"
)

// gossipLog turns memberlist's lines ("[WARN] memberlist: text") into records of their level. Lines that differ in
// addresses, names and numbers only are one kind.
type gossipLog struct {
	to    slog.Handler
	quiet *bound.Quiet
}

func newGossipLog(to *slog.Logger) *gossipLog { return &gossipLog{to.Handler(), bound.NewQuiet(to)} }

// Enabled implements slog.Handler: what a line's level is shows in its text only.
func (g *gossipLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler; the standard library's bridge never calls it.
func (g *gossipLog) WithAttrs([]slog.Attr) slog.Handler { return g }

// WithGroup implements slog.Handler, as WithAttrs does.
func (g *gossipLog) WithGroup(string) slog.Handler { return g }

// Handle implements slog.Handler.
func (g *gossipLog) Handle(ctx context.Context, r slog.Record) error {
	level, text := parseGossipLine(r.Message)
	if strings.Contains(text, net.ErrClosed.Error()) || strings.HasSuffix(text, errUnproven.Error()) {
		level = slog.LevelDebug // its goroutines outlive Shutdown by a moment; it passes over whom we have yet to ask
	}
	if g.to.Enabled(ctx, level) {
		g.quiet.Say(level, kindOf(text), "cluster: gossip", slog.String("says", text))
	}
	return nil
}

// parseGossipLine splits a line. What memberlist tells as information is of interest to somebody who looks for a fault:
// membership is logged by us.
func parseGossipLine(line string) (slog.Level, string) {
	level := slog.LevelDebug
	if rest, ok := strings.CutPrefix(line, "["); ok {
		word, text, found := strings.Cut(rest, "] ")
		if found {
			line = text
			switch {
			case strings.HasPrefix(text, "memberlist: Refuting "):
				level = slog.LevelInfo // what was said of it before it started, or was upgraded: as it should be
			case word == "WARN", word == "ERR":
				level = slog.LevelWarn
			}
		}
	}
	return level, strings.TrimSpace(strings.TrimPrefix(line, "memberlist: "))
}

// kindOf is what tells lines apart: their words up to the first that is a number, quoted, or a member's name, which may
// be anything.
func kindOf(text string) string {
	kind := text
	for _, before := range []string{" from=", " for ", " with ", " to connect to "} {
		kind, _, _ = strings.Cut(kind, before)
	}
	if i := strings.IndexAny(kind, "0123456789'\"("); i > 0 {
		kind = kind[:i]
	}
	return kind
}
