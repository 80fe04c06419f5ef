//go:build linux

package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// serveTimeout bounds the time from an heir that is ready to one that accepts: it starts some threads.
	serveTimeout = 10 * time.Second

	// doneTimeout bounds the wait for an heir's last word, which changes nothing any more.
	doneTimeout = 10 * time.Second
)

// Why there is no upgrade now.
var (
	ErrBusy     = errors.New("an upgrade is under way: wait for its end")
	ErrReplaced = errors.New("this process was replaced already: ask the one that took its place")
)

// Upgrader starts the heirs of this process, one at a time.
type Upgrader struct {
	// Static.
	cfg Config

	state    atomic.Uint32
	replaced chan struct{} // closed when an heir has taken over
}

// Config of an Upgrader.
type Config struct {
	Command Command
	Version string        // of this program, for the heir's log
	Timeout time.Duration // for the heir to be ready; it is killed then. 0: 30 s
	Log     *slog.Logger
	Stderr  *os.File  // what becomes the stderr of heirs once they have taken over. nil: os.Stderr
	Said    io.Writer // where what they say until then is copied; it must not wait. nil: Stderr
}

// The states of an Upgrader.
const (
	stateIdle uint32 = iota
	stateBusy
	stateReplaced
)

// NewUpgrader makes one.
func NewUpgrader(cfg Config) *Upgrader {
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.Stderr = cmp.Or(cfg.Stderr, os.Stderr)
	if cfg.Said == nil {
		cfg.Said = cfg.Stderr
	}
	return &Upgrader{cfg: cfg, replaced: make(chan struct{})}
}

// Replaced is closed once an heir has taken over: what is left to do is to drain, and to end.
func (u *Upgrader) Replaced() <-chan struct{} { return u.replaced }

// Steps are this process's part in an upgrade.
type Steps struct {
	// Give fills the parcel with all that the heir needs to get ready. It changes nothing.
	Give func(*Parcel) error

	// LetGo stops accepting, and all else that only one process can do, and fills the parcel with what has happened
	// since Give. The heir serves already; there is no way back.
	LetGo func(heir Heir, p *Parcel)
}

// Heir is a process that serves.
type Heir struct {
	PID    int     // its own: that of what was started may be a script's
	Answer *Parcel // the letters of its Ready
}

// Upgrade starts an heir and hands over to it. On an error this process goes on as if nothing had been, and there is no
// heir; the error is one line. ctx ends it early, as long as there is a way back.
func (u *Upgrader) Upgrade(ctx context.Context, steps Steps) error {
	if !u.state.CompareAndSwap(stateIdle, stateBusy) {
		if u.state.Load() == stateReplaced {
			return ErrReplaced
		}
		return ErrBusy
	}
	began := time.Now()
	u.cfg.Log.Info("upgrade begins", slog.String("path", u.cfg.Command.Path),
		slog.Float64("timeout_seconds", u.cfg.Timeout.Seconds()))
	h, err := u.cfg.Command.start(environment(os.Environ()), u.cfg.Stderr, u.cfg.Said)
	var pid int
	if err == nil {
		pid, err = u.hand(ctx, h, steps)
	} else {
		err = fmt.Errorf("the new process could not be started: %w", err)
	}
	if err != nil {
		u.cfg.Log.Error("upgrade failed, nothing has changed", slog.Any("error", err))
		u.state.Store(stateIdle)
		return err
	}
	u.state.Store(stateReplaced)
	u.cfg.Log.Info("upgrade done, this process drains", slog.Int("heir", pid),
		slog.Float64("took_seconds", time.Since(began).Seconds()))
	close(u.replaced)
	go u.watch(h, pid)
	return nil
}

// hand does all steps with an heir, and returns its PID. On an error the heir is gone.
func (u *Upgrader) hand(ctx context.Context, h *heir, steps Steps) (pid int, err error) {
	ready, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	answer, err := u.prepare(ready, h, steps.Give)
	if err != nil {
		return 0, h.fail(ctx, err, "ready", u.cfg.Timeout)
	}
	serves, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	if err := h.ask(serves, kindServe, kindServing); err != nil {
		return 0, h.fail(ctx, err, "serving", serveTimeout)
	}
	h.serves.Store(true)
	var rest Parcel
	steps.LetGo(answer, &rest)
	defer rest.Close()
	// Whatever happens now happens to the heir alone.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), doneTimeout)
	defer cancel()
	err = h.channel.sendParcel(last, &rest)
	if err == nil {
		_, err = h.expect(last, kindDone)
	}
	if err != nil {
		u.cfg.Log.Error("upgrade: the new process serves, but does not say that it has taken over all",
			slog.Any("error", err))
	}
	h.channel.close()
	return answer.PID, nil
}

// prepare gives the heir what it needs, and returns what it says when it is ready.
func (u *Upgrader) prepare(ctx context.Context, h *heir, give func(*Parcel) error) (answer Heir, err error) {
	var p Parcel
	defer p.Close()
	if err := give(&p); err != nil {
		return answer, &ownError{err}
	}
	err = h.channel.send(ctx, &message{Kind: kindHello, Protocol: protocol, Version: u.cfg.Version, PID: os.Getpid()})
	if err == nil {
		err = h.channel.sendParcel(ctx, &p)
	}
	if err != nil {
		return answer, err
	}
	ready, err := h.expect(ctx, kindReady)
	if err != nil {
		return answer, err
	}
	answer = Heir{PID: ready.PID, Answer: &Parcel{letters: ready.Letters}}
	if answer.PID == 0 { // it is of a version that does not say
		answer.PID = h.pid()
	}
	return answer, nil
}

// ask sends one word and waits for the other.
func (h *heir) ask(ctx context.Context, word, answer kind) error {
	if err := h.channel.send(ctx, &message{Kind: word}); err != nil {
		return err
	}
	_, err := h.expect(ctx, answer)
	return err
}

// failedError is what an heir itself says of its failure.
type failedError struct{ text string }

func (e *failedError) Error() string { return e.text }

// ownError is a failure of this process.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// expect is the heir's next word, which has to be that one, and brings no files.
func (h *heir) expect(ctx context.Context, answer kind) (*message, error) {
	m, err := h.channel.receive(ctx)
	if err != nil {
		return nil, err
	}
	closeAll(m.files)
	switch {
	case m.Kind == kindFailed:
		return nil, &failedError{m.Error}
	case m.Kind != answer:
		return nil, fmt.Errorf("it says %q instead of %q", m.Kind, answer)
	}
	return m, nil
}

// fail ends an heir that is not ready, or not serving, and says why in one line.
func (h *heir) fail(ctx context.Context, err error, wanted string, timeout time.Duration) error {
	failed := (*failedError)(nil)
	if isGone(err) || errors.As(err, &failed) { // as a rule it is about to end
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-h.ended:
		case <-timer.C:
		}
	}
	select {
	case <-h.ended:
		defer h.channel.close()
		if failed != nil {
			return fmt.Errorf("the new process ended before it was %s: %w", wanted, failed)
		}
		return fmt.Errorf("the new process ended before it was %s: %s", wanted, h.obituary())
	default:
	}
	h.kill()
	own := (*ownError)(nil)
	switch {
	case errors.As(err, &own):
		return err
	case failed != nil:
		return fmt.Errorf("the new process ended before it was %s: %w", wanted, failed)
	case ctx.Err() != nil:
		return fmt.Errorf("the upgrade was broken off before the new process was %s", wanted)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the new process was not %s within %s and was killed; its last line: %s", wanted, timeout,
			orNothing(h.said.line()))
	}
	return fmt.Errorf("the new process was killed before it was %s: %w", wanted, err)
}

func orNothing(line string) string {
	if line == "" {
		return "none"
	}
	return line
}

// watch tells of an heir that ends while this process still drains. In order it does so when it was stopped, or has an
// heir itself. Of one behind a script nothing is known.
func (u *Upgrader) watch(h *heir, pid int) {
	<-h.ended
	if pid != h.pid() {
		return
	}
	level := slog.LevelInfo
	if h.failed {
		level = slog.LevelError
	}
	u.cfg.Log.Log(context.Background(), level, "the process that took over has ended", slog.Int("pid", pid),
		slog.String("how", h.state))
}
