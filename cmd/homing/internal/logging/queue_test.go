package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/cmd/homing/internal/value"
)

// reader is who reads a log: it takes what it is told to.
type reader struct {
	calls chan int   // bytes of a write that has come; it waits for its answer
	does  chan error // the answer; takes counts in that case
	takes int        // bytes that are taken when the answer is an error

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func newReader() *reader { return &reader{calls: make(chan int), does: make(chan error)} }

func (r *reader) Write(b []byte) (int, error) {
	r.calls <- len(b)
	err := <-r.does
	n := len(b)
	if err != nil {
		n = min(n, r.takes)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(b[:n])
	return n, err
}

func (r *reader) answer(err error) {
	<-r.calls
	r.does <- err
}

// flow takes all from now on.
func (r *reader) flow() {
	go func() {
		for {
			r.answer(nil)
		}
	}()
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (q *Queue) line(text string) { _, _ = q.Write([]byte(text + "\n")) } // it never fails

const patient = 20 * time.Second

// TestLogQueueStuck: nobody who logs waits for a reader that takes nothing, what finds no room is counted, the lines of conns
// leave room to the others, and when all flows again the log says what is missing, where it is.
func TestLogQueueStuck(t *testing.T) {
	r := newReader()
	q := NewQueue(r)
	log := New(q, value.LogText, slog.LevelInfo)
	q.line("first")
	<-r.calls // it waits there
	long := strings.Repeat("x", 1000)
	const sent = 3 * queuedLines / 1000
	for i := range sent {
		log.Conns.Info("conn", slog.String("long", long), slog.Int("number", i))
	}
	conns := log.Dropped()
	if conns == 0 || conns >= sent {
		t.Fatalf("%d of %d lines of conns were dropped", conns, sent)
	}
	log.Warn("something that matters")
	if log.Dropped() != conns {
		t.Error("a line that matters gave way to those of conns")
	}
	for range sent {
		log.Info("other", slog.String("long", long))
	}
	all := log.Dropped()
	if all == conns {
		t.Error("the queue has no end")
	}
	r.does <- nil
	r.flow()
	q.line("last")
	q.Close(patient)
	text := r.String()
	notice := fmt.Sprintf("level=WARN msg=\"lines are missing here: whoever reads this log was too slow, or not there\" lines=%d\n", all)
	if !strings.HasPrefix(text, "first\n") || !strings.Contains(text, "something that matters") || strings.Count(text, notice) != 1 || strings.Count(text, "lines are missing") != 1 {
		t.Errorf("%d dropped; %d bytes, notices %d", all, len(text), strings.Count(text, "lines are missing"))
	}
	if got := uint64(strings.Count(text, "msg=conn") + strings.Count(text, "msg=other")); got+all != 2*sent {
		t.Errorf("%d written and %d dropped of %d", got, all, 2*sent)
	}
	if !strings.Contains(text, "number=0") || strings.Contains(text, fmt.Sprintf("number=%d\n", sent-1)) {
		t.Error("not the oldest lines were kept")
	}
}

// TestLogQueueFails: a reader that is gone, and a disk that is full, cost the lines of that time and nothing else.
func TestLogQueueFails(t *testing.T) {
	for _, tt := range []struct {
		what  string
		err   error
		takes int
		want  string
	}{
		{"gone", syscall.EPIPE, 0, "3 missing\nd\n"},
		{"full in the midst of a line", syscall.ENOSPC, 1, "a\n3 missing\nd\n"},
		{"for a moment", syscall.EAGAIN, 1, "a\nb\nc\nd\n"},
	} {
		r := newReader()
		r.takes = tt.takes
		q := NewQueue(r)
		q.say(func(n uint64) []byte { return fmt.Appendf(nil, "%d missing\n", n) })
		for _, line := range []string{"a", "b", "c"} {
			q.line(line)
			r.answer(tt.err)
			if tt.err == syscall.EAGAIN {
				r.answer(nil)
			} else if line != "a" { // the line that says so was first, then this one
				r.answer(tt.err)
			}
		}
		r.flow()
		q.line("d")
		q.Close(patient)
		got := r.String()
		if tt.takes == 1 && !errors.Is(tt.err, syscall.EAGAIN) { // each try leaves one byte, which is a line of its own
			got = "a" + got[strings.LastIndex(got, "\n3"):]
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}

// TestLogQueueCuts: what is written at once is whole lines, not more than a pipe keeps together, unless one is longer.
func TestLogQueueCuts(t *testing.T) {
	long, short := strings.Repeat("l", 2*writtenAtOnce)+"\n", strings.Repeat("s", writtenAtOnce/3)+"\n"
	rest := []byte(short + short + short + long + short + "no end")
	var got []string
	for len(rest) > 0 {
		var first []byte
		first, rest = cutLines(rest)
		got = append(got, string(first))
	}
	want := []string{short + short, short, long, short + "no end"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d parts: %.20q", len(got), got)
	}
}

// TestLogQueueEnds: a reader that takes nothing holds up the end for a bounded time.
func TestLogQueueEnds(t *testing.T) {
	q := NewQueue(newReader())
	q.line("nobody reads this")
	q.Close(time.Millisecond) // it returns
	q = NewQueue(&endless{})
	q.line("nor this")
	q.Close(patient)
	<-q.ended
}

// endless takes nothing for the moment, for ever.
type endless struct{}

func (*endless) Write([]byte) (int, error) { return 0, syscall.EAGAIN }
