package cluster

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// maxSayings bounds the kinds of lines that are told apart in a minute; beyond it all others are of one kind.
const maxSayings = 256

// quiet keeps others from filling the log: of each kind one line a minute, and the next one says how many there were in
// between. What makes a kind is the caller's: what happened, and whose doing it is. Its methods may be called by any goroutine.
type quiet struct {
	now func() time.Time

	mu   sync.Mutex
	said map[string]*saying // by kind
}

// saying is one kind of lines.
type saying struct {
	at    time.Time // of the last line
	again int       // those that were not written since

	// The last of them.
	log   *slog.Logger
	level slog.Level
	text  string
	attrs []slog.Attr
}

func newQuiet(now func() time.Time) *quiet {
	return &quiet{now: now, said: make(map[string]*saying)}
}

// say writes a line, or counts it.
func (q *quiet) say(log *slog.Logger, level slog.Level, kind, text string, attrs ...slog.Attr) {
	if line := q.take(log, level, kind, text, attrs); line != nil {
		line.write()
	}
}

// take gives the line that is to be written now, if any: nobody may hold the lock while writing.
func (q *quiet) take(log *slog.Logger, level slog.Level, kind, text string, attrs []slog.Attr) *saying {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	s := q.said[kind]
	if s == nil && len(q.said) >= maxSayings {
		kind = ""
		s = q.said[kind]
	}
	if s == nil {
		s = new(saying)
		q.said[kind] = s
	}
	s.log, s.level, s.text, s.attrs = log, level, text, attrs
	if !s.at.IsZero() && now.Sub(s.at) < logEvery {
		s.again++
		return nil
	}
	line := *s
	s.at, s.again = now, 0
	return &line
}

// sweep writes what has been counted for a minute, and forgets what nobody says any more.
func (q *quiet) sweep() {
	var lines []saying
	q.mu.Lock()
	now := q.now()
	for kind, s := range q.said {
		switch {
		case now.Sub(s.at) < logEvery:
		case s.again == 0:
			delete(q.said, kind)
		default:
			lines = append(lines, *s)
			s.at, s.again = now, 0
		}
	}
	q.mu.Unlock()
	for i := range lines {
		lines[i].write()
	}
}

// forget has everything said again.
func (q *quiet) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.said)
}

func (s *saying) write() {
	attrs := s.attrs
	if s.again > 0 {
		attrs = append(slices.Clip(attrs), slog.Int("again", s.again))
	}
	s.log.LogAttrs(context.Background(), s.level, s.text, attrs...)
}

// sayable is a word of a stranger's, fit for a line.
func sayable(s string) string {
	if !validID(s) {
		return "?"
	}
	return s
}
