package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

// TestEvents: lines from info on are events whatever is logged, with their words flat; the log gets what it wants.
func TestEvents(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	level.Set(slog.LevelError)
	events := NewEvents()
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}), events))
	log.Debug("nobody's")
	log.Info("plain", slog.Int("n", 7), slog.Duration("after", 1500*time.Millisecond), slog.Any("error", errors.New("why")))
	log.With(slog.String("pool", "web")).WithGroup("probe").With(slog.Int("a", 1)).Warn("grouped", slog.Int("b", 2), slog.Group("in", slog.Int("c", 3)))
	log.Error("both", slog.GroupAttrs("", slog.String("backend", "x")), slog.String("long", strings.Repeat("é", maxField)))
	level.Set(slog.LevelDebug)
	log.Debug("the log's alone")

	got := events.after(0)
	want := api.Events{Next: 3, Events: []api.Event{
		{Seq: 1, Level: "info", Message: "plain", Fields: map[string]string{"n": "7", "after": "1.5s", "error": "why"}},
		{Seq: 2, Level: "warn", Message: "grouped", Fields: map[string]string{"pool": "web", "probe.a": "1", "probe.b": "2", "probe.in.c": "3"}},
		{Seq: 3, Level: "error", Message: "both", Fields: map[string]string{"backend": "x", "long": strings.Repeat("é", maxField/2) + "..."}},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(api.Event{}, "Time")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lines := out.String(); strings.Count(lines, "\n") != 2 || !strings.Contains(lines, "msg=both backend=x") || !strings.Contains(lines, "the log's alone") {
		t.Errorf("the log: %s", lines)
	}
}

func TestEventsRing(t *testing.T) {
	e := NewEvents()
	var adding sync.WaitGroup
	for i := range 4 {
		adding.Go(func() {
			for j := range eventsKept {
				e.Note(slog.LevelInfo, fmt.Sprint(i, " ", j))
			}
		})
	}
	adding.Wait()
	const last = 4 * eventsKept
	for after, want := range map[uint64]int{0: eventsKept, last - eventsKept: eventsKept, last - 3: 3, last: 0, last + 1: eventsKept, last - eventsKept + 1: eventsKept - 1} {
		got := e.after(after)
		if len(got.Events) != want || got.Next != last {
			t.Errorf("after %d: %d events, next %d, want %d", after, len(got.Events), got.Next, want)
		}
		for i, event := range got.Events {
			if event.Seq != uint64(last-want+i+1) {
				t.Errorf("after %d: event %d has number %d", after, i, event.Seq)
			}
		}
	}
	if !e.Enabled(context.Background(), slog.LevelInfo) || e.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("wrong levels are kept")
	}
}

func TestEventsServed(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	src.Events.Note(slog.LevelInfo, "one")
	src.Events.Note(slog.LevelInfo, "two")
	var out api.Events
	ask(t, s, http.MethodGet, "/v1/events?after=1", nil, &out)
	if len(out.Events) != 1 || out.Events[0].Message != "two" || out.Next != 2 {
		t.Errorf("%+v", out)
	}
	if status, _ := ask(t, s, http.MethodGet, "/v1/events?after=x", nil, nil); status != http.StatusBadRequest {
		t.Errorf("after=x: %d", status)
	}
}

// TestKeyEvents: a ticket key that was not there at the last look is an event; thousands at once are a few.
func TestKeyEvents(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	s.keeper.seeKeys()
	if n := src.Events.after(0).Next; n != 0 {
		t.Errorf("%d events of keys that were there at the start", n)
	}
	p := src.Pools()[0]
	known, now := src.Store.Pool(p.Hash()), uint32(time.Now().Unix())
	learn := func(name string) {
		t.Helper()
		before := len(known.HeldKeys(now))
		for i := range 2 {
			known.Probed(known.HashIdent(ticketOf(name, byte(i))), uint32(at(p, second).ID), now)
		}
		testkit.Eventually(t, "the key is known", func() bool { return len(known.HeldKeys(now)) > before })
	}
	learn("L")
	s.keeper.seeKeys()
	s.keeper.seeKeys()
	events := src.Events.after(0)
	if len(events.Events) != 1 || events.Events[0].Message != "ticket key learned" || events.Events[0].Fields["backend"] != second || events.Events[0].Fields["bytes"] != "16" {
		t.Errorf("%+v", events)
	}
	for i := range keysToldOf + 3 {
		learn(string(rune('a' + i)))
	}
	s.keeper.seeKeys()
	events = src.Events.after(1)
	if last := events.Events[len(events.Events)-1]; len(events.Events) != keysToldOf+1 || last.Fields["more"] != "3" {
		t.Errorf("%d events, the last %+v", len(events.Events), last)
	}
}
