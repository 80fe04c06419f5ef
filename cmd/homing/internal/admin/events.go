package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"homing/cmd/homing/internal/api"
)

const (
	// eventsKept bounds the events: some hours of a node where little happens, a minute of one where much does.
	eventsKept = 256

	// maxField bounds a field of an event, in bytes.
	maxField = 512
)

// Events is a log handler that keeps the last lines of level info and above. Lines per conn do not belong here.
type Events struct {
	*eventRing
	prefix string // of the names of fields, from WithGroup
	with   []slog.Attr
}

// eventRing is shared by an Events and all that With made of it.
type eventRing struct {
	mu     sync.Mutex
	events []api.Event // guarded by mu; a ring: number n is at n % eventsKept
	last   uint64      // guarded by mu; number of the last
}

// NewEvents has kept nothing yet.
func NewEvents() *Events { return &Events{eventRing: new(eventRing)} }

// Enabled implements slog.Handler.
func (e *Events) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (e *Events) Handle(_ context.Context, record slog.Record) error {
	e.keep(&record)
	return nil
}

// WithAttrs implements slog.Handler.
func (e *Events) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *e
	c.with = append([]slog.Attr(nil), e.with...)
	for _, a := range attrs {
		c.with = append(c.with, slog.Attr{Key: e.prefix + a.Key, Value: a.Value})
	}
	return &c
}

// WithGroup implements slog.Handler.
func (e *Events) WithGroup(name string) slog.Handler {
	if name == "" {
		return e
	}
	c := *e
	c.prefix = e.prefix + name + "."
	return &c
}

// Note keeps an event that is none of the log's.
func (e *Events) Note(level slog.Level, message string, attrs ...slog.Attr) {
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(attrs...)
	e.keep(&record)
}

func (e *Events) keep(record *slog.Record) {
	event := api.Event{
		Time: record.Time, Level: strings.ToLower(record.Level.String()), Message: record.Message,
		Fields: map[string]string{},
	}
	for _, a := range e.with {
		flatten(event.Fields, "", a)
	}
	record.Attrs(func(a slog.Attr) bool {
		flatten(event.Fields, e.prefix, a)
		return true
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	event.Seq = e.last
	if len(e.events) < eventsKept {
		e.events = append(e.events, event)
	} else {
		e.events[(e.last-1)%eventsKept] = event
	}
}

// flatten writes an attribute as text; groups join their names.
func flatten(fields map[string]string, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range value.Group() {
			flatten(fields, prefix, inner)
		}
		return
	}
	text := value.String()
	if value.Kind() == slog.KindTime {
		text = value.Time().Format(time.RFC3339)
	}
	if len(text) > maxField {
		text = strings.ToValidUTF8(text[:maxField], "") + "..."
	}
	fields[prefix+a.Key] = text
}

// after is the events with a number above n, the oldest first.
func (e *Events) after(n uint64) api.Events {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := api.Events{Events: []api.Event{}, Next: e.last}
	first := e.last - min(e.last, uint64(len(e.events)))
	if n > e.last { // a number of the process before this one
		n = 0
	}
	for seq := max(n, first); seq < e.last; seq++ {
		out.Events = append(out.Events, e.events[seq%eventsKept])
	}
	return out
}

func (s *Server) events(r *http.Request) (api.Events, error) {
	after, err := numberAfter(r)
	if err != nil {
		return api.Events{}, err
	}
	return s.src.Events.after(after), nil
}

// numberAfter is the parameter after=, 0 where it is not given.
func numberAfter(r *http.Request) (uint64, error) {
	text := r.FormValue("after")
	if text == "" {
		return 0, nil
	}
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, refusef(http.StatusBadRequest, "after=%.20q is not a number", text)
	}
	return after, nil
}
