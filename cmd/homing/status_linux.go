package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

// linuxTerminal is a terminal that the kernel knows. Keys come one by one and are not echoed; Ctrl-C and Ctrl-Z stay
// signals.
type linuxTerminal struct {
	// Static.
	out, in *os.File // in is nil where keys come from elsewhere, or belong to another process

	// Owned by open and close, then by the goroutine that follows signals.
	before unix.Termios // of in
	stop   func()
	ended  chan struct{} // closed by follow
}

// terminalOf is the terminal that w is, nil if it is none, or one that cannot move its cursor.
func terminalOf(w io.Writer) terminal {
	out, isFile := w.(*os.File)
	if !isFile || os.Getenv("TERM") == "dumb" {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	t := &linuxTerminal{out: out}
	// A process in the background that touched the terminal's settings would be stopped.
	if front, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP); err == nil && front == unix.Getpgrp() {
		t.in = os.Stdin
	}
	return t
}

const (
	// enterScreen takes the alternate screen and hides the cursor; leaveScreen is the reverse (xterm's private modes).
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// open implements terminal.
func (t *linuxTerminal) open(ctx context.Context) (context.Context, <-chan terminalEvent, error) {
	if t.in != nil {
		before, err := unix.IoctlGetTermios(int(t.in.Fd()), unix.TCGETS)
		if err != nil {
			t.in = nil
		} else {
			t.before = *before
		}
	}
	ctx, end := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGWINCH, unix.SIGTSTP)
	t.ended = make(chan struct{})
	done := make(chan struct{})
	t.stop = func() {
		signal.Stop(signals)
		close(done)
		<-t.ended
		end()
	}
	if err := t.enter(); err != nil {
		close(t.ended)
		t.stop()
		return nil, nil, err
	}
	events := make(chan terminalEvent, 16)
	go t.follow(signals, done, events)
	if t.in != nil {
		go readKeys(t.in, events)
	}
	return ctx, events, nil
}

// follow tells of new sizes, and gives the terminal back while the process is stopped.
func (t *linuxTerminal) follow(signals <-chan os.Signal, done <-chan struct{}, events chan<- terminalEvent) {
	defer close(t.ended)
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			if sig == unix.SIGTSTP {
				t.leave()
				stopSelf()
				if t.enter() != nil {
					continue // the next show fails and ends it
				}
			}
			select {
			case events <- 0:
			default: // it is redrawn anyway
			}
		}
	}
}

// stopSelf stops the process, and returns when it goes on. The signal is for this very thread: one for the process may be
// taken by another, while this one goes on for a moment and takes the terminal back.
func stopSelf() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP) // nobody may forbid it
}

// readKeys ends with the process: a read of a terminal cannot be called off.
func readKeys(in *os.File, events chan<- terminalEvent) {
	var key [1]byte
	for {
		n, err := in.Read(key[:])
		if err != nil {
			return
		}
		if n == 1 {
			events <- terminalEvent(key[0])
		}
	}
}

func (t *linuxTerminal) enter() error {
	if t.in != nil {
		raw := t.before
		raw.Lflag &^= unix.ICANON | unix.ECHO
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &raw); err != nil {
			return err
		}
	}
	return t.show(enterScreen)
}

func (t *linuxTerminal) leave() {
	_ = t.show(leaveScreen) // a terminal that is gone wants nothing back
	if t.in != nil {
		_ = unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &t.before)
	}
}

// close implements terminal.
func (t *linuxTerminal) close() {
	t.stop()
	t.leave()
}

// size implements terminal.
func (t *linuxTerminal) size() (lines, columns int) {
	size, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(size.Row), int(size.Col)
}

// show implements terminal.
func (t *linuxTerminal) show(text string) error {
	_, err := io.WriteString(t.out, text)
	return err
}
