package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// console is a terminal with a command in it: a pseudo-terminal, and as much of a screen as the command uses.
type console struct {
	*testing.T
	keys *os.File // what is typed, and what is shown
	tty  *os.File // the command's side, to look at its settings
	cmd  *exec.Cmd
	done chan struct{} // closed when all output is read

	before unix.Termios // the settings before the command began

	mu       sync.Mutex
	rows     [][]byte // guarded by mu
	columns  int      // guarded by mu
	y, x     int      // guarded by mu
	other    bool     // guarded by mu; the alternate screen
	hidden   bool     // guarded by mu; the cursor
	overflow int      // guarded by mu; characters beyond the last column, and lines beyond the last
	strange  []string // guarded by mu; sequences that this screen does not know
	pending  []byte   // guarded by mu; a sequence that has begun
}

func newConsole(t *testing.T, lines, columns int, args ...string) *console {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	testkit.Check(t, err)
	testkit.Check(t, unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	testkit.Check(t, err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	testkit.Check(t, err)
	c := &console{T: t, keys: keys, tty: tty, done: make(chan struct{})}
	c.resize(lines, columns)
	c.before = c.settings()
	c.cmd = exec.Command(binary, args...)
	c.cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = tty, tty, tty
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	testkit.Check(t, c.cmd.Start())
	go c.read()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it has ended, if all is well
		tty.Close()
		keys.Close()
		<-c.done
	})
	return c
}

func (c *console) resize(lines, columns int) {
	c.Helper()
	c.mu.Lock()
	c.columns, c.rows, c.y, c.x = columns, make([][]byte, lines), 0, 0
	c.mu.Unlock()
	testkit.Check(c, unix.IoctlSetWinsize(int(c.keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(lines), Col: uint16(columns)}))
}

func (c *console) read() {
	defer close(c.done)
	buf := make([]byte, 4096)
	for {
		n, err := c.keys.Read(buf)
		c.mu.Lock()
		for _, b := range buf[:n] {
			c.put(b)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// put shows one byte. c.mu is held.
func (c *console) put(b byte) {
	if len(c.pending) > 0 || b == 0x1b {
		c.pending = append(c.pending, b)
		if n := len(c.pending); n > 2 && b >= '@' || n > 16 {
			c.obey(string(c.pending))
			c.pending = nil
		}
		return
	}
	switch {
	case b == '\r':
		c.x = 0
	case b == '\n':
		if c.y++; c.y >= len(c.rows) {
			c.y = len(c.rows) - 1
			c.overflow++
		}
	case c.x >= c.columns:
		c.overflow++
	default:
		row := c.rows[c.y]
		for len(row) <= c.x {
			row = append(row, ' ')
		}
		row[c.x] = b
		c.rows[c.y] = row
		c.x++
	}
}

func (c *console) obey(sequence string) {
	switch sequence {
	case "\x1b[H":
		c.y, c.x = 0, 0
	case "\x1b[K":
		c.rows[c.y] = c.rows[c.y][:min(c.x, len(c.rows[c.y]))]
	case "\x1b[J":
		c.rows[c.y] = c.rows[c.y][:min(c.x, len(c.rows[c.y]))]
		for i := c.y + 1; i < len(c.rows); i++ {
			c.rows[i] = nil
		}
	case "\x1b[?1049h", "\x1b[?1049l":
		c.other = strings.HasSuffix(sequence, "h")
	case "\x1b[?25l", "\x1b[?25h":
		c.hidden = strings.HasSuffix(sequence, "l")
	default:
		c.strange = append(c.strange, sequence)
	}
}

func (c *console) screen() (text string, sane bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(bytes.Join(c.rows, []byte("\n"))), !c.other && !c.hidden
}

func (c *console) await(what string, cond func(screen string) bool) {
	c.Helper()
	if !testkit.Wait(testkit.Patience, func() bool { text, _ := c.screen(); return cond(text) }) {
		text, _ := c.screen()
		c.Fatalf("not within 20 s: %s; the screen says\n%s", what, text)
	}
}

// resized awaits the picture of a new size. What was on its way for the old one may have been too large.
func (c *console) resized(what string, cond func(screen string) bool) {
	c.Helper()
	c.await(what, cond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overflow = 0
}

func (c *console) settings() unix.Termios {
	c.Helper()
	settings, err := unix.IoctlGetTermios(int(c.tty.Fd()), unix.TCGETS)
	testkit.Check(c, err)
	return *settings
}

func (c *console) press(keys string) {
	c.Helper()
	if _, err := c.keys.WriteString(keys); err != nil {
		c.Fatal(err)
	}
}

// ends waits until the command has ended by itself, and checks what it left behind.
func (c *console) ends(how string) {
	c.Helper()
	c.endsStuck(how)
	if !testkit.Wait(testkit.Patience, func() bool { _, sane := c.screen(); return sane }) {
		c.Errorf("ended by %s, the cursor is hidden, or the screen is the other one", how)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.overflow > 0 || len(c.strange) > 0 {
		c.Errorf("%d characters or lines too many, and unknown to a plain terminal: %q", c.overflow, c.strange)
	}
}

func (c *console) signal(sig os.Signal) {
	c.Helper()
	testkit.Check(c, c.cmd.Process.Signal(sig))
}

// stick stops the terminal's output, and returns when the command waits for it.
func (c *console) stick(how string) {
	c.Helper()
	testkit.Check(c, unix.IoctlSetInt(int(c.tty.Fd()), unix.TCXONC, unix.TCOOFF))
	waits := func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", c.cmd.Process.Pid))
		testkit.Check(c, err)
		for _, task := range tasks {
			if call, err := os.ReadFile(task); err == nil && strings.HasPrefix(string(call), fmt.Sprintf("%d 0x1 ", unix.SYS_WRITE)) {
				return true
			}
		}
		return false
	}
	if !testkit.Wait(testkit.Patience, waits) {
		c.Fatalf("%s: it does not write to the terminal", how)
	}
}

// endsStuck is ends for a terminal that takes nothing: all that can be given back are its settings.
func (c *console) endsStuck(how string) {
	c.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			c.Errorf("ended by %s: %v", how, err)
		}
	case <-time.After(20 * time.Second):
		c.Fatalf("%s does not end it", how)
	}
	if after := c.settings(); after != c.before {
		c.Errorf("ended by %s, the terminal has other settings: %+v, want %+v", how, after, c.before)
	}
}

// TestIntegrationWatch: homing status --watch on a terminal, with two hundred backends.
func TestIntegrationWatch(t *testing.T) {
	h, _ := manyBackends(t)
	more := regexp.MustCompile(`and (\d+) more; q ends; sort by n name`)
	backend := regexp.MustCompile(`(?m)^(?:web |mail )?127\.0\.`)
	complete := func(lines int) func(string) bool {
		return func(text string) bool {
			found := more.FindStringSubmatch(text)
			if found == nil || strings.Count(text, "\n") != lines-1 {
				return false
			}
			var hidden int
			_, _ = fmt.Sscan(found[1], &hidden) // digits
			return hidden+len(backend.FindAllString(text, -1)) == 200
		}
	}
	args := []string{"status", "--watch", "--every", "200ms", "--admin", h.admin}
	c := newConsole(t, 24, 80, args...)
	c.await("some of the backends, and how many more", complete(24))
	if now := c.settings(); now.Lflag&(unix.ECHO|unix.ICANON) != 0 {
		t.Error("keys are echoed, or wait for the end of a line")
	}
	text, _ := c.screen()
	t.Logf("80 by 24:\n%s", text)
	c.press("c")
	c.await("all pools by conns", func(text string) bool {
		return strings.Contains(text, "\nweb 127.0.") || strings.Contains(text, "\nmail 127.0.")
	})
	c.press("n")
	c.resize(50, 120)
	c.resized("more of them on a larger terminal", complete(50))
	c.resize(12, 70)
	c.resized("fewer on a small one", complete(12))

	// Stopped, as by Ctrl-Z, it gives the terminal back, and takes it again when it goes on.
	testkit.Check(t, c.cmd.Process.Signal(unix.SIGTSTP))
	c.await("it is stopped, and the terminal sane", func(string) bool {
		_, sane := c.screen()
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		return err == nil && sane && strings.Contains(string(stat), ") T ") && c.settings() == c.before
	})
	testkit.Check(t, c.cmd.Process.Signal(unix.SIGCONT))
	c.await("it goes on", func(text string) bool { _, sane := c.screen(); return !sane && complete(12)(text) })
	c.press("q")
	c.ends("q")

	c = newConsole(t, 24, 80, args...)
	c.await("the backends", complete(24))
	c.press("\x03")
	c.ends("Ctrl-C")

	// A terminal that takes nothing, as after Ctrl-S, holds up nobody.
	for how, end := range map[string]func(c *console){
		"q, while it is stuck":       func(c *console) { c.press("q") },
		"SIGTERM, while it is stuck": func(c *console) { c.signal(unix.SIGTERM) },
	} {
		c = newConsole(t, 24, 80, args...)
		c.await("the backends", complete(24))
		c.stick(how)
		end(c)
		c.endsStuck(how)
	}

	// Without a terminal each look follows the last, whole.
	plain := exec.CommandContext(t.Context(), binary, args...)
	out, err := plain.StdoutPipe()
	testkit.Check(t, err)
	testkit.Check(t, plain.Start())
	looks, shown := 0, 0
	for s := bufio.NewScanner(out); looks < 3 && s.Scan(); {
		if strings.Contains(s.Text(), "\x1b") {
			t.Fatalf("a sequence for terminals: %q", s.Text())
		}
		if strings.HasPrefix(s.Text(), "homing ") {
			looks++
		}
		if backend.MatchString(s.Text()) {
			shown++
		}
	}
	_ = plain.Process.Kill() // it would go on for ever
	_ = plain.Wait()
	if looks != 3 || shown != 400 {
		t.Errorf("%d looks with %d backends in two of them", looks, shown)
	}
}
