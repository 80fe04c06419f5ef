package cluster

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"homing/cluster/internal/bound"
)

func TestParseGossipLine(t *testing.T) {
	for line, want := range map[string]struct {
		level slog.Level
		text  string
	}{
		"[WARN] memberlist: Got ping": {slog.LevelWarn, "Got ping"},
		"[ERR] memberlist: failed\n":  {slog.LevelWarn, "failed"},
		"[WARN] memberlist: Refuting a suspect message (from: a)": {
			slog.LevelInfo,
			"Refuting a suspect message (from: a)",
		},
		"[INFO] memberlist: Suspect x": {slog.LevelDebug, "Suspect x"},
		"[DEBUG] memberlist: Stream":   {slog.LevelDebug, "Stream"},
		"Err: Could not set":           {slog.LevelDebug, "Err: Could not set"},
		"[odd":                         {slog.LevelDebug, "[odd"},
	} {
		if level, text := parseGossipLine(line); level != want.level || text != want.text {
			t.Errorf("%q: %v %q, want %v %q", line, level, text, want.level, want.text)
		}
	}
}

func TestGossipLogRepeats(t *testing.T) {
	var out strings.Builder
	g := newGossipLog(slog.NewTextHandler(&out, nil))
	now := time.Unix(1_000_000, 0)
	g.now = func() time.Time { return now }
	log := slog.NewLogLogger(g, slog.LevelDebug)
	say := func(line string, want int) {
		t.Helper()
		log.Print(line)
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%q: %d lines, want %d\n%s", line, got, want, out.String())
		}
	}
	say("[ERR] memberlist: decrypt failed from=192.0.2.1:7", 1)
	say("[ERR] memberlist: decrypt failed from=192.0.2.2:9", 1)
	say("[ERR] memberlist: label is \"x\"", 2)
	say("[INFO] memberlist: nothing that matters", 2)
	say("[ERR] memberlist: write: use of closed network connection", 2)
	for i, line := range []string{
		"[ERR] memberlist: Conflicting address for %s. Mine: 192.0.2.1:7946",
		"[WARN] memberlist: Was able to connect to %s over TCP but UDP probes failed",
		"[ERR] memberlist: Push/Pull with %s failed: remote error: anything",
	} {
		for _, name := range []string{"abc", "xyz", "a b c"} { // whoever has it chose it
			say(fmt.Sprintf(line, name), 3+i)
		}
	}
	now = now.Add(bound.LogEvery)
	say("[ERR] memberlist: decrypt failed from=192.0.2.1:7", 6)
}
