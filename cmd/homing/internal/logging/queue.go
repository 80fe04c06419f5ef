package logging

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// queuedLines bounds the lines that wait for whoever reads the log, in bytes: some seconds of a busy node's conns,
	// some hours of its other lines. As much again may be on its way out.
	queuedLines = 1 << 20

	// queuedConns is the part of it that lines of conns may fill: where they come faster than they are read, the others
	// still have room.
	queuedConns = queuedLines / 2

	// writtenAtOnce bounds what is written by one call, in bytes, unless one line alone is longer. What several
	// processes write to one pipe is not mixed up to PIPE_BUF (pipe(7)): an elder and its heir share theirs.
	writtenAtOnce = 4096

	// fullPause is between two tries of a descriptor that somebody else has made non-blocking and that takes nothing.
	fullPause = 10 * time.Millisecond

	// FlushTime bounds the wait for the reader when the process ends.
	FlushTime = time.Second
)

// Queue is where this process writes its lines, so that nobody who logs ever waits for, or fails with, whoever reads
// them. A goroutine of its own writes them out in their order. Lines that find no room, or that cannot be written, are
// dropped and counted; once lines flow again, one says how many are missing.
type Queue struct {
	out     io.Writer
	kick    chan struct{} // has room for one: there is something to do
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when nothing is written any more

	dropped atomic.Uint64 // lines, in all

	mu      sync.Mutex
	waiting []byte                    // guarded by mu; whole lines
	missing uint64                    // guarded by mu; lines dropped since the last take
	notice  func(lines uint64) []byte // guarded by mu; the line that says how many are missing; nil: it is not said
}

// NewQueue begins to write to out, until Close.
func NewQueue(out io.Writer) *Queue {
	q := &Queue{out: out, kick: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write queues whole lines. It never waits, and never fails.
func (q *Queue) Write(lines []byte) (int, error) { return q.add(lines, queuedLines) }

// conns is where lines of conns go.
func (q *Queue) conns() io.Writer { return connLines{q} }

type connLines struct{ queue *Queue }

func (c connLines) Write(lines []byte) (int, error) { return c.queue.add(lines, queuedConns) }

// say sets how the log says that lines are missing.
func (q *Queue) say(notice func(lines uint64) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.notice = notice
}

func (q *Queue) add(lines []byte, limit int) (int, error) {
	q.mu.Lock()
	if len(q.waiting)+len(lines) > limit {
		n := countLines(lines)
		q.missing += n
		q.dropped.Add(n)
	} else {
		q.waiting = append(q.waiting, lines...)
	}
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default: // it looks anyway
	}
	return len(lines), nil
}

// take is what waits, and how many lines were dropped behind that. spare is a buffer for what comes next.
func (q *Queue) take(spare []byte) (lines []byte, missing uint64, notice func(uint64) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, missing, notice = q.waiting, q.missing, q.notice
	q.waiting, q.missing = spare[:0], 0
	return lines, missing, notice
}

func (q *Queue) run() {
	defer close(q.ended)
	w := lineWriter{out: q.out, closing: q.closing}
	var spare []byte
	var missing uint64 // not told yet
	for last := false; !last; {
		select {
		case <-q.kick:
		case <-q.closing:
			last = true
		}
		lines, dropped, notice := q.take(spare)
		tell := func() {
			if missing > 0 && (notice == nil || w.write(notice(missing))) {
				missing = 0
			}
		}
		tell() // what failed before comes before these
		flows := true
		for rest := lines; len(rest) > 0; {
			var some []byte
			some, rest = cutLines(rest)
			if flows = w.write(some); !flows {
				n := countLines(some)
				missing += n
				q.dropped.Add(n)
			}
		}
		missing += dropped
		if flows {
			tell()
		}
		if spare = lines; cap(spare) > queuedLines/16 { // a burst is over
			spare = nil
		}
	}
}

// Close writes what waits, within a time. Lines of later are lost.
func (q *Queue) Close(within time.Duration) {
	close(q.closing)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-q.ended:
	case <-timer.C:
	}
}

// lineWriter writes to what may be full, or gone for a while.
type lineWriter struct {
	out     io.Writer
	closing <-chan struct{}
	torn    bool // the last line that was written has no end
}

// write says whether all of the lines went out. What has failed is not tried again.
func (w *lineWriter) write(lines []byte) bool {
	if w.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	for {
		n, err := w.out.Write(lines)
		if n > 0 {
			w.torn = lines[n-1] != '\n'
		}
		if err == nil {
			return true
		}
		lines = lines[n:]
		if !errors.Is(err, syscall.EAGAIN) || !w.pause() {
			return false
		}
	}
}

// pause returns false when there is no time left.
func (w *lineWriter) pause() bool {
	timer := time.NewTimer(fullPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.closing:
		return false
	}
}

// cutLines is the first lines that are written at once, and the rest.
func cutLines(lines []byte) (first, rest []byte) {
	end := len(lines)
	if end > writtenAtOnce {
		end = bytes.LastIndexByte(lines[:writtenAtOnce], '\n') + 1
		if end == 0 { // one long line
			end = writtenAtOnce + bytes.IndexByte(lines[writtenAtOnce:], '\n') + 1
			if end == writtenAtOnce {
				end = len(lines)
			}
		}
	}
	return lines[:end], lines[end:]
}

// countLines counts one without an end too.
func countLines(lines []byte) uint64 {
	n := bytes.Count(lines, []byte{'\n'})
	if len(lines) > 0 && lines[len(lines)-1] != '\n' {
		n++
	}
	return uint64(n)
}
