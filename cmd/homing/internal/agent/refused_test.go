package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"homing/cluster"
)

// TestAgentSaysRefused: what nodes refuse is said when it is news, once a minute at most.
func TestAgentSaysRefused(t *testing.T) {
	var log bytes.Buffer
	a := &agent{options: defaultOptions(), log: slog.New(slog.NewTextHandler(&log, nil))}
	one, two := cluster.Refused{Node: "lb-1", Why: "no pool \"web\""}, cluster.Refused{Node: "lb-2", Why: "no pool \"web\""}
	for _, step := range []struct {
		why     string
		refused []cluster.Refused
		nodes   int
		soon    bool // within the minute
		want    string
	}{
		{"no node yet", nil, 0, false, ""},
		{"nothing is wrong", nil, 2, false, ""},
		{"all refuse", []cluster.Refused{one, two}, 2, false, `level=WARN msg="every node refuses what is announced: the backend gets no conns" backend="invalid AddrPort" pool=default by="lb-1, lb-2" why="no pool \"web\""`},
		{"the same", []cluster.Refused{one, two}, 2, false, ""},
		{"one does, within the minute", []cluster.Refused{two}, 2, true, ""},
		{"and after it", []cluster.Refused{two}, 2, false, `level=WARN msg="some nodes refuse what is announced: those send no conns to the backend"`},
		{"all nodes are gone", nil, 0, false, ""},
		{"none does", nil, 2, false, `level=INFO msg="no node refuses what is announced any more"`},
	} {
		log.Reset()
		if a.refusedSaid = (time.Time{}); step.soon {
			a.refusedSaid = time.Now()
		}
		a.sayRefused(step.refused, step.nodes)
		if got := log.String(); !strings.Contains(got, step.want) || (got == "") != (step.want == "") {
			t.Errorf("%s: %q, want %q", step.why, got, step.want)
		}
	}
}
