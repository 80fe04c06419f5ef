package operate

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// linuxTerminal is a terminal that the kernel knows. Keys come one by one and are not echoed; Ctrl-C and Ctrl-Z stay
// signals.
type linuxTerminal struct {
	// Static.
	out, in *os.File // in is nil where keys come from elsewhere, or belong to another process

	// A terminal may take nothing for as long as it likes (Ctrl-S, a network that is gone): one goroutine alone waits
	// for it.
	screens chan string // has room for one: the newest
	orders  chan terminalOrder
	failed  chan error // has room for one: why something could not be written

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
	t := &linuxTerminal{
		out: out, screens: make(chan string, 1), orders: make(chan terminalOrder), failed: make(chan error, 1),
	}
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

// terminalOrder is what has to be written between screens.
type terminalOrder struct {
	text    string
	written chan<- struct{} // closed then
}

// takeTime bounds the wait for a terminal to take what it has to be told before the process ends or stops.
const takeTime = time.Second

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
	go t.write()
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

// stopSelf stops the process, and returns when it goes on. The signal is for this very thread: one for the process may
// be taken by another, while this one goes on for a moment and takes the terminal back.
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
	return t.tell(enterScreen)
}

func (t *linuxTerminal) leave() {
	_ = t.tell(leaveScreen) // a terminal that is gone, or stuck, wants nothing back
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

// write writes what is shown, until the process ends: a write to a terminal cannot be called off.
func (t *linuxTerminal) write() {
	for {
		var order terminalOrder
		select {
		case order.text = <-t.screens:
		case order = <-t.orders:
		}
		if _, err := io.WriteString(t.out, order.text); err != nil {
			select {
			case t.failed <- err:
			default: // the first is enough
			}
		}
		if order.written != nil {
			close(order.written)
		}
	}
}

// show implements terminal. What it has not taken yet is out of date.
func (t *linuxTerminal) show(text string) error {
	t.forget()
	t.screens <- text
	return t.failure()
}

// forget gives up a screen that is not written yet.
func (t *linuxTerminal) forget() {
	select {
	case <-t.screens:
	default:
	}
}

// tell has a text written, and waits for that, within bounds.
func (t *linuxTerminal) tell(text string) error {
	t.forget()
	limit := time.NewTimer(takeTime)
	defer limit.Stop()
	written := make(chan struct{})
	select {
	case t.orders <- terminalOrder{text, written}:
		select {
		case <-written:
		case <-limit.C:
		}
	case <-limit.C:
	}
	return t.failure()
}

// failure is why something could not be written, said once.
func (t *linuxTerminal) failure() error {
	select {
	case err := <-t.failed:
		return err
	default:
		return nil
	}
}
