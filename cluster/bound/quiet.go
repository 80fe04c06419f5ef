package bound

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// LogEvery is the shortest pause between two lines of one kind: a member with a wrong key causes several a second.
	// Sweep is to be called as often.
	LogEvery = time.Minute

	// MaxKinds bounds the kinds of lines that are told apart in a minute; beyond it all others are of one kind.
	MaxKinds = 256
)

// Quiet keeps others from filling the log: of each kind one line a minute, and the next one says how many there were in
// between. What makes a kind is the caller's: what happened, and whose doing it is. Its methods may be called by any
// goroutine.
type Quiet struct {
	// Static.
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	said map[string]*saying // by kind; guarded by mu
}

// saying is one kind of lines.
type saying struct {
	at    time.Time // of the last line
	again int       // those that were not written since

	// The last of them.
	level slog.Level
	text  string
	attrs []slog.Attr
}

// NewQuiet writes to log.
func NewQuiet(log *slog.Logger) *Quiet {
	return &Quiet{log: log, now: time.Now, said: make(map[string]*saying)}
}

// Say writes a line, or counts it. It says whether it has written.
func (q *Quiet) Say(level slog.Level, kind, text string, attrs ...slog.Attr) bool {
	line := q.take(level, kind, text, attrs)
	if line == nil {
		return false
	}
	q.write(line)
	return true
}

// take gives the line that is to be written now, if any: nobody may hold the lock while writing.
func (q *Quiet) take(level slog.Level, kind, text string, attrs []slog.Attr) *saying {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	s := q.said[kind]
	if s == nil && len(q.said) >= MaxKinds {
		kind = ""
		s = q.said[kind]
	}
	if s == nil {
		s = new(saying)
		q.said[kind] = s
	}
	s.level, s.text, s.attrs = level, text, attrs
	if !s.at.IsZero() && now.Sub(s.at) < LogEvery {
		s.again++
		return nil
	}
	line := *s
	s.at, s.again = now, 0
	return &line
}

// Sweep writes what has been counted for a minute, and forgets what nobody says any more.
func (q *Quiet) Sweep() {
	var lines []saying
	q.mu.Lock()
	now := q.now()
	for kind, s := range q.said {
		switch {
		case now.Sub(s.at) < LogEvery:
		case s.again == 0:
			delete(q.said, kind)
		default:
			lines = append(lines, *s)
			s.at, s.again = now, 0
		}
	}
	q.mu.Unlock()
	for i := range lines {
		q.write(&lines[i])
	}
}

// Forget has everything said again.
func (q *Quiet) Forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.said)
}

func (q *Quiet) write(s *saying) {
	attrs := s.attrs
	if s.again > 0 {
		attrs = append(slices.Clip(attrs), slog.Int("again", s.again))
	}
	q.log.LogAttrs(context.Background(), s.level, s.text, attrs...)
}
