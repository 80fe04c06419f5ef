package cluster

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homing/cluster/bound"
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
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		g := newGossipLog(slog.New(slog.NewTextHandler(&out, nil)))
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
		time.Sleep(bound.LogEvery)
		say("[ERR] memberlist: decrypt failed from=192.0.2.1:7", 6)
		if text := out.String(); !strings.HasSuffix(text, "again=1\n") {
			t.Errorf("nobody knows of the line that was left out:\n%s", text)
		}
	})
}

// Lines of more kinds than are told apart are counted, and there is a word of them when the minute is over.
func TestGossipLogOfTooManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 100
		var out strings.Builder
		g := newGossipLog(slog.New(slog.NewTextHandler(&out, nil)))
		log := slog.NewLogLogger(g, slog.LevelDebug)
		for i := range bound.MaxKinds + more {
			log.Print("[ERR] memberlist: trouble of the kind ", strings.Repeat("x", i))
		}
		if n := strings.Count(out.String(), "\n"); n != bound.MaxKinds+1 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(bound.LogEvery)
		out.Reset()
		g.quiet.Sweep()
		if text := out.String(); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, fmt.Sprintf("again=%d\n", more-1)) {
			t.Errorf("a minute later: %s", text)
		}
	})
}
